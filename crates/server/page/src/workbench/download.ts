// Downloads of an answer in every form that the server writes.

import { ask, reason } from "../api";
import { announce, h, show } from "../dom";
import { t } from "../text";

const FORMS: [ending: string, name: string][] = [
  ["csv", "CSV"],
  ["xlsx", "Excel (XLSX)"],
  ["parquet", "Parquet"],
  ["arrow", "Arrow"],
  ["json", "JSON"],
  ["ndjson", "NDJSON"],
];

/** A longer address is not sure to arrive; such a statement is sent as a body. */
const ADDRESS_CHARACTERS_MAX = 6_000;

/** Makes the menu of downloads for the statement that `statement` returns. */
export function downloads(statement: () => string): HTMLElement {
  const list = h("ul", {});
  const menu = h("details", { class: "menu" }, h("summary", { class: "button" }, t("download")), h("div", {}, list, h("p", { class: "meta" }, t("download_again"))));
  menu.addEventListener("toggle", () => {
    if (menu.open) show(list, ...FORMS.map(([ending, name]) => h("li", {}, link(ending, name, statement()))));
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget instanceof Node && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  return menu;
}

function link(ending: string, name: string, sql: string): HTMLElement {
  const address = `/api/sql.${ending}?${new URLSearchParams({ q: sql })}`;
  const element = h("a", { href: address, download: `hambar.${ending}` }, name);
  if (address.length > ADDRESS_CHARACTERS_MAX) {
    element.addEventListener("click", (event) => {
      event.preventDefault();
      void fetched(ending, sql);
    });
  }
  return element;
}

async function fetched(ending: string, sql: string): Promise<void> {
  try {
    const response = await ask(`/api/sql.${ending}`, { method: "POST", headers: { "content-type": "application/sql" }, body: sql });
    const address = URL.createObjectURL(await response.blob());
    h("a", { href: address, download: `hambar.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    announce(reason(error));
  }
}
