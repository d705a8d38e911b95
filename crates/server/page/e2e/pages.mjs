// Catalogue, datasets, vintages: pages that show things.

import assert from "node:assert/strict";

export async function search_as_you_type_leads_to_a_dataset_by_keys_alone(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.open("/");
  await page.focus("input[name=q]");
  await page.keyboard.type("electr");
  await page.waitForSelector("[role=listbox] [role=option]");
  assert.equal(await page.getAttribute("input[name=q]", "aria-expanded"), "true");
  await page.keyboard.press("ArrowDown");
  const chosen = await page.getAttribute("input[name=q]", "aria-activedescendant");
  assert.match(await page.textContent(`#${chosen}`), /demo\.electricity/);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/tables/demo.electricity");
  assert.match(await page.textContent("h1"), /electricity/i);
  await visitor.leave();
}

export async function the_catalogue_loads_neither_editor_nor_maps(world) {
  const visitor = await world.visitor();
  const loaded = [];
  visitor.page.on("response", async (response) => {
    if (response.url().includes("/assets/")) loaded.push((await response.body()).length);
  });
  await visitor.open("/");
  await visitor.page.waitForSelector("[data-theme-switch]:not([hidden])");
  const bytes = loaded.reduce((sum, length) => sum + length, 0);
  assert.ok(loaded.length > 0 && bytes < 80_000, `${bytes} bytes in ${loaded.length} files`);
  await visitor.leave();
}

export async function without_scripts_pages_are_complete(world) {
  const visitor = await world.visitor({ javaScriptEnabled: false });
  const { page } = visitor;
  await visitor.open("/?q=electricity");
  assert.match(await page.textContent(".hits"), /demo\.electricity/);
  await visitor.open("/tables/demo.electricity");
  assert.match(await page.textContent("#columns"), /kwh_per_head/);
  await visitor.open("/sql");
  await page.fill("textarea[name=q]", "SELECT 40 + 2 AS answer");
  await page.click("hb-workbench form button[type=submit]");
  assert.match(await page.textContent("#result"), /42/);
  await visitor.leave();
}

export async function a_dataset_has_a_chart_that_keys_can_read(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.open("/tables/demo.electricity");
  await page.waitForSelector("hb-chart figure svg path.line");
  assert.ok((await page.locator("hb-chart path.line").count()) >= 2);
  assert.match(await page.textContent("hb-chart .summary"), /points/);
  await page.focus("hb-chart .frame");
  await page.keyboard.press("End");
  assert.match(await page.textContent("[role=status].unseen"), /\d{4}: /);
  await page.click("hb-chart .values summary");
  assert.ok((await page.locator("hb-chart .values tbody tr").count()) > 10);
  await visitor.leave();
}

export async function a_dataset_with_countries_has_a_map(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.open("/tables/demo.gdp_per_head");
  await page.locator("hb-map").scrollIntoViewIfNeeded();
  await page.waitForSelector("hb-map figure svg .land.q5");
  assert.match(await page.textContent("hb-map .summary"), /11 countries/);
  await page.hover('hb-map path[data-code="BG"]');
  assert.match(await page.textContent("hb-map .hint"), /Bulgaria/);
  await visitor.leave();
}

export async function snippets_are_copied(world) {
  const visitor = await world.visitor({ permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = visitor;
  await visitor.open("/tables/demo.electricity");
  const shown = await page.locator("hb-copy pre").first().textContent();
  await page.locator("hb-copy button").first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), shown);
  await visitor.leave();
}

export async function vintages_show_what_was_revised(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.open("/tables/demo.electricity/vintages?country=Bulgaria");
  await page.waitForSelector("hb-vintages figure svg path.line");
  assert.match(await page.textContent("hb-vintages .summary"), /2 vintages/);
  assert.ok((await page.locator("hb-vintages section tbody tr").count()) >= 1);
  assert.equal(await page.locator("hb-vintages .newest path.line").count(), 1);
  await page.focus("hb-vintages input[type=range]");
  await page.keyboard.press("End");
  await visitor.leave();
}

export async function scripts_speak_the_language_of_the_page(world) {
  const visitor = await world.visitor({ locale: "bg-BG" });
  const { page } = visitor;
  await visitor.open("/sql?lang=bg");
  await page.waitForSelector("hb-workbench.ready");
  assert.equal(await page.locator(".toolbar .primary").textContent(), "Изпълни");
  await visitor.open("/tables/demo.gdp_per_head?lang=bg");
  await page.locator("hb-map").scrollIntoViewIfNeeded();
  await page.waitForSelector("hb-map figure svg .land.q5");
  await page.hover('hb-map path[data-code="BG"]');
  assert.match(await page.textContent("hb-map .hint"), /България/);
  await visitor.leave();
}

export async function the_theme_is_switched_and_kept(world) {
  const visitor = await world.visitor({ colorScheme: "light" });
  const { page } = visitor;
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await visitor.open("/");
  const light = await ground();
  const button = page.locator("[data-theme-switch]");
  await button.click();
  await button.click();
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  assert.notEqual(await ground(), light);
  await visitor.open("/about");
  assert.equal(await page.getAttribute("html", "data-theme"), "dark");
  await visitor.leave();
}
