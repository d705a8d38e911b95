// The values behind a drawing as a table, for those who cannot or would rather not look at it.

import { h } from "../dom";
import { t } from "../text";
import type { Rows } from "../result/rows";

/** This many rows are listed; the whole answer is the result table's. */
const ROWS_MAX = 300;

/** Makes a table that unfolds; its rows are made when it does. */
export function valuesTable(rows: Rows, columns: readonly number[]): HTMLDetailsElement {
  const label = rows.length > ROWS_MAX ? t("data_table_part", { rows: ROWS_MAX }) : t("data_table");
  const details = h("details", { class: "values" }, h("summary", {}, label));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(filled(rows, columns));
  });
  return details;
}

function filled(rows: Rows, columns: readonly number[]): HTMLElement {
  const named = columns.map((index) => rows.columns[index]);
  const head = h("tr", {}, ...named.map((column) => h("th", { scope: "col", class: column?.kind === "number" ? "num" : null }, column?.name)));
  const body = h("tbody");
  for (let row = 0; row < Math.min(ROWS_MAX, rows.length); row += 1) {
    const cells = columns.map((index, place) => {
      const text = rows.text(row, index);
      return h("td", { class: named[place]?.kind === "number" ? "num" : null }, text ?? "");
    });
    body.append(h("tr", {}, ...cells));
  }
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("data_table") }, h("table", {}, h("thead", {}, head), body));
}
