// The choices above a chart or a map.

import { choice, h, tick } from "../dom";
import { t } from "../text";
import type { Rows } from "../result/rows";
import type { ChartChoice, ChartKind, MapChoice } from "./choose";

type Options = [string, string][];

function columnsOf(rows: Rows, wanted: (kind: string) => boolean): Options {
  return rows.columns.flatMap((column, index): Options => (wanted(column.kind) ? [[String(index), column.name]] : []));
}

/** Makes the choices of a chart. */
export function chartControls(rows: Rows, now: ChartChoice, changed: (next: ChartChoice) => void): HTMLElement {
  const set = (part: Partial<ChartChoice>): void => changed({ ...now, ...part });
  const all = columnsOf(rows, () => true);
  const kinds: Options = [
    ["line", t("line")],
    ["bar", t("bar")],
    ["scatter", t("scatter")],
  ];
  const none: Options = [["-1", t("none")]];
  return h(
    "div",
    { class: "controls" },
    choice(t("kind"), kinds, now.kind, (kind) => set({ kind: kind as ChartKind })),
    choice(t("x_axis"), all, String(now.x), (x) => set({ x: Number(x) })),
    choice(t("y_axis"), columnsOf(rows, (kind) => kind === "number"), String(now.y), (y) => set({ y: Number(y) })),
    choice(t("series"), [...none, ...columnsOf(rows, (kind) => kind !== "time")], String(now.series), (series) => set({ series: Number(series) })),
    now.series >= 0 ? tick(t("small_multiples"), now.isSplit, (isSplit) => set({ isSplit })) : null,
    now.kind === "bar" ? null : tick(t("from_zero"), now.fromZero, (fromZero) => set({ fromZero })),
    tick(t("logarithmic"), now.isLogarithmic, (isLogarithmic) => set({ isLogarithmic })),
  );
}

/** Makes the choices of a map. */
export function mapControls(rows: Rows, now: MapChoice, changed: (next: MapChoice) => void): HTMLElement {
  const none: Options = [["-1", t("none")]];
  return h(
    "div",
    { class: "controls" },
    choice(t("region"), columnsOf(rows, (kind) => kind === "text"), String(now.region), (region) => changed({ ...now, region: Number(region) })),
    choice(t("value"), columnsOf(rows, (kind) => kind === "number"), String(now.value), (value) => changed({ ...now, value: Number(value) })),
    choice(t("time"), [...none, ...columnsOf(rows, () => true)], String(now.time), (time) => changed({ ...now, time: Number(time) })),
  );
}
