// Writing and running statements.

import assert from "node:assert/strict";

/** Opens an empty workbench and puts a statement into it by typing. */
async function typed(world, sql, options) {
  const visitor = await world.visitor(options);
  const { page } = visitor;
  await visitor.open("/sql");
  await page.waitForSelector("hb-workbench.ready .cm-content");
  // The tables are there when completion is.
  await page.waitForSelector(".sidebar details");
  await page.click(".cm-content");
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(sql);
  return visitor;
}

export async function control_and_enter_run_a_statement(world) {
  const visitor = await typed(world, "SELECT country, year, kwh_per_head FROM demo.electricity WHERE country = 'Bulgaria' ORDER BY year");
  const { page } = visitor;
  await page.keyboard.press("Control+Enter");
  assert.match(await visitor.answered(), /^\d+ rows/);
  assert.equal(await page.textContent(".grid tbody tr:first-child td"), "Bulgaria");
  assert.match(await page.textContent(".sources"), /demo\.electricity.*CC-BY/s);
  await visitor.leave();
}

export async function columns_of_the_tables_in_use_are_completed(world) {
  const visitor = await typed(world, "SELECT  FROM demo.electricity e");
  const { page } = visitor;
  await page.keyboard.press("Home");
  for (let place = 0; place < "SELECT ".length; place += 1) await page.keyboard.press("ArrowRight");
  await page.keyboard.type("e.kw");
  await page.waitForSelector(".cm-tooltip-autocomplete li");
  assert.match(await page.textContent(".cm-tooltip-autocomplete"), /kwh_per_head/);
  // The list takes no keys in its first moments, so that it does not catch what was meant for the text.
  await page.waitForTimeout(150);
  await page.keyboard.press("Enter");
  assert.equal(await page.textContent(".cm-line"), "SELECT e.kwh_per_head FROM demo.electricity e");
  await visitor.leave();
}

export async function an_error_is_marked_at_its_place(world) {
  const visitor = await typed(world, "SELECT country,\n  yeer\nFROM demo.electricity");
  const { page } = visitor;
  visitor.expected.push("400 /api/sql");
  await page.keyboard.press("Control+Enter");
  await page.waitForSelector(".messages .error");
  assert.match(await page.textContent(".messages .error"), /`yeer` does not exist.*line 2, column 3/s);
  assert.equal(await page.textContent(".cm-lintRange-error"), "yeer");
  await visitor.leave();
}

export async function a_running_query_is_cancelled(world) {
  const visitor = await typed(world, "SELECT count(*) FROM generate_series(1, 100000) a(x) JOIN generate_series(1, 100000) b(y) ON x % 7 < y % 5");
  const { page } = visitor;
  page.on("requestfailed", () => undefined);
  await page.keyboard.press("Control+Enter");
  await page.waitForFunction(() => /[1-9]\d*\.\d s/.test(document.querySelector(".status")?.textContent ?? ""));
  await page.click("text=Cancel");
  await page.waitForSelector(".messages .note");
  assert.match(await page.textContent(".messages"), /Cancelled/);
  // The next one is answered at once.
  await page.click(".cm-content");
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText("SELECT 7 AS n");
  await page.keyboard.press("Control+Enter");
  assert.match(await visitor.answered(), /^1 row/);
  await visitor.leave();
}

export async function history_stays_in_the_browser(world) {
  const visitor = await typed(world, "SELECT 123 AS n");
  const { page } = visitor;
  await page.keyboard.press("Control+Enter");
  await visitor.answered();
  await visitor.open("/sql");
  await page.click("[role=tab]:has-text('History')");
  await page.click(".list .entry:has-text('SELECT 123')");
  assert.equal(await page.textContent(".cm-line"), "SELECT 123 AS n");
  await visitor.leave();
}

export async function every_form_can_be_downloaded(world) {
  const visitor = await typed(world, "SELECT country, year FROM demo.electricity LIMIT 3");
  const { page } = visitor;
  await page.click(".menu summary");
  const links = await page.locator(".menu a").all();
  assert.equal(links.length, 6);
  for (const link of links) {
    const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
    assert.equal(await download.failure(), null);
    assert.match(download.suggestedFilename(), /^hambar\.(csv|xlsx|parquet|arrow|json|ndjson)$/);
  }
  await visitor.leave();
}

export async function a_link_from_elsewhere_runs_nothing(world) {
  const visitor = await world.visitor();
  await visitor.open(`/sql?${new URLSearchParams({ q: "SELECT 5 AS n" })}`);
  await visitor.page.waitForSelector("hb-workbench.ready .cm-content");
  await visitor.page.waitForTimeout(500);
  assert.equal(await visitor.page.textContent(".cm-line"), "SELECT 5 AS n");
  assert.equal(await visitor.page.textContent(".status"), "");
  await visitor.leave();
}

export async function all_of_it_works_by_keys_alone(world) {
  const visitor = await typed(world, "SELECT country, year, kwh_per_head FROM demo.electricity ORDER BY 1, 2");
  const { page } = visitor;
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.slice(0, 20) ?? "");
  await page.keyboard.press("Control+Enter");
  await visitor.answered();
  // Tab leaves the editor; what follows is reached in the order in which it is seen.
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Run");
  const reach = async (wanted) => {
    for (let presses = 0; presses < 20; presses += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((selector) => document.activeElement?.matches(selector) ?? false, wanted)) return;
    }
    assert.fail(`${wanted} is not reached by Tab`);
  };
  await reach("[role=tab]");
  await reach("[role=grid]");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowRight");
  const cell = await page.getAttribute("[role=grid]", "aria-activedescendant");
  assert.match(await page.textContent(`#${cell}`), /^\d{4}$/);
  assert.match(await page.textContent(".readout"), /Row 2, year/);
  await page.focus(".result [role=tab][aria-selected=true]");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".result figure svg");
  assert.equal(await focused(), "Chart");
  await visitor.leave();
}
