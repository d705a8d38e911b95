// Draws a model as SVG. Colours come from the style sheet by class, so that themes and printing need no second drawing.

import { extent } from "d3-array";
import { scaleBand, scalePoint } from "d3-scale";
import { curveLinear, line } from "d3-shape";
import { svg } from "../dom";
import { number } from "../text";
import { type Place, type Tick, cut, drawHorizontal, drawVertical, horizontal, horizontalText, textWidth, vertical } from "./axis";
import type { Model, Series } from "./model";

/** The number of colours that tell series apart; after them they come again with dashes. */
export const COLOURS = 8;

const TOP = 14;
const BOTTOM = 30;
const RIGHT = 16;
const LABELS_MAX = 12;
const LABEL_PIXELS = 14;
const LABEL_WIDTH_MAX = 150;
/** Wide enough for names at the ends of lines. */
const LABELLED_WIDTH_MIN = 460;
const RADIUS = 3.2;
const BAR_ROW_PIXELS = 26;

/** A place on a chart that can be pointed at. */
export interface Stop {
  x: number;
  y: number;
  title: string;
  items: { index: number; name: string; value: string; y: number }[];
}

/** A drawing and its places. */
export interface Scene {
  element: SVGSVGElement;
  stops: Stop[];
  /** How the nearest stop is found. */
  by: "x" | "y" | "distance";
  labelled: boolean;
}

/** The values that charts side by side share. */
export interface Shared {
  x: [number, number];
  y: [number, number];
}

/** The class of a series' colour. */
export function colour(index: number): string {
  return `s${index % COLOURS}${index >= COLOURS ? " again" : ""}`;
}

/** Returns the stretch of both axes. */
export function shared(model: Model): Shared {
  const [left = 0, right = 1] = extent(model.series.flatMap(({ xs }) => extent(xs) as [number, number]));
  const isBar = model.choice.kind === "bar";
  const isZero = (isBar || model.choice.fromZero) && !model.choice.isLogarithmic;
  const low = isZero ? Math.min(0, model.low) : model.low;
  const high = isZero ? Math.max(0, model.high) : model.high;
  return { x: [left, right], y: [low, high] };
}

/** Draws a chart. */
export function drawChart(model: Model, width: number, height: number, over: Shared, colours: number[]): Scene {
  if (model.choice.kind === "bar" && model.series.length === 1 && isLong(model)) return drawRows(model, width, over);
  const bottom = height - BOTTOM;
  const y = vertical(over.y[0], over.y[1], model.choice.isLogarithmic, [bottom, TOP]);
  const left = Math.max(34, ...y.ticks.map(({ text }) => textWidth(text) + 14));
  const labels = endLabels(model, width);
  const right = width - RIGHT - labels;
  const element = canvas(width, height);
  element.append(drawVertical(y.ticks, left, right));
  const frame = { left, right, bottom, y: y.place };
  if (model.choice.kind === "bar") return { element, ...drawBars(element, model, frame, colours), by: "x", labelled: false };
  const x = acrossOf(model, over, [left + 6, right - 6]);
  element.append(drawHorizontal(x.ticks, bottom, left, right));
  if (model.choice.kind === "scatter") {
    return { element, stops: drawPoints(element, model, x.place, y.place, colours), by: "distance", labelled: false };
  }
  drawLines(element, model, x.place, y.place, colours);
  if (labels > 0) drawEndLabels(element, model, right + 8, labels - 8, y.place, colours);
  return { element, stops: stopsOf(model, x.place, y.place, colours), by: "x", labelled: labels > 0 };
}

