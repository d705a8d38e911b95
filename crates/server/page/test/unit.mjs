// Tests of what the scripts work out before anything is drawn: inputs and outputs, no browser.

import { build } from "esbuild";
import assert from "node:assert/strict";
import test from "node:test";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");

// The language of the page decides how texts are written.
globalThis.document = { documentElement: { lang: "en" } };

const contents = `
export { decimal } from "./result/rows";
export { Rows } from "./result/rows";
export { vintagesOf } from "./chart/vintages";
export { chartModel, POINTS_MAX } from "./chart/model";
export { firstChart, firstMap } from "./chart/choose";
export { countryOf, outlineOf, countryName } from "./map/codes";
export { mapModel, classOf } from "./map/model";
export { completions } from "./editor/completion";
export { quoted } from "./editor/catalogue";
export { size, rowCount, instant } from "./text";
export { tableFromArrays, vectorFromArray, Utf8, Float64 } from "apache-arrow";
`;
const built = await build({
  stdin: { contents, resolveDir: join(HERE, "src"), loader: "ts" },
  absWorkingDir: HERE,
  bundle: true,
  format: "esm",
  platform: "node",
  write: false,
  logLevel: "error",
});
const code = built.outputFiles[0].text;
const page = await import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);

function rows(columns) {
  const typed = Object.entries(columns).map(([name, values]) => {
    const type = values.some((value) => typeof value === "string") ? new page.Utf8() : new page.Float64();
    return [name, page.vectorFromArray(values, type)];
  });
  const table = page.tableFromArrays({});
  const made = Object.fromEntries(typed);
  const all = new (Object.getPrototypeOf(table).constructor)(made);
  const found = new page.Rows(all.schema);
  for (const batch of all.batches) found.append(batch);
  return found;
}

function decimal(text, scale) {
  let value = BigInt.asUintN(128, BigInt(text));
  const words = new Uint32Array(4);
  for (let index = 0; index < 4; index += 1, value >>= 32n) words[index] = Number(value & 0xffffffffn);
  return page.decimal(words, scale);
}

test("decimals keep every digit", () => {
  assert.equal(decimal("360000", 2), "3600.00");
  assert.equal(decimal("-5", 3), "-0.005");
  assert.equal(decimal("0", 2), "0.00");
  assert.equal(decimal("-170141183460469231731687303715884105728", 0), "-170141183460469231731687303715884105728");
  assert.equal(decimal("12", -3), "12000");
});

test("vintages tell revisions from new periods", () => {
  const { known, revisions } = page.vintagesOf([
    { x: "2020", y: 1, from: 10, to: 20 },
    { x: "2020", y: 2, from: 20, to: null },
    { x: "2021", y: 5, from: 20, to: null },
    { x: "2019", y: 9, from: 10, to: 30 },
  ]);
  assert.deepEqual(known.map(({ at, values }) => [at, Object.fromEntries(values)]), [
    [10, { 2019: 9, 2020: 1 }],
    [20, { 2019: 9, 2020: 2, 2021: 5 }],
    [30, { 2020: 2, 2021: 5 }],
  ]);
  assert.deepEqual(revisions, [
    { x: "2020", was: 1, became: 2, at: 20 },
    { x: "2019", was: 9, became: null, at: 30 },
  ]);
});

test("countries are known by codes and names of several providers", () => {
  for (const text of ["BG", "bgr", "100", "Bulgaria", "България", " bulgaria "]) assert.equal(page.countryOf(text), "BG", text);
  for (const [text, code] of [["EL", "GR"], ["UK", "GB"], ["XKX", "XK"], ["Türkiye", "TR"], ["Czechia", "CZ"], ["North Macedonia", "MK"]]) {
    assert.equal(page.countryOf(text), code, text);
  }
  for (const text of ["", "EU27_2020", "WLD", "BG41", "World"]) assert.equal(page.countryOf(text), undefined, text);
  assert.equal(page.outlineOf("100", "Bulgaria"), "BG");
  assert.equal(page.outlineOf(undefined, "Kosovo"), "XK");
  assert.equal(page.countryName("MK"), "North Macedonia");
});

