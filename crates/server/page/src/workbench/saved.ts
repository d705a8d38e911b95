// Statements that are saved on the server, one's own and those that the organisation shares.

import { Refusal, json, reason, send } from "../api";
import { announce, h, show } from "../dom";
import { t } from "../text";

interface Entry {
  id: string;
  title: string;
  sql: string;
  shared: boolean;
  owner?: string;
  mine?: boolean;
}

function isForbidden(error: unknown): boolean {
  return error instanceof Refusal && (error.problem.status === 401 || error.problem.status === 403);
}

/** The list of saved statements and the dialog that adds to it. */
export class Saved {
  readonly element = h("div", { class: "list" });

  constructor(
    private readonly open: (sql: string) => void,
    private readonly now: () => string,
  ) {}

  /** Asks for the list again. */
  async refresh(): Promise<void> {
    try {
      const { saved } = await json<{ saved: Entry[] }>("/api/saved");
      this.draw(saved);
    } catch (error) {
      show(this.element, isForbidden(error) ? this.login() : h("p", { class: "error" }, reason(error)));
    }
  }

  private login(): HTMLElement {
    return h("p", { class: "empty" }, t("saved_login"), " ", h("a", { href: "/login" }, t("login")));
  }

  private draw(entries: Entry[]): void {
    if (entries.length === 0) {
      show(this.element, h("p", { class: "empty" }, t("saved_none")));
      return;
    }
    const items = entries.map((entry) => {
      const about = [entry.shared ? t("shared") : null, entry.mine === false ? entry.owner : null].filter(Boolean).join(" · ");
      const button = h("button", { type: "button", class: "entry" }, h("strong", {}, entry.title), h("code", {}, entry.sql.slice(0, 120)), h("span", { class: "meta" }, about));
      button.addEventListener("click", () => this.open(entry.sql));
      return h("li", {}, button, entry.mine === false ? null : this.remover(entry));
    });
    show(this.element, h("ul", {}, ...items));
  }

  private remover(entry: Entry): HTMLElement {
    const button = h("button", { type: "button", class: "quiet", "aria-label": `${t("delete")}: ${entry.title}` }, "×");
    button.addEventListener("click", async () => {
      if (!confirm(t("delete_sure", { title: entry.title }))) return;
      try {
        await send("DELETE", `/api/saved/${encodeURIComponent(entry.id)}`);
        await this.refresh();
      } catch (error) {
        this.element.prepend(h("p", { class: "error", role: "alert" }, reason(error)));
      }
    });
    return button;
  }

  /** Asks for a title and saves the statement. */
  ask(): void {
    const title = h("input", { type: "text", name: "title", required: true, maxlength: 200 });
    const shared = h("input", { type: "checkbox", name: "shared" });
    const said = h("p", { class: "error", role: "alert", hidden: true });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", {}, t("save")),
      h("label", { class: "field" }, h("span", {}, t("save_as")), title),
      h("label", { class: "tick" }, shared, h("span", {}, t("share"))),
      said,
      h("p", { class: "actions" }, h("button", { type: "submit", class: "primary" }, t("save")), h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, t("cancel"))),
    );
    const dialog = h("dialog", { "aria-label": t("save") }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await send("POST", "/api/saved", { title: title.value.trim(), sql: this.now(), shared: shared.checked });
        announce(t("saved_done", { title: title.value.trim() }));
        dialog.close();
        await this.refresh();
      } catch (error) {
        said.hidden = false;
        if (isForbidden(error)) show(said, `${t("saved_login")} `, h("a", { href: "/login" }, t("login")));
        else said.textContent = reason(error);
      }
    });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}
