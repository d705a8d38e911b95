// Axes: the places of their ticks, what is written at them, and the lines.

import { type ScaleContinuousNumeric, scaleLinear, scaleLog, scaleUtc } from "d3-scale";
import { svg } from "../dom";
import { language } from "../text";
import type { Model } from "./model";

/** From values to pixels. */
export type Place = (value: number) => number;

/** Where ticks are and what they say. */
export interface Tick {
  at: number;
  text: string;
}

const DAY = 86_400_000;
/** A vertical tick stands at about every so many pixels, */
const TICK_PIXELS = 44;
/** and a horizontal one as its text needs: so many pixels a character. */
const CHARACTER_PIXELS = 7.2;

function numberFormat(low: number, high: number, step: number): (value: number) => string {
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const digits = step > 0 ? Math.min(12, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) : 0;
  const options: Intl.NumberFormatOptions =
    largest >= 1_000_000
      ? { notation: "compact", maximumFractionDigits: 2 }
      : { minimumFractionDigits: digits, maximumFractionDigits: digits };
  const format = new Intl.NumberFormat(language, options);
  return (value) => format.format(value);
}

/** Makes the vertical axis. */
export function vertical(low: number, high: number, isLog: boolean, pixels: [number, number]): { place: Place; ticks: Tick[] } {
  const count = Math.max(2, Math.floor(Math.abs(pixels[0] - pixels[1]) / TICK_PIXELS));
  const scale: ScaleContinuousNumeric<number, number> = isLog ? scaleLog() : scaleLinear();
  const [from, to] = low === high ? [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1] : [low, high];
  scale.domain([isLog ? Math.max(from, Number.MIN_VALUE) : from, to]).nice(count).range(pixels);
  let values = scale.ticks(count);
  if (isLog && values.length > count) {
    values = values.filter((value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6);
    if (values.length < 2) values = scale.ticks(count).filter((_, index, all) => index % Math.ceil(all.length / count) === 0);
  }
  const step = values.length > 1 ? Math.abs((values[1] ?? 0) - (values[0] ?? 0)) : 1;
  const plain = numberFormat(low, high, step);
  const compact = new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 });
  const text = isLog ? (value: number) => compact.format(value) : plain;
  return { place: (value) => scale(value), ticks: values.map((value) => ({ at: scale(value), text: text(value) })) };
}

/** Makes the horizontal axis of numbers, years or times. */
export function horizontal(model: Model, low: number, high: number, pixels: [number, number]): { place: Place; ticks: Tick[] } {
  const width = pixels[1] - pixels[0];
  if (model.axis === "time") return times(low, high, pixels, Math.max(2, Math.floor(width / 90)));
  const span = low === high ? 1 : 0;
  const scale = scaleLinear().domain([low - span, high + span]).range(pixels);
  if (model.axis === "year") {
    const values = scale.ticks(Math.max(2, Math.floor(width / 64))).filter(Number.isInteger);
    return { place: (value) => scale(value), ticks: values.map((value) => ({ at: scale(value), text: String(value) })) };
  }
  const values = scale.nice().ticks(Math.max(2, Math.floor(width / 80)));
  const format = numberFormat(low, high, (values[1] ?? 1) - (values[0] ?? 0));
  return { place: (value) => scale(value), ticks: values.map((value) => ({ at: scale(value), text: format(value) })) };
}

function times(low: number, high: number, pixels: [number, number], count: number): { place: Place; ticks: Tick[] } {
  const span = low === high ? DAY : 0;
  const scale = scaleUtc().domain([low - span, high + span]).range(pixels);
  const values = scale.ticks(count);
  const step = values.length > 1 ? Number(values[1]) - Number(values[0]) : high - low;
  const format = new Intl.DateTimeFormat(language, { ...timeForm(step), timeZone: "UTC" });
  return { place: (value) => scale(value), ticks: values.map((value) => ({ at: scale(value), text: format.format(value) })) };
}

function timeForm(step: number): Intl.DateTimeFormatOptions {
  if (step >= 360 * DAY) return { year: "numeric" };
  if (step >= 27 * DAY) return { year: "numeric", month: "short" };
  if (step >= DAY) return { month: "short", day: "numeric" };
  return step >= 60_000 ? { hour: "2-digit", minute: "2-digit" } : { minute: "2-digit", second: "2-digit" };
}

/** Writes a value of the horizontal axis in full. */
export function horizontalText(model: Model, x: number): string {
  if (model.axis === "category") return model.categories[x] ?? "";
  if (model.axis === "year") return String(x);
  if (model.axis === "number") return new Intl.NumberFormat(language, { maximumSignificantDigits: 8 }).format(x);
  const isDay = x % DAY === 0;
  const form: Intl.DateTimeFormatOptions = isDay ? { dateStyle: "medium" } : { dateStyle: "medium", timeStyle: "medium" };
  return new Intl.DateTimeFormat(language, { ...form, timeZone: "UTC" }).format(x);
}

/** How wide texts are, about. */
export function textWidth(text: string): number {
  return text.length * CHARACTER_PIXELS;
}

/** Cuts a text to about so many pixels. */
export function cut(text: string, pixels: number): string {
  const characters = Math.max(3, Math.floor(pixels / CHARACTER_PIXELS));
  return text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;
}

/** Draws lines across at the ticks of the vertical axis, and their texts. */
export function drawVertical(ticks: Tick[], left: number, right: number): SVGGElement {
  const group = svg("g", { class: "axis" });
  for (const { at, text } of ticks) {
    group.append(svg("line", { class: "rule", x1: left, x2: right, y1: at, y2: at }));
    group.append(svg("text", { x: left - 8, y: at, dy: "0.32em", "text-anchor": "end" }, text));
  }
  return group;
}

/** Draws the ticks of the horizontal axis, leaving out texts that would touch. */
export function drawHorizontal(ticks: Tick[], y: number, left: number, right: number): SVGGElement {
  const group = svg("g", { class: "axis" });
  group.append(svg("line", { class: "base", x1: left, x2: right, y1: y, y2: y }));
  let free = -Infinity;
  for (const { at, text } of ticks) {
    const half = textWidth(text) / 2;
    if (at - half < free) continue;
    free = at + half + 10;
    group.append(svg("line", { class: "base", x1: at, x2: at, y1: y, y2: y + 4 }));
    const anchor = at + half > right + 14 ? "end" : "middle";
    group.append(svg("text", { x: anchor === "end" ? right + 8 : at, y: y + 18, "text-anchor": anchor }, text));
  }
  return group;
}
