// Which columns of an answer a chart or map shows when nobody has said.

import type { Rows } from "../result/rows";

/** A form of chart. */
export type ChartKind = "line" | "bar" | "scatter";

/** What a chart shows. Columns are places in the answer; -1 is none. */
export interface ChartChoice {
  kind: ChartKind;
  x: number;
  y: number;
  series: number;
  isSplit: boolean;
  fromZero: boolean;
  isLogarithmic: boolean;
}

const ROWS_LOOKED_AT = 2_000;
const SERIES_MIN = 2;
const SERIES_MAX = 40;
const TIME_NAMES = /^(?:year|period|time|date|month|quarter|day|time_period|период|година|дата)(?:_|$)|_(?:year|date|time)$/i;
const REGION_NAMES = /^(?:geo|country|iso|region|ref_area|nuts|nation|state|държава|регион)/i;

/** Columns that Hambar adds say where a row came from; they are no subject of a chart. */
function isOwn(name: string): boolean {
  return name.startsWith("_");
}

function distinct(rows: Rows, column: number): number {
  const seen = new Set<string>();
  const step = Math.max(1, Math.floor(rows.length / ROWS_LOOKED_AT));
  for (let row = 0; row < rows.length && seen.size <= SERIES_MAX; row += step) {
    const text = rows.text(row, column);
    if (text !== null) seen.add(text);
  }
  return seen.size;
}

/** Chooses a first chart, or none where there is no number to show. */
export function firstChart(rows: Rows): ChartChoice | null {
  const columns = rows.columns.map((column, index) => ({ ...column, index })).filter(({ name }) => !isOwn(name));
  const isTime = (name: string): boolean => TIME_NAMES.test(name);
  const values = columns.filter(({ kind, name }) => kind === "number" && !isTime(name));
  const times = columns.filter(({ kind, name }) => kind === "time" || isTime(name));
  const texts = columns.filter(({ kind, name }) => kind === "text" && !isTime(name));
  const y = values[0] ?? columns.find(({ kind }) => kind === "number");
  if (!y) return null;
  const time = times.find(({ index }) => index !== y.index);
  const text = texts.find(({ index }) => distinct(rows, index) >= SERIES_MIN);
  const other = values.find(({ index }) => index !== y.index);
  const x = time ?? text ?? other ?? columns.find(({ index }) => index !== y.index) ?? y;
  const isLine = x === time && distinct(rows, x.index) > 1;
  const kind: ChartKind = isLine ? "line" : x === text ? "bar" : x === time ? "bar" : "scatter";
  const series = kind === "bar" ? undefined : texts.find(({ index }) => index !== x.index && isSeries(rows, index));
  const spread = x.kind === "number" && !time ? { x: other ? y.index : x.index, y: other ? other.index : y.index } : { x: x.index, y: y.index };
  return { kind, ...spread, series: series?.index ?? -1, isSplit: false, fromZero: false, isLogarithmic: false };
}

function isSeries(rows: Rows, column: number): boolean {
  const count = distinct(rows, column);
  return count >= SERIES_MIN && count <= SERIES_MAX;
}

/** What a map shows. */
export interface MapChoice {
  region: number;
  value: number;
  time: number;
}

/** Chooses a first map, or none. `isRegion` says whether a text names a country. */
export function firstMap(rows: Rows, isRegion: (text: string) => boolean): MapChoice | null {
  const columns = rows.columns.map((column, index) => ({ ...column, index })).filter(({ name }) => !isOwn(name));
  const value = columns.find(({ kind, name }) => kind === "number" && !TIME_NAMES.test(name));
  if (!value) return null;
  const texts = columns.filter(({ kind }) => kind === "text");
  const named = [...texts].sort((a, b) => Number(REGION_NAMES.test(b.name)) - Number(REGION_NAMES.test(a.name)));
  const region = named.find(({ index }) => {
    let known = 0;
    let all = 0;
    const step = Math.max(1, Math.floor(rows.length / 200));
    for (let row = 0; row < rows.length; row += step) {
      const text = rows.text(row, index);
      if (text === null) continue;
      all += 1;
      if (isRegion(text)) known += 1;
    }
    return all > 0 && known / all >= 0.3;
  });
  if (!region) return null;
  const time = columns.find(({ kind, name, index }) => index !== value.index && (kind === "time" || TIME_NAMES.test(name)));
  return { region: region.index, value: value.index, time: time?.index ?? -1 };
}
