// The result of a statement: as a table, a chart or a map.

import { reason } from "../api";
import { type ChartChoice, type MapChoice, firstChart, firstMap } from "../chart/choose";
import { chartControls, mapControls } from "../chart/controls";
import { h, show } from "../dom";
import { Grid } from "../result/grid";
import type { Rows } from "../result/rows";
import { Tabs } from "../tabs";
import { t } from "../text";

/** How a result is looked at, as a link says it: names of columns, not places. */
export interface Look {
  view: string;
  kind?: string;
  x?: string;
  y?: string;
  series?: string;
  split?: string;
}

/** The result below the editor. */
export class Result {
  readonly element: HTMLElement;
  private readonly panels = { table: h("div"), chart: h("div"), map: h("div") };
  private readonly tabs: Tabs;
  private rows: Rows | undefined;
  private grid: Grid | undefined;
  private drawing: { close(): void } | undefined;
  private chart: ChartChoice | null = null;
  private map: MapChoice | null = null;

  constructor(
    private wanted: Look,
    private readonly looked: () => void,
  ) {
    const tab = (id: "table" | "chart" | "map"): { id: string; label: string; panel: HTMLElement } => ({ id, label: t(id), panel: this.panels[id] });
    this.tabs = new Tabs(t("view"), [tab("table"), tab("chart"), tab("map")], () => {
      void this.draw();
      this.looked();
    });
    this.element = h("section", { class: "result", "aria-label": t("result"), hidden: true }, this.tabs.element);
  }

  /** Begins to show an answer. */
  begin(rows: Rows): void {
    this.clear();
    this.rows = rows;
    this.grid = new Grid(rows);
    show(this.panels.table, this.grid.element);
    this.element.hidden = false;
  }

  /** Takes notice of more rows. */
  grow(): void {
    this.grid?.grow();
  }

  /** The answer is as complete as it gets: charts and maps can be chosen. */
  async finish(): Promise<void> {
    const { rows } = this;
    if (!rows) return;
    this.grid?.grow();
    const { countryOf } = await import("../map/codes");
    this.chart = this.asWanted(rows, firstChart(rows));
    this.map = firstMap(rows, (text) => countryOf(text) !== undefined);
    this.tabs.choose(this.wanted.view in this.panels ? this.wanted.view : "table");
    // A link says how its own answer is looked at; the next one is looked at as the visitor chooses.
    this.wanted = { view: this.tabs.current };
  }

  private asWanted(rows: Rows, first: ChartChoice | null): ChartChoice | null {
    if (!first) return null;
    const { kind, x, y, series, split } = this.wanted;
    const placeOf = (name: string | undefined, otherwise: number): number => {
      const place = name ? rows.column(name) : -1;
      return place < 0 ? otherwise : place;
    };
    const isKind = kind === "line" || kind === "bar" || kind === "scatter";
    const others = { x: placeOf(x, first.x), y: placeOf(y, first.y) };
    return { ...first, ...others, kind: isKind ? kind : first.kind, series: kind ? placeOf(series, -1) : first.series, isSplit: split === "1" };
  }

  /** Says how the result is looked at now. */
  look(): Look {
    const view = this.tabs.current;
    const { rows, chart } = this;
    if (view !== "chart" || !chart || !rows) return { view };
    const name = (place: number): string => rows.columns[place]?.name ?? "";
    const look: Look = { view, kind: chart.kind, x: name(chart.x), y: name(chart.y) };
    if (chart.series >= 0) look.series = name(chart.series);
    if (chart.isSplit) look.split = "1";
    return look;
  }

  /** Shows no result. */
  clear(): void {
    this.wanted = { ...this.wanted, view: this.rows ? this.tabs.current : this.wanted.view };
    this.drawing?.close();
    this.grid?.close();
    this.grid = this.drawing = this.rows = undefined;
    this.element.hidden = true;
    Object.values(this.panels).forEach((panel) => show(panel));
  }

  private async draw(): Promise<void> {
    const { rows } = this;
    const view = this.tabs.current;
    this.drawing?.close();
    this.drawing = undefined;
    if (!rows || view === "table") return;
    const panel = view === "chart" ? this.panels.chart : this.panels.map;
    try {
      const parts = view === "chart" ? await this.chartParts(rows) : await this.mapParts(rows);
      if (this.rows === rows && this.tabs.current === view) show(panel, ...parts);
    } catch (error) {
      show(panel, h("p", { class: "error", role: "alert" }, t("not_loaded", { reason: reason(error) })));
    }
  }

  private async chartParts(rows: Rows): Promise<HTMLElement[]> {
    if (!this.chart) return [h("p", { class: "empty" }, t("no_chart"))];
    const { ChartView } = await import("../chart/view");
    const view = new ChartView(rows, this.chart, "");
    this.drawing = view;
    const controls = chartControls(rows, this.chart, (next) => {
      this.chart = next;
      this.looked();
      void this.redraw("chart");
    });
    return [controls, view.element];
  }

  private async mapParts(rows: Rows): Promise<HTMLElement[]> {
    if (!this.map) return [h("p", { class: "empty" }, t("no_map"))];
    const { MapView } = await import("../map/view");
    const view = await MapView.make(rows, this.map, "");
    this.drawing = view;
    const controls = mapControls(rows, this.map, (next) => {
      this.map = next;
      void this.redraw("map");
    });
    return [controls, view.element];
  }

  /** Draws again after a choice, and gives the keyboard back to it. */
  private async redraw(panel: "chart" | "map"): Promise<void> {
    const fields = (): HTMLElement[] => Array.from(this.panels[panel].querySelectorAll<HTMLElement>(".controls select, .controls input"));
    const place = fields().findIndex((field) => field === document.activeElement);
    const label = document.activeElement?.closest("label")?.textContent;
    await this.draw();
    const same = fields().find((field) => field.closest("label")?.textContent === label);
    (same ?? fields()[place])?.focus();
  }
}
