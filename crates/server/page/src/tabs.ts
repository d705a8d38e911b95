// Tabs as the WAI-ARIA practices have them: one is in the order of Tab, arrows go to the others.

import { h, newId } from "./dom";

/** One tab. */
export interface Tab {
  id: string;
  label: string;
  panel: HTMLElement;
}

/** A row of tabs with their panels. */
export class Tabs {
  readonly element: HTMLElement;
  readonly list: HTMLElement;
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private now = "";

  constructor(
    label: string,
    private readonly tabs: readonly Tab[],
    private readonly chosen: (id: string) => void,
  ) {
    this.list = h("div", { class: "tabs", role: "tablist", "aria-label": label });
    this.list.addEventListener("keydown", (event) => this.key(event));
    for (const { id, label: text, panel } of tabs) {
      const name = newId("tab");
      const button = h("button", { type: "button", role: "tab", id: name, "aria-controls": `${name}-panel` }, text);
      button.addEventListener("click", () => this.choose(id));
      panel.id = `${name}-panel`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", name);
      this.buttons.set(id, button);
      this.list.append(button);
    }
    this.element = h("div", { class: "tabbed" }, this.list, ...tabs.map(({ panel }) => panel));
    this.mark(tabs[0]?.id ?? "");
  }

  /** The tab that is shown. */
  get current(): string {
    return this.now;
  }

  /** Shows a tab. */
  choose(id: string): void {
    if (!this.buttons.has(id)) return;
    this.mark(id);
    this.chosen(id);
  }

  private mark(id: string): void {
    this.now = id;
    for (const tab of this.tabs) {
      const isNow = tab.id === id;
      const button = this.buttons.get(tab.id);
      button?.setAttribute("aria-selected", String(isNow));
      button?.setAttribute("tabindex", isNow ? "0" : "-1");
      tab.panel.hidden = !isNow;
    }
  }

  private key(event: KeyboardEvent): void {
    const ids = this.tabs.map(({ id }) => id);
    const at = ids.indexOf(this.now);
    const places: Record<string, number> = {
      ArrowRight: (at + 1) % ids.length,
      ArrowLeft: (at + ids.length - 1) % ids.length,
      Home: 0,
      End: ids.length - 1,
    };
    const next = ids[places[event.key] ?? -1];
    if (next === undefined) return;
    event.preventDefault();
    this.choose(next);
    this.buttons.get(next)?.focus();
  }
}
