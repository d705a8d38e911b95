// A choropleth map: countries coloured by their values, with a slider where the rows have several times.

import { geoConicConformal, geoEqualEarth, geoPath, type GeoProjection } from "d3-geo";
import type { FeatureCollection } from "geojson";
import { h, isCalm, newId, show, svg } from "../dom";
import { number, t } from "../text";
import type { Rows } from "../result/rows";
import type { MapChoice } from "../chart/choose";
import { Hint } from "../chart/pointer";
import { valuesTable } from "../chart/values";
import { countryName } from "./codes";
import { type MapModel, classOf, mapModel } from "./model";
import { type Shape, shapes } from "./shapes";

const HEIGHT_OF_WIDTH = 0.52;
const HEIGHT_MAX = 520;
const MARGIN = 12;
/** Countries with values on less than this share of the globe's width are shown alone. */
const CLOSE_DEGREES = 90;

/** A map of an answer. */
export class MapView {
  readonly element = h("figure", { class: "map" });
  private readonly plot = h("div", { class: "plots" });
  private readonly legend = h("ul", { class: "key" });
  private readonly caption: HTMLElement;
  private readonly watcher: ResizeObserver;
  private readonly model: MapModel;
  private readonly hint = new Hint();
  private readonly worldButton = h("button", { type: "button" }, t("fit_world"));
  private readonly paths = new Map<string, SVGPathElement>();
  private outlines: Shape[] = [];
  private time: number;
  private width = 0;
  private isWorld = false;

  private constructor(rows: Rows, choice: MapChoice, title: string, unit: string) {
    this.model = mapModel(rows, choice, unit);
    this.time = this.model.times.length - 1;
    const id = newId("map");
    this.caption = h("span", { class: "summary" });
    this.element.setAttribute("aria-labelledby", id);
    this.element.append(h("figcaption", { id }, title ? h("strong", {}, title) : null, this.caption));
    this.element.append(this.tools(), this.plot, this.legend);
    for (const note of this.model.notes) this.element.append(h("p", { class: "note" }, note));
    this.element.append(h("p", { class: "note source" }, t("map_source")));
    const columns = [choice.region, ...(choice.time >= 0 ? [choice.time] : []), choice.value];
    this.element.append(valuesTable(rows, columns));
    this.watcher = new ResizeObserver((entries) => this.resized(entries[0]?.contentRect.width ?? 0));
  }

  /** Makes a map; fetches the outlines first. */
  static async make(rows: Rows, choice: MapChoice, title: string, unit = ""): Promise<MapView> {
    const view = new MapView(rows, choice, title, unit);
    view.outlines = await shapes();
    view.watcher.observe(view.plot);
    return view;
  }

  /** Stops watching its own size. */
  close(): void {
    this.watcher.disconnect();
  }

  private tools(): HTMLElement {
    this.worldButton.addEventListener("click", () => {
      this.isWorld = !this.isWorld;
      this.worldButton.textContent = t(this.isWorld ? "fit_data" : "fit_world");
      this.draw();
    });
    return h("div", { class: "controls" }, this.slider(), this.worldButton);
  }

  private slider(): HTMLElement | null {
    const { times } = this.model;
    if (times.length < 2) return null;
    const now = h("output", {}, times[this.time]);
    const range = h("input", { type: "range", min: 0, max: times.length - 1, step: 1, "aria-valuetext": times[this.time] });
    range.value = String(this.time);
    range.addEventListener("input", () => {
      this.time = Number(range.value);
      now.textContent = times[this.time] ?? "";
      range.setAttribute("aria-valuetext", now.textContent);
      this.paint();
    });
    return h("label", { class: "field slider" }, h("span", {}, t("time")), range, now);
  }

  private resized(width: number): void {
    if (Math.abs(width - this.width) < 2 || width < 40) return;
    this.width = width;
    this.draw();
  }

