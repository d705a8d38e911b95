// Search as you type: a list of hits under the field, which keys and screen readers can walk. The form itself goes on
// working as it is.

import { json } from "../api";
import { announce, h, later, newId, show } from "../dom";
import { t } from "../text";

interface Hit {
  table: string;
  title?: string | null;
  provider?: string | null;
  kind: string;
  match?: string | null;
  url: string;
}

const HITS_MAX = 8;
const WAIT_MILLISECONDS = 120;

/** Adds the list to a search form. */
export function enhanceSearch(element: HTMLElement): void {
  const form = element.querySelector("form");
  const found = form?.querySelector<HTMLInputElement>("input[name=q]");
  if (!form || !found) return;
  new Suggestions(form, found);
}

class Suggestions {
  private readonly list: HTMLUListElement;
  private hits: Hit[] = [];
  private current = -1;
  private asking: AbortController | undefined;

  constructor(
    private readonly form: HTMLFormElement,
    private readonly field: HTMLInputElement,
  ) {
    const id = newId("hits");
    this.list = h("ul", { id, class: "suggestions", role: "listbox", "aria-label": field.labels?.[0]?.textContent ?? field.name, hidden: true });
    const frame = h("div", { class: "combo" });
    field.replaceWith(frame);
    frame.append(field, this.list);
    const attributes = { role: "combobox", autocomplete: "off", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": id };
    for (const [name, value] of Object.entries(attributes)) field.setAttribute(name, value);
    const look = later(WAIT_MILLISECONDS, () => void this.look());
    field.addEventListener("input", look);
    field.addEventListener("keydown", (event) => this.key(event));
    field.addEventListener("blur", () => this.close());
    // A press on a hit must not take the keyboard from the field before it is followed.
    this.list.addEventListener("mousedown", (event) => event.preventDefault());
  }

  private async look(): Promise<void> {
    this.asking?.abort();
    if (this.field.value.trim() === "") {
      this.close();
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(this.form)) {
      if (typeof value === "string" && value !== "") query.append(name, value);
    }
    query.set("limit", String(HITS_MAX));
    try {
      const answer = await json<{ total: number; hits: Hit[] }>(`/api/search?${query}`, asking.signal);
      this.open(answer.hits, answer.total);
    } catch {
      // The form itself still finds it, and says what is wrong if it does not.
      if (!asking.signal.aborted) this.close();
    }
  }

  private open(hits: Hit[], total: number): void {
    this.hits = hits;
    this.current = -1;
    show(this.list, ...hits.map((hit, index) => this.option(hit, index)));
    this.list.hidden = hits.length === 0;
    this.field.setAttribute("aria-expanded", String(hits.length > 0));
    this.field.removeAttribute("aria-activedescendant");
    announce(t("hits", { count: total }));
  }

  private option(hit: Hit, index: number): HTMLElement {
    const about = [hit.table, hit.provider, hit.kind === "table" ? null : hit.match].filter(Boolean).join(" · ");
    const option = h(
      "li",
      { id: `${this.list.id}-${index}`, role: "option", "aria-selected": "false" },
      h("span", { class: "title" }, hit.title || hit.table),
      h("span", { class: "meta" }, about),
    );
    option.addEventListener("click", () => this.follow(index));
    return option;
  }

  private follow(index: number): void {
    const hit = this.hits[index];
    if (hit) location.assign(hit.url);
  }

  private key(event: KeyboardEvent): void {
    const last = this.hits.length - 1;
    if (this.list.hidden || last < 0) return;
    if (event.key === "ArrowDown") this.choose(this.current >= last ? 0 : this.current + 1);
    else if (event.key === "ArrowUp") this.choose(this.current <= 0 ? last : this.current - 1);
    else if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && this.current >= 0) this.follow(this.current);
    else return;
    event.preventDefault();
  }

  private choose(index: number): void {
    this.current = index;
    Array.from(this.list.children).forEach((option, place) => {
      option.setAttribute("aria-selected", String(place === index));
      if (place === index) option.scrollIntoView({ block: "nearest" });
    });
    this.field.setAttribute("aria-activedescendant", `${this.list.id}-${index}`);
  }

  private close(): void {
    this.list.hidden = true;
    this.current = -1;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }
}
