// From rows to the values of countries, for each time that the rows have.

import { quantileSorted } from "d3-array";
import { t } from "../text";
import type { Rows } from "../result/rows";
import type { MapChoice } from "../chart/choose";
import { named } from "../chart/model";
import { countryOf } from "./codes";

/** The number of colours; the style sheet has as many. */
export const CLASSES = 6;
/** Names of places that have no outline are listed up to here. */
const UNKNOWN_MAX = 12;

/** The values of a map. */
export interface MapModel {
  name: string;
  /** The times, in order; one without a name where there is no column of time. */
  times: string[];
  /** For each time, the values by country. */
  values: Map<string, number>[];
  /** Where one colour ends and the next begins. */
  breaks: number[];
  low: number;
  high: number;
  notes: string[];
}

/** Gathers the values of a map. */
export function mapModel(rows: Rows, choice: MapChoice, unit = ""): MapModel {
  const byTime = new Map<string, Map<string, number>>();
  const unknown = new Set<string>();
  let several = false;
  for (let row = 0; row < rows.length; row += 1) {
    const region = rows.text(row, choice.region);
    const value = rows.number(row, choice.value);
    if (region === null || value === null) continue;
    const code = countryOf(region);
    if (code === undefined) {
      unknown.add(region);
      continue;
    }
    const time = choice.time < 0 ? "" : (rows.text(row, choice.time) ?? "");
    let values = byTime.get(time);
    if (!values) byTime.set(time, (values = new Map()));
    several ||= values.has(code);
    values.set(code, value);
  }
  const times = [...byTime.keys()].sort((a, b) => (a < b ? -1 : 1));
  const all = [...byTime.values()].flatMap((values) => [...values.values()]).sort((a, b) => a - b);
  const notes = several ? [t("map_several")] : [];
  if (unknown.size > 0) notes.push(unknownNote([...unknown]));
  return {
    name: named(rows.columns[choice.value]?.name ?? "", unit),
    times,
    values: times.map((time) => byTime.get(time) ?? new Map<string, number>()),
    breaks: breaksOf(all),
    low: all[0] ?? 0,
    high: all[all.length - 1] ?? 0,
    notes,
  };
}

function unknownNote(names: string[]): string {
  const shown = names.slice(0, UNKNOWN_MAX).join(", ");
  const count = names.length - UNKNOWN_MAX;
  return count > 0 ? t("map_unknown_more", { names: shown, count }) : t("map_unknown", { names: shown });
}

/** Every colour stands for about as many values, so that a few large countries do not leave all others pale. */
function breaksOf(sorted: number[]): number[] {
  const breaks: number[] = [];
  for (let index = 1; index < CLASSES; index += 1) {
    const at = quantileSorted(sorted, index / CLASSES) ?? 0;
    const digits = at === 0 ? 1 : 10 ** (Math.floor(Math.log10(Math.abs(at))) - 2);
    const round = Math.round(at / digits) * digits;
    if (round !== breaks[breaks.length - 1]) breaks.push(round);
  }
  return breaks;
}

/** Returns the place of a value's colour. */
export function classOf(model: MapModel, value: number): number {
  let index = 0;
  while (index < model.breaks.length && value >= (model.breaks[index] ?? Infinity)) index += 1;
  return Math.round((index / Math.max(1, model.breaks.length)) * (CLASSES - 1));
}
