// The answer to the statement that an element of the page carries.

import { h } from "../dom";
import { t } from "../text";
import type { Rows } from "../result/rows";
import { query } from "../result/stream";

/** This many rows of an element's statement are drawn at most. */
const ROWS_MAX = 100_000;

/** Runs the statement of an element. */
export async function answerOf(element: HTMLElement): Promise<Rows> {
  const sql = element.dataset["query"];
  if (!sql) throw new Error("data-query");
  const waiting = h("p", { class: "waiting", role: "status" }, t("running"));
  element.prepend(waiting);
  try {
    const { rows } = await query({ sql, rowsMax: ROWS_MAX });
    return rows;
  } finally {
    waiting.remove();
  }
}

/** Puts a drawing where the page had a link or a table; links stay below it. */
export function put(element: HTMLElement, drawing: HTMLElement): void {
  const links = Array.from(element.querySelectorAll("a"));
  const below = links.length > 0 ? h("p", { class: "actions" }, ...links) : null;
  element.replaceChildren(drawing, ...(below ? [below] : []));
}
