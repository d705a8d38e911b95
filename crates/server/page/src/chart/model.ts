// From rows to what a chart draws: series of points, with a word about everything that is not drawn.

import { number, t } from "../text";
import type { Rows } from "../result/rows";
import type { ChartChoice } from "./choose";

/** This many points are drawn at most, all series together. */
export const POINTS_MAX = 12_000;
/** This many series share one chart at most, */
const SERIES_MAX = 16;
/** and so many have one each. */
const SPLIT_MAX = 60;
/** This many bars stand side by side at most. */
const CATEGORIES_MAX = 60;
/** For each series of a line, two points of each of so many stretches are drawn. */
const STRETCHES = 600;

/** Points of one colour. */
export interface Series {
  name: string;
  xs: number[];
  ys: number[];
}

/** What a horizontal axis means. */
export type Axis = "number" | "year" | "time" | "category";

/** All that is drawn. */
export interface Model {
  choice: ChartChoice;
  axis: Axis;
  /** The names of a category axis; a point's `x` is a place in them. */
  categories: string[];
  series: Series[];
  xName: string;
  yName: string;
  low: number;
  high: number;
  points: number;
  notes: string[];
  /** Whether lines carry their names at their ends where there is room. */
  hasEndLabels: boolean;
}

const YEAR = /^\d{4}$/;
const DATE = /^\d{4}-\d{2}(?:-\d{2})?$/;
const PERIOD = /^\d{4}\b/;

function axisOf(rows: Rows, choice: ChartChoice): Axis {
  const column = rows.columns[choice.x];
  if (!column) return "category";
  if (choice.kind === "bar") return "category";
  if (column.kind === "time") return "time";
  const sample: string[] = [];
  const step = Math.max(1, Math.floor(rows.length / 500));
  for (let row = 0; row < rows.length; row += step) {
    const text = rows.text(row, choice.x);
    if (text !== null) sample.push(text);
  }
  if (sample.length === 0) return column.kind === "number" ? "number" : "category";
  if (sample.every((text) => YEAR.test(text) && text >= "1000" && text < "3000")) return "year";
  if (column.kind === "number") return "number";
  return sample.every((text) => DATE.test(text)) ? "time" : "category";
}

/** A name with its unit, if it has one. */
export function named(name: string, unit: string): string {
  return unit ? `${name} (${unit})` : name;
}

/** Gathers the points of a chart. */
export function chartModel(rows: Rows, choice: ChartChoice, unit = ""): Model {
  const axis = axisOf(rows, choice);
  const categories = new Map<string, number>();
  const series = new Map<string, Series>();
  let outside = 0;
  for (let row = 0; row < rows.length; row += 1) {
    const y = rows.number(row, choice.y);
    const x = place(rows, row, choice.x, axis, categories);
    if (y === null || x === null) continue;
    if (choice.isLogarithmic && y <= 0) {
      outside += 1;
      continue;
    }
    const name = choice.series < 0 ? "" : (rows.text(row, choice.series) ?? t("null_value"));
    let found = series.get(name);
    if (!found) series.set(name, (found = { name, xs: [], ys: [] }));
    found.xs.push(x);
    found.ys.push(y);
  }
  const model: Model = {
    choice,
    axis,
    categories: [...categories.keys()],
    series: [...series.values()],
    xName: rows.columns[choice.x]?.name ?? "",
    yName: named(rows.columns[choice.y]?.name ?? "", unit),
    low: 0,
    high: 0,
    points: 0,
    notes: outside > 0 ? [t("not_logarithmic", { count: outside })] : [],
    hasEndLabels: true,
  };
  sortCategories(model);
  limit(model);
  if (choice.kind !== "scatter") model.series.forEach(inOrder);
  if (choice.kind === "bar" && model.series.some(overlaps)) model.notes.push(t("rows_overlap"));
  range(model);
  thin(model);
  return model;
}

function place(rows: Rows, row: number, column: number, axis: Axis, categories: Map<string, number>): number | null {
  if (axis === "number") return rows.number(row, column);
  if (axis === "time" && rows.columns[column]?.kind === "time") return rows.number(row, column);
  const text = rows.text(row, column);
  if (text === null) return null;
  if (axis === "year") return Number(text);
  if (axis === "time") {
    const instant = Date.parse(text);
    return Number.isNaN(instant) ? null : instant;
  }
  const known = categories.get(text);
  if (known !== undefined) return known;
  categories.set(text, categories.size);
  return categories.size - 1;
}