test("a first chart is chosen by what columns mean", () => {
  const series = rows({ country: ["A", "A", "B", "B"], year: [2000, 2001, 2000, 2001], value: [1, 2, 3, null] });
  const { kind, x, y, series: by } = page.firstChart(series);
  assert.deepEqual([kind, x, y, by], ["line", 1, 2, 0]);
  const bars = page.firstChart(rows({ name: ["x", "y"], amount: [3, 1] }));
  assert.deepEqual([bars.kind, bars.x, bars.y], ["bar", 0, 1]);
  const points = page.firstChart(rows({ height: [1, 2], weight: [3, 4] }));
  assert.deepEqual([points.kind, points.x, points.y], ["scatter", 0, 1]);
  assert.equal(page.firstChart(rows({ name: ["x"] })), null);
});

const LINE = { kind: "line", x: 0, y: 1, series: -1, isSplit: false, fromZero: false, isLogarithmic: false };

test("a chart says what it leaves out", () => {
  const many = Array.from({ length: 50_000 }, (_, index) => index);
  const values = many.map((index) => (index === 31_234 ? 1e9 : Math.sin(index)));
  const model = page.chartModel(rows({ x: many, y: values }), LINE);
  const drawn = model.series.reduce((sum, { xs }) => sum + xs.length, 0);
  assert.ok(drawn <= page.POINTS_MAX && drawn > 500, String(drawn));
  assert.equal(Math.max(...model.series[0].ys), 1e9, "the peak is kept");
  assert.equal(model.points, 50_000);
  assert.match(model.notes.join(), /of 50,000 points/);
  const log = page.chartModel(rows({ x: [1, 2, 3], y: [0, -1, 5] }), { ...LINE, isLogarithmic: true });
  assert.match(log.notes.join(), /2 are left out/);
  assert.equal(log.points, 1);
  const crowded = Array.from({ length: 100 }, (_, index) => `c${index}`);
  const bars = page.chartModel(rows({ name: crowded, y: crowded.map((_, index) => index) }), { ...LINE, kind: "bar" });
  assert.match(bars.notes.join(), /60 of 100 categories/);
});

test("years are years, and periods are put in order", () => {
  assert.equal(page.chartModel(rows({ year: [2001, 2000], y: [1, 2] }), LINE).axis, "year");
  assert.equal(page.chartModel(rows({ day: ["2024-01-31", "2024-02-29"], y: [1, 2] }), LINE).axis, "time");
  const quarters = page.chartModel(rows({ q: ["2024-Q2", "2024-Q1", "2023-Q4"], y: [3, 2, 1] }), LINE);
  assert.deepEqual([quarters.axis, quarters.categories, quarters.series[0].ys], ["category", ["2023-Q4", "2024-Q1", "2024-Q2"], [1, 2, 3]]);
});

test("a map names what it cannot show", () => {
  const choice = { region: 0, value: 1, time: -1 };
  const model = page.mapModel(rows({ geo: ["BG", "RO", "EU27_2020", "BG"], value: [1, 2, 3, 4] }), choice);
  assert.deepEqual(Object.fromEntries(model.values[0]), { BG: 4, RO: 2 });
  assert.match(model.notes.join(" "), /several values.*EU27_2020/s);
  assert.equal(page.classOf(model, -1), 0);
  const timed = page.mapModel(rows({ geo: ["BG", "BG"], value: [1, 2], year: [2020, 2010] }), { ...choice, time: 2 });
  assert.deepEqual(timed.times, ["2010", "2020"]);
});

test("columns of the tables in use are completed", () => {
  const tables = [
    { table: "demo.electricity", columns: [{ name: "country", type: "string" }, { name: "Two Words", type: "int32" }] },
    { table: "demo.other", columns: [{ name: "hidden", type: "int32" }] },
  ];
  const complete = (text, at) => {
    const context = { pos: at, explicit: false, state: { sliceDoc: (from, to) => text.slice(from, to), doc: { toString: () => text } } };
    return page.completions(tables)(context)?.options.map(({ label, apply }) => [label, apply]) ?? null;
  };
  const text = "SELECT e.c FROM demo.electricity AS e";
  assert.deepEqual(complete(text, 10), [["country", "country"], ["Two Words", '"Two Words"']]);
  assert.deepEqual(complete("SELECT * FROM d", 15).map(([label]) => label), ["demo.electricity", "demo.other"]);
  assert.equal(complete("SELECT ", 7), null);
});

test("numbers are written for people", () => {
  assert.equal(page.size(26 * 1024 * 1024), "26 MiB");
  assert.equal(page.size(1536), "1.5 KiB");
  assert.equal(page.rowCount(1), "1 row");
  assert.equal(page.rowCount(1_000_000), "1,000,000 rows");
  assert.equal(page.instant(0), "1970-01-01 00:00:00");
});
