// Results: a million rows, charts, maps, permalinks.

import assert from "node:assert/strict";

const MILLION = "SELECT value AS id, value * 1.5 AS x, concat('row ', value) AS note FROM generate_series(1, 1000000) ORDER BY 1";
/** A result of a million rows may take this much of the tab's own memory besides its Arrow bytes. */
const HEAP_BYTES_MAX = 150 * 1024 * 1024;
/** Rows that exist as elements, however many there are. */
const ELEMENTS_MAX = 60;

export async function a_million_rows_scroll(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.run(MILLION);
  await page.waitForFunction(() => document.querySelector(".status")?.textContent?.startsWith("1,000,000 rows"), null, { timeout: 60_000 });
  const first = () => page.textContent(".grid tbody tr:first-child td");
  assert.equal(await first(), "1");
  await page.focus(".grid");
  await page.keyboard.press("Control+End");
  await page.waitForFunction(() => document.querySelector(".grid")?.textContent?.includes("row 1000000"));
  assert.match(await page.textContent(".readout"), /Row 1,000,000, note: row 1000000/);
  assert.ok((await page.locator(".grid tbody tr").count()) < ELEMENTS_MAX);
  // The scroll bar reaches every part, and the wheel goes row by row although the bar cannot.
  await page.evaluate(() => {
    const grid = document.querySelector(".grid");
    grid.scrollTop = (grid.scrollHeight - grid.clientHeight) / 2;
  });
  await page.waitForFunction(() => Math.abs(Number(document.querySelector(".grid tbody td")?.textContent) - 500_000) < 1_000);
  const before = Number(await first());
  await page.hover(".grid tbody tr:nth-child(3)");
  await page.mouse.wheel(0, 28 * 3);
  await page.waitForFunction((number) => Number(document.querySelector(".grid tbody td")?.textContent) === number, before + 3);
  const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
  assert.ok(heap < HEAP_BYTES_MAX, `${heap} bytes of heap`);
  await visitor.leave();
}

export async function a_tab_keeps_256_mib_of_an_answer_and_says_so(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.run("SELECT value AS id, repeat('x', 2000) AS wide FROM generate_series(1, 400000)");
  await page.waitForSelector(".messages .note", { timeout: 60_000 });
  assert.match(await page.textContent(".messages .note"), /keeps the first 256 MiB/);
  const rows = Number((await page.textContent(".status")).match(/^[\d,]+/)[0].replaceAll(",", ""));
  assert.ok(rows > 100_000 && rows < 150_000, String(rows));
  await page.focus(".grid");
  await page.keyboard.press("Control+End");
  await page.waitForFunction((last) => document.querySelector(".readout")?.textContent?.includes(last), `Row ${rows.toLocaleString("en")}, wide`);
  await visitor.leave();
}

export async function charts_follow_the_choices_above_them(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.run("SELECT country, year, kwh_per_head FROM demo.electricity ORDER BY 1, 2", { view: "chart" });
  await page.waitForSelector(".result figure path.line");
  assert.ok((await page.locator(".result path.line").count()) >= 10);
  await page.selectOption(".controls label:has-text('Kind') select", "scatter");
  await page.waitForSelector(".result circle.point");
  await page.selectOption(".controls label:has-text('Kind') select", "line");
  await page.check("text=Small multiples");
  await page.waitForSelector(".result .part");
  assert.ok((await page.locator(".result .part").count()) >= 10);
  await page.selectOption(".controls label:has-text('Kind') select", "bar");
  await page.waitForSelector(".result rect.bar");
  await visitor.leave();
}

export async function a_map_has_a_slider_over_years(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.run("SELECT country, year, value FROM demo.gdp_per_head", { view: "map" });
  await page.waitForSelector(".result figure .land.q5");
  const newest = await page.textContent(".result .summary");
  await page.focus(".result input[type=range]");
  await page.keyboard.press("Home");
  await page.waitForFunction((text) => document.querySelector(".result .summary")?.textContent !== text, newest);
  assert.equal(await page.textContent(".result output"), "2010");
  await visitor.leave();
}

export async function a_permalink_answers_the_same_rows_pinned_to_versions(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.run("SELECT country, year, kwh_per_head FROM demo.electricity WHERE year >= 2015 ORDER BY 1, 2", { view: "chart" });
  const said = (await visitor.answered()).split(" · ")[0];
  await page.waitForSelector(".result figure path.line");
  await page.click("text=Permalink");
  const address = await page.getAttribute("a.permalink", "href");
  assert.match(decodeURIComponent(address).replaceAll("+", " "), /VERSION AS OF 2/);
  const other = await world.visitor();
  await other.page.goto(address);
  assert.equal((await other.answered()).split(" · ")[0], said);
  await other.page.waitForSelector(".result figure path.line");
  await other.leave();
  await visitor.run("SELECT count(*) AS n FROM revisions('demo.electricity')");
  await visitor.answered();
  await page.click("text=Permalink");
  await page.waitForSelector(".messages .note:has-text('cannot be pinned')");
  await visitor.leave();
}