// Periods and numbers have an order of their own; other names keep that of the answer.
function sortCategories(model: Model): void {
  const { categories } = model;
  const isNumeric = categories.every((name) => name !== "" && Number.isFinite(Number(name)));
  const isPeriod = categories.length > 1 && categories.every((name) => PERIOD.test(name));
  if (!isNumeric && !isPeriod) return;
  const order = categories.map((name, index) => ({ name, index }));
  order.sort((a, b) => (isNumeric ? Number(a.name) - Number(b.name) : a.name < b.name ? -1 : 1));
  const moved = new Map(order.map(({ index }, to) => [index, to]));
  model.categories = order.map(({ name }) => name);
  for (const each of model.series) each.xs = each.xs.map((x) => moved.get(x) ?? x);
}

function limit(model: Model): void {
  const { choice, notes } = model;
  const max = choice.isSplit ? SPLIT_MAX : SERIES_MAX;
  if (model.series.length > max) {
    notes.push(t("series_left", { shown: max, all: model.series.length }));
    model.series.length = max;
  }
  if (choice.kind !== "bar" || model.categories.length <= CATEGORIES_MAX) return;
  notes.push(t("categories_left", { shown: CATEGORIES_MAX, all: model.categories.length }));
  model.categories.length = CATEGORIES_MAX;
  for (const each of model.series) keep(each, (index) => (each.xs[index] ?? 0) < CATEGORIES_MAX);
  model.series = model.series.filter(({ xs }) => xs.length > 0);
}

function keep(series: Series, wanted: (index: number) => boolean): void {
  const places = series.xs.map((_, index) => index).filter(wanted);
  series.xs = places.map((index) => series.xs[index] ?? 0);
  series.ys = places.map((index) => series.ys[index] ?? 0);
}

function inOrder(series: Series): void {
  let isSorted = true;
  for (let index = 1; index < series.xs.length && isSorted; index += 1) {
    isSorted = (series.xs[index - 1] ?? 0) <= (series.xs[index] ?? 0);
  }
  if (isSorted) return;
  const order = series.xs.map((x, index) => ({ x, index })).sort((a, b) => a.x - b.x || a.index - b.index);
  const { ys } = series;
  series.xs = order.map(({ x }) => x);
  series.ys = order.map(({ index }) => ys[index] ?? 0);
}

function overlaps(series: Series): boolean {
  return series.xs.some((x, index) => index > 0 && series.xs[index - 1] === x);
}

function range(model: Model): void {
  let low = Infinity;
  let high = -Infinity;
  for (const { ys } of model.series) {
    for (const y of ys) {
      if (y < low) low = y;
      if (y > high) high = y;
    }
    model.points += ys.length;
  }
  model.low = Number.isFinite(low) ? low : 0;
  model.high = Number.isFinite(high) ? high : 0;
}

function thin(model: Model): void {
  const all = model.points;
  if (all <= POINTS_MAX || model.choice.kind === "bar") return;
  const isLine = model.choice.kind === "line";
  const step = Math.ceil(all / POINTS_MAX);
  for (const each of model.series) {
    if (!isLine) keep(each, (index) => index % step === 0);
    else if (each.xs.length > 2 * STRETCHES) extremes(each);
  }
  const shown = model.series.reduce((sum, { xs }) => sum + xs.length, 0);
  if (shown < all) model.notes.push(t(isLine ? "points_thinned" : "points_left", { shown, all }));
}

/** Keeps the lowest and the highest point of each stretch, so that no peak is lost. */
function extremes(series: Series): void {
  const { xs, ys } = series;
  const first = xs[0] ?? 0;
  const span = (xs[xs.length - 1] ?? first) - first || 1;
  const wanted = new Set<number>([0, xs.length - 1]);
  let start = 0;
  const flush = (end: number): void => {
    let low = start;
    let high = start;
    for (let index = start; index < end; index += 1) {
      if ((ys[index] ?? 0) < (ys[low] ?? 0)) low = index;
      if ((ys[index] ?? 0) > (ys[high] ?? 0)) high = index;
    }
    wanted.add(low).add(high);
    start = end;
  };
  const stretch = (index: number): number => Math.floor((((xs[index] ?? first) - first) / span) * STRETCHES);
  for (let index = 1; index < xs.length; index += 1) {
    if (stretch(index) !== stretch(start)) flush(index);
  }
  flush(xs.length);
  keep(series, (index) => wanted.has(index));
}

/** Says in words what a chart shows. */
export function summary(model: Model): string {
  const kind = t(model.choice.kind);
  const values = { kind, x: model.xName, y: model.yName, points: model.points, low: number(model.low), high: number(model.high) };
  return model.series.length > 1 ? t("chart_summary", { ...values, series: model.series.length }) : t("chart_summary_one", values);
}
