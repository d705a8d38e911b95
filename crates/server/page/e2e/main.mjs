// The browser tests: a real server, a real browser, nothing in between.
//
//   HAMBAR=target/debug/hambar npm run e2e
//
// Where Chromium is missing they say that they were skipped; with CI=true that is a failure.

import test, { after, before } from "node:test";
import { missing } from "./world.mjs";
import { World } from "./world.mjs";
import * as access from "./access.mjs";
import * as login from "./login.mjs";
import * as pages from "./pages.mjs";
import * as results from "./results.mjs";
import * as workbench from "./workbench.mjs";

const reason = missing();
if (reason !== undefined) {
  process.stdout.write(`browser tests skipped: ${reason}\n`);
  process.exit(process.env.CI === "true" ? 1 : 0);
}

/** One test may take this long. */
const TEST_MILLISECONDS = 150_000;

let world;
before(async () => {
  world = await World.start();
});
after(() => world?.stop());

const only = process.env.ONLY ?? "";
for (const group of [pages, workbench, results, access, login]) {
  for (const [name, scenario] of Object.entries(group)) {
    const title = name.replaceAll("_", " ");
    if (!title.includes(only)) continue;
    test(title, { timeout: TEST_MILLISECONDS }, () => scenario(world));
  }
}
