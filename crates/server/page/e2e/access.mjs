// Who may, and who can: sessions, saved statements, operations, and an accessibility scan of every page.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export async function logging_in_and_out(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.login("reader");
  assert.match(await page.textContent(".who"), /reader/);
  const [cookie] = (await visitor.context.cookies()).filter(({ httpOnly }) => httpOnly);
  assert.equal(cookie?.sameSite, "Strict");
  await page.click("form.logout button");
  await page.waitForSelector(".tools a[href^='/login']");
  await visitor.leave();
}

export async function statements_are_saved_shared_and_deleted(world) {
  const visitor = await world.visitor();
  const { page } = visitor;
  await visitor.login("reader");
  await visitor.run("SELECT 99 AS saved_number");
  await visitor.answered();
  await page.click(".toolbar button:has-text('Save')");
  await page.fill("dialog input[name=title]", "Ninety-nine");
  await page.check("dialog input[name=shared]");
  await page.click("dialog button[type=submit]");
  await page.waitForSelector("dialog", { state: "detached" });
  await page.click("[role=tab]:has-text('Saved')");
  await page.waitForSelector(".entry:has-text('Ninety-nine')");
  const other = await world.visitor();
  await other.login("administrator");
  await other.open("/sql");
  await other.page.click("[role=tab]:has-text('Saved')");
  await other.page.click(".entry:has-text('Ninety-nine')");
  assert.equal(await other.page.textContent(".cm-line"), "SELECT 99 AS saved_number");
  await other.leave();
  page.on("dialog", (dialog) => dialog.accept());
  await page.click("button[aria-label='Delete: Ninety-nine']");
  await page.waitForSelector(".entry:has-text('Ninety-nine')", { state: "detached" });
  await visitor.leave();
}

export async function whoever_is_not_logged_in_is_told_so(world) {
  const visitor = await world.visitor();
  visitor.expected.push("401 /api/saved", "403 /api/saved");
  await visitor.open("/sql");
  await visitor.page.click("[role=tab]:has-text('Saved')");
  await visitor.page.waitForSelector(".list a[href='/login']");
  await visitor.leave();
}

export async function operations_are_for_operators(world) {
  const visitor = await world.visitor();
  await visitor.login("administrator");
  const response = await visitor.open("/operations");
  assert.equal(response.status(), 200);
  assert.match(await visitor.page.textContent("main"), /demo\.electricity/);
  await visitor.leave();
}

/** Lists what the scanner finds on the page that is open. */
async function findings(page, rules) {
  // Evaluated by the debugger, which the page's policy does not bind: the policy itself stays as it is.
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate((tags) => globalThis.axe.run(document, { runOnly: tags }), rules);
  assert.ok(passes.length > 0, "the scanner looked at nothing");
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`).join(" | ")}`);
}

const SETTLED = {
  "/": "[data-theme-switch]:not([hidden])",
  "/?q=gdp": "[data-theme-switch]:not([hidden])",
  "/?q=nothing-has-this": "[data-theme-switch]:not([hidden])",
  "/tables/demo.electricity": "hb-chart figure svg",
  "/tables/demo.gdp_per_head": "hb-chart figure svg",
  "/tables/demo.electricity/vintages": "hb-vintages",
  "/sql": ".sidebar details",
  "/sql?view=table&q=SELECT+*+FROM+demo.electricity": ".grid tbody td",
  "/sql?view=chart&q=SELECT+*+FROM+demo.electricity": ".result figure svg",
  "/sql?view=map&q=SELECT+*+FROM+demo.gdp_per_head": ".result figure .q5",
  "/login": "main form",
  "/about": "main",
  "/operations": "main",
};

async function scan(world, theme, rules) {
  const visitor = await world.visitor({ colorScheme: theme, reducedMotion: "reduce" });
  await visitor.login("administrator");
  const found = [];
  for (const [path, settled] of Object.entries(SETTLED)) {
    await visitor.open(path);
    await visitor.page.waitForSelector(settled, { state: "attached" });
    for (const finding of await findings(visitor.page, rules)) found.push(`${path} ${finding}`);
  }
  assert.deepEqual(found, []);
  await visitor.leave();
}

export const the_scanner_finds_nothing_in_the_light = (world) => scan(world, "light", RULES);
// Only colours are other ones in the dark.
export const the_scanner_finds_nothing_in_the_dark = (world) => scan(world, "dark", ["color-contrast", "link-in-text-block"]);

export async function on_a_telephone_nothing_is_cut_off(world) {
  const visitor = await world.visitor({ viewport: { width: 360, height: 740 } });
  for (const path of ["/", "/tables/demo.electricity", "/sql?view=table&q=SELECT+*+FROM+demo.electricity", "/login", "/about"]) {
    await visitor.open(path);
    await visitor.page.waitForSelector(SETTLED[path] ?? "main", { state: "attached" });
    const overflow = await visitor.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `${path} is ${overflow} pixels too wide`);
  }
  await visitor.leave();
}