function canvas(width: number, height: number): SVGSVGElement {
  return svg("svg", { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" });
}

function isLong(model: Model): boolean {
  const isPeriod = model.categories.every((name) => /^\d/.test(name));
  return !isPeriod && (model.categories.length > 6 || model.categories.some((name) => name.length > 12));
}

function acrossOf(model: Model, over: Shared, pixels: [number, number]): { place: Place; ticks: Tick[] } {
  if (model.axis !== "category") return horizontal(model, over.x[0], over.x[1], pixels);
  const scale = scalePoint<number>(model.categories.map((_, index) => index), pixels).padding(0.3);
  const place = (value: number): number => scale(value) ?? pixels[0];
  return { place, ticks: model.categories.map((text, index) => ({ at: place(index), text: cut(text, 130) })) };
}

function endLabels(model: Model, width: number): number {
  if (!model.hasEndLabels || model.choice.kind !== "line" || model.series.length < 2 || model.series.length > LABELS_MAX) return 0;
  if (width < LABELLED_WIDTH_MIN) return 0;
  return Math.min(LABEL_WIDTH_MAX, Math.max(...model.series.map(({ name }) => textWidth(name)))) + 12;
}

function drawLines(element: SVGSVGElement, model: Model, x: Place, y: Place, colours: number[]): void {
  const path = line<number>().curve(curveLinear);
  model.series.forEach((series, index) => {
    const drawn = path.x((place) => x(series.xs[place] ?? 0)).y((place) => y(series.ys[place] ?? 0));
    const group = svg("g", { class: `series ${colour(colours[index] ?? index)}` });
    group.append(svg("path", { class: "line", d: drawn(series.xs.map((_, place) => place)) ?? "" }));
    // Few points are shown as such, and a single one could not be seen otherwise.
    if (series.xs.length <= 40) {
      series.xs.forEach((value, place) => {
        group.append(svg("circle", { class: "dot", cx: x(value), cy: y(series.ys[place] ?? 0), r: series.xs.length === 1 ? RADIUS : 2 }));
      });
    }
    element.append(group);
  });
}

function drawEndLabels(element: SVGSVGElement, model: Model, x: number, width: number, y: Place, colours: number[]): void {
  const labels = model.series.map((series, index) => ({ series, index, at: y(series.ys[series.ys.length - 1] ?? 0) }));
  labels.sort((a, b) => a.at - b.at);
  // Names that would lie on each other are pushed down, then all of them up again where they left the chart.
  labels.forEach((label, place) => {
    const above = labels[place - 1];
    if (above) label.at = Math.max(label.at, above.at + LABEL_PIXELS);
  });
  const height = Number(element.getAttribute("height")) - BOTTOM;
  for (let place = labels.length - 1, floor = height; place >= 0; place -= 1) {
    const label = labels[place];
    if (!label) continue;
    label.at = Math.min(label.at, floor);
    floor = label.at - LABEL_PIXELS;
  }
  for (const { series, index, at } of labels) {
    const text = svg("text", { class: `end-label ${colour(colours[index] ?? index)}`, x, y: at, dy: "0.32em" }, cut(series.name, width));
    element.append(text);
  }
}

function drawPoints(element: SVGSVGElement, model: Model, x: Place, y: Place, colours: number[]): Stop[] {
  const stops: Stop[] = [];
  model.series.forEach((series, index) => {
    const group = svg("g", { class: `series ${colour(colours[index] ?? index)}` });
    series.xs.forEach((value, place) => {
      const height = series.ys[place] ?? 0;
      group.append(svg("circle", { class: "point", cx: x(value), cy: y(height), r: RADIUS }));
      const item = { index: colours[index] ?? index, name: series.name || model.yName, value: number(height), y: y(height) };
      stops.push({ x: x(value), y: y(height), title: `${model.xName}: ${horizontalText(model, value)}`, items: [item] });
    });
    element.append(group);
  });
  return stops.sort((a, b) => a.x - b.x);
}

function stopsOf(model: Model, x: Place, y: Place, colours: number[]): Stop[] {
  const stops = new Map<number, Stop>();
  model.series.forEach((series, index) => {
    series.xs.forEach((value, place) => {
      let stop = stops.get(value);
      if (!stop) stops.set(value, (stop = { x: x(value), y: 0, title: horizontalText(model, value), items: [] }));
      const height = series.ys[place] ?? 0;
      stop.items.push({ index: colours[index] ?? index, name: series.name || model.yName, value: number(height), y: y(height) });
    });
  });
  const sorted = [...stops.entries()].sort(([a], [b]) => a - b).map(([, stop]) => stop);
  for (const stop of sorted) {
    stop.items.sort((a, b) => a.y - b.y);
    stop.y = stop.items[0]?.y ?? 0;
  }
  return sorted;
}

interface Frame {
  left: number;
  right: number;
  bottom: number;
  y: Place;
}

function drawBars(element: SVGSVGElement, model: Model, frame: Frame, colours: number[]): { stops: Stop[] } {
  const places = model.categories.map((_, index) => index);
  const bands = scaleBand<number>(places, [frame.left, frame.right]).paddingInner(0.25).paddingOuter(0.15);
  const inside = scaleBand<number>(model.series.map((_, index) => index), [0, bands.bandwidth()]).padding(0.06);
  const zero = frame.y(Math.min(Math.max(0, model.low), model.high > 0 ? 0 : model.high)) || frame.bottom;
  const base = model.choice.isLogarithmic ? frame.bottom : Math.min(frame.bottom, Math.max(TOP, zero));
  model.series.forEach((series, index) => {
    const group = svg("g", { class: `series ${colour(colours[index] ?? index)}` });
    series.xs.forEach((value, place) => {
      const top = frame.y(series.ys[place] ?? 0);
      const x = (bands(value) ?? 0) + (inside(index) ?? 0);
      const size = { width: Math.max(1, inside.bandwidth()), height: Math.max(0.5, Math.abs(base - top)) };
      group.append(svg("rect", { class: "bar", x, y: Math.min(top, base), ...size, rx: 1.5 }));
    });
    element.append(group);
  });
  const middle = (value: number): number => (bands(value) ?? 0) + bands.bandwidth() / 2;
  const ticks = model.categories.map((text, index) => ({ at: middle(index), text: cut(text, Math.max(60, bands.step() - 8)) }));
  element.append(drawHorizontal(ticks, frame.bottom, frame.left, frame.right));
  if (base < frame.bottom) element.append(svg("line", { class: "base", x1: frame.left, x2: frame.right, y1: base, y2: base }));
  return { stops: stopsOf(model, middle, frame.y, colours) };
}

/** Draws bars that lie: names have room beside them. */
function drawRows(model: Model, width: number, over: Shared): Scene {
  const series: Series = model.series[0] ?? { name: "", xs: [], ys: [] };
  const height = TOP + model.categories.length * BAR_ROW_PIXELS + BOTTOM;
  const bottom = height - BOTTOM;
  const names = Math.min(width * 0.35, Math.max(...model.categories.map(textWidth)) + 12);
  const element = canvas(width, height);
  const x = vertical(over.y[0], over.y[1], model.choice.isLogarithmic, [names, width - 64]);
  const base = model.choice.isLogarithmic ? names : x.place(Math.min(Math.max(0, over.y[0]), over.y[1]));
  const axis = svg("g", { class: "axis" });
  let free = -Infinity;
  for (const { at, text } of x.ticks) {
    axis.append(svg("line", { class: "rule", x1: at, x2: at, y1: TOP, y2: bottom }));
    const half = textWidth(text) / 2;
    if (at - half < free) continue;
    free = at + half + 8;
    axis.append(svg("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, text));
  }
  element.append(axis);
  const stops: Stop[] = [];
  const group = svg("g", { class: `series ${colour(0)}` });
  series.xs.forEach((place, index) => {
    const value = series.ys[index] ?? 0;
    const y = TOP + place * BAR_ROW_PIXELS;
    const end = x.place(value);
    const name = model.categories[place] ?? "";
    group.append(svg("rect", { class: "bar", x: Math.min(base, end), y: y + 4, width: Math.max(0.5, Math.abs(end - base)), height: BAR_ROW_PIXELS - 8, rx: 1.5 }));
    const text = { y: y + BAR_ROW_PIXELS / 2, dy: "0.32em" };
    element.append(svg("text", { class: "row-name", x: names - 8, "text-anchor": "end", ...text }, cut(name, names - 12)));
    element.append(svg("text", { class: "row-value", x: Math.max(base, end) + 6, ...text }, number(value)));
    stops.push({ x: end, y: y + BAR_ROW_PIXELS / 2, title: name, items: [{ index: 0, name: model.yName, value: number(value), y: y + BAR_ROW_PIXELS / 2 }] });
  });
  element.append(group);
  return { element, stops: stops.sort((a, b) => a.y - b.y), by: "y", labelled: true };
}
