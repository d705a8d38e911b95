// `<hb-map>`: the map of a statement.

import { firstMap } from "../chart/choose";
import { countryOf } from "../map/codes";
import { MapView } from "../map/view";
import { answerOf, put } from "./answer";

/** Draws the map that an element describes. */
export async function enhanceMap(element: HTMLElement): Promise<void> {
  const rows = await answerOf(element);
  const first = firstMap(rows, (text) => countryOf(text) !== undefined);
  const { region, value, time, title } = element.dataset;
  const placeOf = (name: string | undefined, otherwise: number | undefined): number => (name ? rows.column(name) : (otherwise ?? -1));
  const choice = {
    region: placeOf(region, first?.region),
    value: placeOf(value, first?.value),
    time: placeOf(time, region ? -1 : first?.time),
  };
  if (choice.region < 0 || choice.value < 0) return;
  put(element, (await MapView.make(rows, choice, title ?? "")).element);
}
