// A chart with its title, key, notes and values: one drawing, or one for each series.

import { h, newId, show } from "../dom";
import { t } from "../text";
import type { Rows } from "../result/rows";
import type { ChartChoice } from "./choose";
import { colour, drawChart, shared } from "./draw";
import { type Model, chartModel, summary } from "./model";
import { Hint, follow } from "./pointer";
import { valuesTable } from "./values";

const HEIGHT_MIN = 240;
const HEIGHT_MAX = 420;
const SPLIT_WIDTH_MIN = 210;
const SPLIT_HEIGHT = 150;

/** A chart of an answer, drawn again when its room changes. */
export class ChartView {
  readonly element = h("figure", { class: "chart" });
  private readonly plots = h("div", { class: "plots" });
  private readonly watcher: ResizeObserver;
  private readonly model: Model;
  private width = 0;

  constructor(rows: Rows, choice: ChartChoice, title: string, unit = "") {
    this.model = chartModel(rows, choice, unit);
    const id = newId("chart");
    const caption = h("figcaption", { id }, title ? h("strong", {}, title) : null, h("span", { class: "summary" }, summary(this.model)));
    this.element.setAttribute("aria-labelledby", id);
    const notes = this.model.notes.map((note) => h("p", { class: "note" }, note));
    this.element.append(caption, this.plots, ...notes);
    const columns = [choice.x, ...(choice.series >= 0 ? [choice.series] : []), choice.y];
    this.element.append(valuesTable(rows, [...new Set(columns)]));
    this.watcher = new ResizeObserver((entries) => this.resized(entries[0]?.contentRect.width ?? 0));
    this.watcher.observe(this.plots);
  }

  /** Stops watching its own size. */
  close(): void {
    this.watcher.disconnect();
  }

  private resized(width: number): void {
    if (Math.abs(width - this.width) < 2 || width < 40) return;
    this.width = width;
    if (this.model.points === 0) show(this.plots, h("p", { class: "empty" }, t("chart_nothing")));
    else if (this.model.choice.isSplit && this.model.series.length > 1) this.drawSplit();
    else this.drawOne();
  }

  private drawOne(): void {
    const height = Math.min(HEIGHT_MAX, Math.max(HEIGHT_MIN, this.width * 0.48));
    const colours = this.model.series.map((_, index) => index);
    const scene = drawChart(this.model, this.width, height, shared(this.model), colours);
    const key = this.model.series.length > 1 && !scene.labelled ? this.key() : null;
    show(this.plots, h("p", { class: "axis-name" }, this.model.yName), key, this.frame(scene, ""));
  }

  private drawSplit(): void {
    const columns = Math.max(1, Math.floor(this.width / SPLIT_WIDTH_MIN));
    const width = Math.floor(this.width / Math.min(columns, this.model.series.length)) - 12;
    const over = shared(this.model);
    const parts = this.model.series.map((series) => {
      const model: Model = { ...this.model, series: [series] };
      const scene = drawChart(model, width, SPLIT_HEIGHT, over, [0]);
      return h("div", { class: "part" }, h("p", { class: "part-name" }, series.name), this.frame(scene, series.name));
    });
    const grid = h("div", { class: "parts" }, ...parts);
    show(this.plots, h("p", { class: "axis-name" }, this.model.yName), grid);
  }

  private frame(scene: ReturnType<typeof drawChart>, name: string): HTMLElement {
    const hint = new Hint();
    const label = `${name ? `${name}. ` : ""}${summary(this.model)} ${t("chart_keys")}`;
    const frame = h("div", { class: "frame", tabindex: 0, role: "img", "aria-label": label }, scene.element, hint.element);
    follow(frame, scene, hint);
    return frame;
  }

  private key(): HTMLElement {
    const names = this.model.series.map(({ name }, index) => h("li", {}, h("i", { class: `swatch ${colour(index)}` }), name));
    return h("ul", { class: "key" }, ...names);
  }
}
