// The outlines of countries, fetched from this server when the first map is shown.

import { geoArea } from "d3-geo";
import type { Feature, MultiPolygon, Polygon } from "geojson";
import address from "hambar:countries.topojson";
import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import { json } from "../api";
import { outlineOf } from "./codes";

/** A country's outline. */
export interface Shape {
  /** Its two letters; outlines without a code are drawn and have no values. */
  code: string | undefined;
  name: string;
  outline: Feature<Polygon | MultiPolygon>;
  /** Its largest part alone: what a map is fitted to, so that far islands do not make the rest small. */
  main: Feature<Polygon | MultiPolygon>;
}

let asked: Promise<Shape[]> | undefined;

/** Returns the outlines. */
export function shapes(): Promise<Shape[]> {
  asked ??= load();
  return asked;
}

async function load(): Promise<Shape[]> {
  const topology = await json<Topology<{ countries: GeometryCollection<{ name: string }> }>>(address);
  const seen = new Set<string>();
  const found = feature(topology, topology.objects.countries).features.flatMap((each): Shape[] => {
    const { geometry } = each;
    if (geometry.type !== "Polygon" && geometry.type !== "MultiPolygon") return [];
    const outline = each as Feature<Polygon | MultiPolygon, { name: string }>;
    const { name } = outline.properties;
    const code = outlineOf(outline.id === undefined ? undefined : String(outline.id), name);
    const isSecond = code !== undefined && seen.has(code);
    if (code !== undefined) seen.add(code);
    return [{ code: isSecond ? undefined : code, name, outline, main: largest(outline) }];
  });
  return found;
}

function largest(outline: Feature<Polygon | MultiPolygon>): Feature<Polygon | MultiPolygon> {
  if (outline.geometry.type === "Polygon") return outline;
  let best: Feature<Polygon> | undefined;
  let area = -1;
  for (const coordinates of outline.geometry.coordinates) {
    const part: Feature<Polygon> = { type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates } };
    const size = geoArea(part);
    if (size > area) {
      area = size;
      best = part;
    }
  }
  return best ?? outline;
}
