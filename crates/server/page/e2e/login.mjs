// A login at a provider of OpenID Connect, on another site than the server: what cookies a browser sends where is its own
// business, and nothing but a browser tells.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { HAMBAR, Visitor, hambar } from "./world.mjs";

const PYTHON = process.env.HAMBAR_TEST_PYTHON ?? "python3";

const PROVIDER = `
import logging, os
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
logging.disable(logging.CRITICAL)
from oidc_provider_mock import User, app
from werkzeug.serving import make_server
users = [User(sub="ana", claims={"email": "ana@uni.example", "email_verified": True})]
server = make_server("127.0.0.1", 0, app(user_claims=users, require_nonce=True), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
`;

/** Starts the provider; nothing where Python or its package is missing, which CI forbids. */
async function provider() {
  const child = spawn(PYTHON, ["-W", "ignore", "-c", PROVIDER], { stdio: ["ignore", "pipe", "ignore"] });
  child.on("error", () => {});
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), "line"), once(child, "close")]);
  if (/^\d+$/.test(String(line)) && child.exitCode === null) return { child, origin: `http://localhost:${line}` };
  assert.notEqual(process.env.CI, "true", `${PYTHON} lacks oidc_provider_mock`);
  return undefined;
}

/** A port that nobody listens on: the server's own address is in its settings. */
async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address();
  listener.close();
  await once(listener, "close");
  return port;
}

/** A second server over the store of the world, where people log in at the provider. */
async function centre(world, login) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  writeFileSync(
    join(world.folder, "oidc.toml"),
    `[store]\nurl = "store"\n[pipelines]\nfolder = "pipelines"\n[fetch]\nallow_hosts = ["localhost"]\n` +
      `[server.centre]\nurl = "${origin}"\n[server.oidc]\nissuer = "${login.origin}"\nclient_id = "hambar"\nname = "Example"\n` +
      `client_secret = { file = "oidc.secret" }\n`,
  );
  writeFileSync(join(world.folder, "oidc.secret"), "hunter2");
  const words = ["--config", "oidc.toml", "serve", "--no-schedules", "--listen", `127.0.0.1:${port}`];
  const child = spawn(HAMBAR, words, { cwd: world.folder, stdio: ["ignore", "pipe", "ignore"] });
  await once(createInterface({ input: child.stdout }), "line");
  return { child, origin };
}

/** Opens a window that may go to the provider and back. */
async function visitor(world, server, login, options) {
  const context = await world.browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  // What the provider's own pages load from others is not needed.
  await context.route((url) => ![server.origin, login.origin].includes(url.origin), (route) => route.abort());
  const visitor = new Visitor({ origin: server.origin }, context, await context.newPage());
  visitor.elsewhere.push(login.origin);
  visitor.page.setDefaultTimeout(20_000);
  visitor.watch();
  return visitor;
}

async function in_and_out(world, server, login, options) {
  const visit = await visitor(world, server, login, options);
  const { page } = visit;
  await visit.open("/tables/demo.electricity");
  await page.waitForURL(/\/login\?next=/);
  await page.click("a[href^='/login/oidc']");
  await page.waitForURL(`${login.origin}/**`);
  await page.click("button[value=ana]");
  // It ends where it began, with the session: the cookie is sent although another site has sent the browser back.
  await page.waitForURL(`${server.origin}/tables/demo.electricity`);
  assert.match(await page.textContent(".who"), /tests\/ana@uni\.example/);
  const cookies = await visit.context.cookies(server.origin);
  const [session] = cookies.filter(({ name }) => name === "hambar_session");
  assert.deepEqual([session?.sameSite, session?.httpOnly], ["Strict", true]);
  assert.ok(!cookies.some(({ name }) => name === "hambar_login"), "the login is over");
  await page.click("form.logout button");
  await page.waitForURL(`${login.origin}/oauth2/end_session?**`);
  await page.click("button:has-text('End session')");
  await page.waitForURL(`${server.origin}/login?**`);
  const left = await visit.context.cookies(server.origin);
  assert.ok(!left.some(({ name }) => name === "hambar_session"), "the session is over");
  await visit.leave();
}

export async function logging_in_at_a_provider_on_another_site(world) {
  const login = await provider();
  if (login === undefined) return;
  let server;
  try {
    hambar(world.folder, "members", "add-person", "tests", "ana@uni.example", "--scope", "*");
    server = await centre(world, login);
    await in_and_out(world, server, login, {});
    await in_and_out(world, server, login, { javaScriptEnabled: false });
    // Whoever says no there is told so here.
    const visit = await visitor(world, server, login, { locale: "bg" });
    visit.expected.push("403 /login/callback", "400 /login/callback");
    await visit.open("/login/oidc?next=/about");
    await visit.page.click("button[value=deny]");
    await visit.page.waitForURL(`${server.origin}/login/callback?**`);
    assert.equal(await visit.page.getAttribute("html", "lang"), "bg");
    await visit.page.waitForSelector("section.error a[href^='/login?']");
    await visit.leave();
  } finally {
    server?.child.kill("SIGTERM");
    login.child.kill();
  }
}
