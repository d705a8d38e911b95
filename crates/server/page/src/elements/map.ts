// `<hb-map>`: the map of a statement.

import { firstMap } from "../chart/choose";
import { h } from "../dom";
import { countryOf } from "../map/codes";
import { MapView } from "../map/view";
import type { Rows } from "../result/rows";
import { t } from "../text";
import { answerOf, put } from "./answer";

function namesCountries(rows: Rows, column: number): boolean {
  for (let row = 0; row < rows.length; row += 1) {
    if (countryOf(rows.text(row, column) ?? "") !== undefined) return true;
  }
  return false;
}

/** Draws the map that an element describes. */
export async function enhanceMap(element: HTMLElement): Promise<void> {
  const rows = await answerOf(element);
  const first = firstMap(rows, (text) => countryOf(text) !== undefined);
  const { region, value, time, title, unit } = element.dataset;
  const placeOf = (name: string | undefined, otherwise: number | undefined): number => (name ? rows.column(name) : (otherwise ?? -1));
  const choice = {
    region: placeOf(region, first?.region),
    value: placeOf(value, first?.value),
    time: placeOf(time, region ? -1 : first?.time),
  };
  if (choice.region < 0 || choice.value < 0) return;
  if (!namesCountries(rows, choice.region)) {
    element.append(h("p", { class: "note" }, t("map_no_outlines")));
    return;
  }
  put(element, (await MapView.make(rows, choice, title ?? "", unit ?? "")).element);
}
