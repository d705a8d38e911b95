// `<hb-chart>`: the chart of a statement.

import { type ChartKind, firstChart } from "../chart/choose";
import { ChartView } from "../chart/view";
import { answerOf, put } from "./answer";

const KINDS: readonly ChartKind[] = ["line", "bar", "scatter"];

/** Draws the chart that an element describes. */
export async function enhanceChart(element: HTMLElement): Promise<void> {
  const rows = await answerOf(element);
  const first = firstChart(rows);
  if (!first || rows.length === 0) return;
  const { kind, x, y, series, title, facet, unit } = element.dataset;
  const placeOf = (name: string | undefined, otherwise: number): number => (name === undefined ? otherwise : rows.column(name));
  const choice = {
    ...first,
    kind: KINDS.find((known) => known === kind) ?? first.kind,
    x: placeOf(x, first.x),
    y: placeOf(y, first.y),
    series: series === undefined || series === "" ? (x === undefined ? first.series : -1) : rows.column(series),
    isSplit: facet !== undefined,
  };
  if (choice.x < 0 || choice.y < 0) return;
  put(element, new ChartView(rows, choice, title ?? "", unit ?? "").element);
}
