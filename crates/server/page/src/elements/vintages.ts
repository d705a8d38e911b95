// `<hb-vintages>`: one series as it was known at different dates, with what was revised.

import { h } from "../dom";
import { instant, number, t } from "../text";
import { quoted } from "../editor/catalogue";
import type { Rows } from "../result/rows";
import { query } from "../result/stream";
import { VintageView } from "../chart/vintage_view";
import { type Version, type Vintages, vintagesOf } from "../chart/vintages";
import { put } from "./answer";

const ROWS_MAX = 100_000;

/** Draws the vintages that an element names. */
export async function enhanceVintages(element: HTMLElement): Promise<void> {
  const { table, key, x, y, title } = element.dataset;
  // Without a period there is nothing to draw along; the page's own table says it all.
  if (!table || !x || !y) return;
  const fixed = Object.entries(JSON.parse(key ?? "{}") as Record<string, string | number | boolean>);
  const { rows } = await query({ ...statement(table, fixed, x, y), rowsMax: ROWS_MAX });
  const vintages = vintagesOf(versionsOf(rows));
  if (vintages.known.length === 0) throw new Error(t("no_rows"));
  const view = new VintageView(vintages, y, title ?? fixed.map(([, value]) => String(value)).join(", "));
  put(element, h("div", {}, view.element, revisions(vintages, x)));
}

/** The rows that hold now and those that ever did, for one value of the key's other columns. */
function statement(table: string, fixed: [string, string | number | boolean][], x: string, y: string): { sql: string; params: (string | number | boolean)[] } {
  const where = fixed.map(([column], index) => `CAST(${quoted(column)} AS VARCHAR) = $${index + 1}`).join(" AND ") || "true";
  const [across, up] = [quoted(x), quoted(y)];
  const sql = `SELECT CAST(${across} AS VARCHAR) AS x, CAST(${up} AS DOUBLE) AS y, _recorded_at AS "from", NULL AS "to" FROM ${quoted(table)} WHERE ${where}
UNION ALL SELECT CAST(${across} AS VARCHAR), CAST(${up} AS DOUBLE), _recorded_at, _superseded_at FROM history('${table.replaceAll("'", "''")}') WHERE ${where}`;
  return { sql, params: fixed.map(([, value]) => String(value)) };
}

function versionsOf(rows: Rows): Version[] {
  const versions: Version[] = [];
  for (let row = 0; row < rows.length; row += 1) {
    const x = rows.text(row, 0);
    const from = rows.number(row, 2);
    if (x === null || from === null) continue;
    versions.push({ x, y: rows.number(row, 1), from, to: rows.number(row, 3) });
  }
  return versions;
}

function revisions(vintages: Vintages, x: string): HTMLElement {
  if (vintages.revisions.length === 0) {
    return h("p", { class: "note" }, t("vintages_one", { date: instant(vintages.known[0]?.at ?? 0) }));
  }
  const value = (known: number | null, missing: string): string => (known === null ? missing : number(known));
  const body = vintages.revisions.map((each) => {
    const change = each.was !== null && each.became !== null ? number(each.became - each.was) : "";
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, each.x),
      h("td", { class: "num" }, value(each.was, t("added"))),
      h("td", { class: "num" }, value(each.became, t("withdrawn"))),
      h("td", { class: "num" }, change),
      h("td", {}, instant(each.at)),
    );
  });
  const head = [x, t("was"), t("became"), t("change"), t("seen")].map((text, index) =>
    h("th", { scope: "col", class: index > 0 && index < 4 ? "num" : null }, text),
  );
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body));
  const region = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("revisions") }, table);
  return h("section", {}, h("h2", {}, t("revisions")), region);
}