  private draw(): void {
    const height = Math.min(HEIGHT_MAX, this.width * HEIGHT_OF_WIDTH);
    const path = geoPath(this.projection(height)).digits(1);
    const element = svg("svg", { class: `plot${isCalm() ? " calm" : ""}`, width: this.width, height, viewBox: `0 0 ${this.width} ${height}`, "aria-hidden": "true" });
    this.paths.clear();
    for (const shape of this.outlines) {
      const drawn = svg("path", { class: "land", d: path(shape.outline) ?? "" });
      if (shape.code !== undefined) {
        this.paths.set(shape.code, drawn);
        drawn.dataset["code"] = shape.code;
      }
      element.append(drawn);
    }
    const frame = h("div", { class: "frame", role: "img" }, element, this.hint.element);
    frame.addEventListener("pointermove", (event) => this.point(frame, event));
    frame.addEventListener("pointerleave", () => this.leave());
    show(this.plot, frame);
    this.paint();
  }

  /** The whole world, or the countries that have values where they lie close together. */
  private projection(height: number): GeoProjection {
    const box: [[number, number], [number, number]] = [
      [MARGIN, MARGIN],
      [this.width - MARGIN, height - MARGIN],
    ];
    const known = new Set(this.model.values.flatMap((values) => [...values.keys()]));
    const wanted = this.outlines.filter(({ code }) => code !== undefined && known.has(code));
    const world: FeatureCollection = { type: "FeatureCollection", features: this.outlines.map(({ outline }) => outline) };
    const part: FeatureCollection = { type: "FeatureCollection", features: wanted.map(({ main }) => main) };
    const flat = geoPath(geoEqualEarth().scale(180 / Math.PI).translate([0, 0])).bounds(part);
    const isClose = wanted.length > 0 && flat[1][0] - flat[0][0] < CLOSE_DEGREES;
    this.worldButton.hidden = !isClose;
    if (this.isWorld || !isClose) return geoEqualEarth().fitExtent(box, world);
    const middle = [(flat[0][0] + flat[1][0]) / 2, -(flat[0][1] + flat[1][1]) / 2];
    const latitude = Math.max(-60, Math.min(60, middle[1] ?? 0));
    // A cone that touches the globe near the countries shown keeps their form.
    const projection =
      Math.abs(latitude) < 15
        ? geoEqualEarth().rotate([-(middle[0] ?? 0), 0])
        : geoConicConformal().parallels([latitude - 8, latitude + 8]).rotate([-(middle[0] ?? 0) * 1.1, 0]);
    return projection.fitExtent(box, part).clipExtent([
      [0, 0],
      [this.width, height],
    ]);
  }

  private values(): Map<string, number> {
    return this.model.values[this.time] ?? new Map<string, number>();
  }

  /** Colours the countries for the time that is shown. */
  private paint(): void {
    const values = this.values();
    for (const [code, path] of this.paths) {
      const value = values.get(code);
      path.setAttribute("class", value === undefined ? "land" : `land q${classOf(this.model, value)}`);
    }
    const sorted = [...values.entries()].sort(([, a], [, b]) => a - b);
    const [low, high] = [sorted[0], sorted[sorted.length - 1]];
    const text =
      low && high
        ? t("map_summary", {
            value: this.model.name,
            regions: sorted.length,
            low: number(low[1]),
            low_at: countryName(low[0]),
            high: number(high[1]),
            high_at: countryName(high[0]),
          })
        : t("chart_nothing");
    this.caption.textContent = text;
    this.plot.firstElementChild?.setAttribute("aria-label", text);
    show(this.legend, ...this.legendItems());
  }

  private legendItems(): HTMLElement[] {
    const edges = [this.model.low, ...this.model.breaks, this.model.high];
    const items = edges.slice(0, -1).map((from, index) => {
      const swatch = h("i", { class: `swatch q${classOf(this.model, index === 0 ? -Infinity : from)}` });
      return h("li", {}, swatch, `${number(from)} – ${number(edges[index + 1] ?? from)}`);
    });
    return [...items, h("li", {}, h("i", { class: "swatch land" }), t("map_no_value"))];
  }

  private point(frame: HTMLElement, event: PointerEvent): void {
    const path = event.target instanceof SVGPathElement ? event.target : undefined;
    const code = path?.dataset["code"];
    this.leave();
    if (!path || code === undefined) return;
    path.classList.add("current");
    const box = frame.getBoundingClientRect();
    const value = this.values().get(code);
    const text = value === undefined ? t("map_no_value") : number(value);
    this.hint.show(event.clientX - box.left, event.clientY - box.top, countryName(code), [{ text: this.model.name, value: text }]);
  }

  private leave(): void {
    this.plot.querySelector(".current")?.classList.remove("current");
    this.hint.hide();
  }
}
