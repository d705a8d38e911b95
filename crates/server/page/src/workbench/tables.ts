// The tables beside the editor: their columns, and names that are put into the statement when they are pressed.

import { reason } from "../api";
import { h, later, show } from "../dom";
import { type CatalogueTable, quoted } from "../editor/catalogue";
import { t } from "../text";

/** More tables than this are found by the filter only. */
const TABLES_MAX = 200;

/** The list of tables. */
export class Tables {
  readonly element = h("div", { class: "list" });
  private readonly list = h("ul");
  private readonly filter = h("input", { type: "search", "aria-label": t("tables_filter"), placeholder: t("tables_filter") });
  private all: readonly CatalogueTable[] = [];

  constructor(private readonly insert: (name: string) => void) {
    this.filter.addEventListener(
      "input",
      later(80, () => this.draw()),
    );
    this.element.append(this.filter, this.list);
  }

  /** Shows tables. */
  show(tables: readonly CatalogueTable[]): void {
    this.all = tables;
    this.draw();
  }

  /** Says why there are none. */
  fail(error: unknown): void {
    show(this.list, h("li", { class: "error" }, reason(error)));
  }

  private draw(): void {
    const wanted = this.filter.value.trim().toLowerCase();
    const has = (text: string | null | undefined): boolean => (text ?? "").toLowerCase().includes(wanted);
    const found = this.all.filter((table) => has(table.table) || has(table.title) || table.columns.some(({ name }) => has(name)));
    const items = found.slice(0, TABLES_MAX).map((table) => this.item(table));
    show(this.list, ...(items.length > 0 ? items : [h("li", { class: "empty" }, t("tables_none"))]));
  }

  private item(table: CatalogueTable): HTMLElement {
    const details = h("details", {}, h("summary", {}, h("code", {}, table.table), h("span", { class: "meta" }, table.title ?? "")));
    details.addEventListener("toggle", () => {
      if (!details.open || details.childElementCount > 1) return;
      const columns = table.columns.map((column) => h("li", {}, this.name(column.name, column.name), h("span", { class: "meta" }, column.type)));
      details.append(h("ul", { class: "columns" }, h("li", {}, this.name(table.table, table.table)), ...columns));
    });
    return h("li", {}, details);
  }

  private name(name: string, text: string): HTMLElement {
    const button = h("button", { type: "button", class: "name", title: t("insert", { name }) }, text);
    button.addEventListener("click", () => this.insert(quoted(name)));
    return button;
  }
}
