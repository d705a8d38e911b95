// The chart of vintages: the newest bold, earlier ones paler the older they are, and a slider that picks one.

import { h, newId, show } from "../dom";
import { instant, t } from "../text";
import { drawChart, shared } from "./draw";
import type { Axis, Model, Series } from "./model";
import { Hint, follow } from "./pointer";
import type { Vintage, Vintages } from "./vintages";

const VINTAGES_MAX = 24;
const HEIGHT_MIN = 260;
const HEIGHT_MAX = 440;

/** A chart of one series at different dates. */
export class VintageView {
  readonly element = h("figure", { class: "chart vintages" });
  private readonly plot = h("div", { class: "plots" });
  private readonly known: Vintage[];
  private readonly periods: string[];
  private readonly watcher: ResizeObserver;
  private picked: number;
  private width = 0;

  constructor(
    vintages: Vintages,
    private readonly yName: string,
    title: string,
  ) {
    this.known = vintages.known.slice(-VINTAGES_MAX);
    this.periods = [...new Set(this.known.flatMap(({ values }) => [...values.keys()]))].sort((a, b) => (a < b ? -1 : 1));
    // At first the newest is compared with the one before it.
    this.picked = Math.max(0, this.known.length - 2);
    const id = newId("vintages");
    const revised = new Set(vintages.revisions.map(({ x }) => x)).size;
    const about = t("vintages_summary", { vintages: vintages.known.length, y: yName, revised });
    this.element.setAttribute("aria-labelledby", id);
    this.element.append(h("figcaption", { id }, title ? h("strong", {}, title) : null, h("span", { class: "summary" }, about)));
    if (this.known.length > 1) this.element.append(this.slider());
    this.element.append(this.plot);
    if (this.known.length < vintages.known.length) {
      const note = t("vintages_left", { shown: this.known.length, all: vintages.known.length });
      this.element.append(h("p", { class: "note" }, note));
    }
    this.watcher = new ResizeObserver((entries) => this.resized(entries[0]?.contentRect.width ?? 0));
    this.watcher.observe(this.plot);
  }

  private slider(): HTMLElement {
    const text = (): string => instant(this.known[this.picked]?.at ?? 0);
    const now = h("output", {}, text());
    const range = h("input", { type: "range", min: 0, max: this.known.length - 1, step: 1, "aria-valuetext": text() });
    range.value = String(this.picked);
    range.addEventListener("input", () => {
      this.picked = Number(range.value);
      now.textContent = text();
      range.setAttribute("aria-valuetext", text());
      this.draw();
    });
    return h("div", { class: "controls" }, h("label", { class: "field slider" }, h("span", {}, t("as_known")), range, now));
  }

  private resized(width: number): void {
    if (Math.abs(width - this.width) < 2 || width < 40) return;
    this.width = width;
    this.draw();
  }

  private axis(): Axis {
    if (this.periods.every((period) => /^\d{4}$/.test(period))) return "year";
    return this.periods.every((period) => /^\d{4}-\d{2}(?:-\d{2})?$/.test(period)) ? "time" : "category";
  }

  private seriesOf(vintage: Vintage, axis: Axis): Series {
    const series: Series = { name: instant(vintage.at), xs: [], ys: [] };
    this.periods.forEach((period, index) => {
      const y = vintage.values.get(period);
      if (y === undefined) return;
      series.xs.push(axis === "year" ? Number(period) : axis === "time" ? Date.parse(period) : index);
      series.ys.push(y);
    });
    return series;
  }

  private draw(): void {
    const axis = this.axis();
    const newest = this.known.length - 1;
    const all = this.known.map((vintage) => this.seriesOf(vintage, axis));
    const values = all.flatMap(({ ys }) => ys);
    const choice = { kind: "line" as const, x: 0, y: 1, series: -1, isSplit: false, fromZero: false, isLogarithmic: false };
    const model: Model = {
      choice,
      axis,
      categories: this.periods,
      series: all,
      xName: "",
      yName: this.yName,
      low: values.reduce((low, value) => Math.min(low, value), Infinity),
      high: values.reduce((high, value) => Math.max(high, value), -Infinity),
      points: values.length,
      notes: [],
      hasEndLabels: false,
    };
    const over = shared(model);
    const height = Math.min(HEIGHT_MAX, Math.max(HEIGHT_MIN, this.width * 0.45));
    const named = [this.picked, ...(this.picked === newest ? [] : [newest])];
    const order = [...all.keys()].filter((index) => !named.includes(index)).concat(named);
    const scene = drawChart({ ...model, series: order.map((index) => all[index] as Series) }, this.width, height, over, order.map((index) => (index === newest ? 0 : 1)));
    scene.element.querySelectorAll(".series").forEach((group, place) => {
      const index = order[place] ?? 0;
      group.classList.add(index === newest ? "newest" : index === this.picked ? "picked" : "older");
    });
    for (const stop of scene.stops) stop.items = stop.items.filter(({ name }) => named.some((index) => all[index]?.name === name));
    const hint = new Hint();
    const label = `${this.yName}. ${t("chart_keys")}`;
    const frame = h("div", { class: "frame", tabindex: 0, role: "img", "aria-label": label }, scene.element, hint.element);
    follow(frame, scene, hint);
    show(this.plot, h("p", { class: "axis-name" }, this.yName), this.key(), frame);
  }

  private key(): HTMLElement {
    const item = (classes: string, text: string): HTMLElement => h("li", {}, h("i", { class: `swatch ${classes}` }), text);
    const newest = this.known.length - 1;
    const picked = this.picked === newest ? null : item("s1", instant(this.known[this.picked]?.at ?? 0));
    const older = this.known.length > 2 ? item("older", t("earlier")) : null;
    return h("ul", { class: "key" }, item("s0", `${t("newest")} (${instant(this.known[newest]?.at ?? 0)})`), picked, older);
  }
}
