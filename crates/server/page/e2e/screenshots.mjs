// Takes the pictures of the README, of the demo store, in the window of a laptop.
//
//   HAMBAR=target/release/hambar node e2e/screenshots.mjs ../../../docs/images

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { World, missing } from "./world.mjs";

const [folder] = process.argv.slice(2);
const reason = folder ? missing() : "name the folder for the pictures";
if (reason !== undefined) {
  process.stderr.write(`${reason}\n`);
  process.exit(2);
}
mkdirSync(folder, { recursive: true });

const world = await World.start();
try {
  const visitor = await world.visitor({ viewport: { width: 1180, height: 760 }, reducedMotion: "reduce" });
  const { page } = visitor;
  const take = (name, options = {}) => page.screenshot({ path: join(folder, `${name}.png`), ...options });
  await visitor.open("/");
  await page.waitForSelector("[data-theme-switch]:not([hidden])");
  await take("catalogue");
  await visitor.open("/tables/demo.gdp_per_head");
  await page.waitForSelector("hb-chart figure path.line");
  await page.locator("hb-map").scrollIntoViewIfNeeded();
  await page.waitForSelector("hb-map figure .q5");
  await page.evaluate(() => scrollTo(0, 0));
  await page.setViewportSize({ width: 1180, height: 1700 });
  await page.waitForTimeout(500);
  await take("dataset");
  await page.setViewportSize({ width: 1180, height: 1080 });
  const sql = "SELECT country, year, kwh_per_head\nFROM demo.electricity\nWHERE country IN ('Bulgaria', 'Greece', 'Romania', 'Slovenia')\nORDER BY country, year";
  await visitor.run(sql, { view: "chart" });
  await page.waitForSelector(".result figure path.line");
  await take("workbench");
} finally {
  await world.stop();
}
