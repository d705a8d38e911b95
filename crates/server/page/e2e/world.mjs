// What the browser tests run against: a real `hambar serve` over a demo store, and Chromium.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const HAMBAR = process.env.HAMBAR ?? "hambar";

// Chromium neither isolates itself as root nor asks its makers anything.
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-precise-memory-info",
];

/** How long anything on a page may take; the server under test may be a debug build. */
const PATIENCE_MILLISECONDS = 20_000;

/** Says what is missing for the tests, if anything is. */
export function missing() {
  if (!existsSync(CHROMIUM)) return `there is no Chromium at ${CHROMIUM} (apt-get install chromium, or set CHROMIUM)`;
  try {
    execFileSync(HAMBAR, ["--version"], { stdio: "ignore" });
  } catch {
    return `\`${HAMBAR}\` cannot be started (set HAMBAR to the binary)`;
  }
  return undefined;
}

export function hambar(folder, ...words) {
  return execFileSync(HAMBAR, words, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** A server over a store of its own, and a browser. */
export class World {
  static async start() {
    const world = new World();
    world.folder = mkdtempSync(join(tmpdir(), "hambar-page-"));
    hambar(world.folder, "demo", "--folder", world.folder);
    writeFileSync(
      join(world.folder, "hambar.toml"),
      '[store]\nurl = "store"\n\n[pipelines]\nfolder = "pipelines"\n\n[server]\nanonymous = true\npublic = ["demo"]\n',
    );
    hambar(world.folder, "members", "add-org", "tests", "--title", "Tests");
    const token = (name, role) =>
      hambar(world.folder, "members", "add-token", "tests", name, "--role", role, "--scope", "*").match(/hbr_\S+/)[0];
    world.tokens = { administrator: token("admin", "administrator"), reader: token("reader", "reader") };
    world.server = spawn(HAMBAR, ["serve", "--listen", "127.0.0.1:0"], { cwd: world.folder, stdio: ["ignore", "pipe", "pipe"] });
    world.log = "";
    world.server.stderr.on("data", (piece) => (world.log += piece));
    world.origin = await new Promise((resolve, reject) => {
      createInterface({ input: world.server.stdout }).once("line", (line) => resolve(line.trim().split(" ").at(-1)));
      world.server.once("exit", () => reject(new Error(`the server ended: ${world.log}`)));
    });
    world.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
    return world;
  }

  async stop() {
    await this.browser?.close();
    if (this.server?.exitCode === null) {
      const ended = new Promise((resolve) => this.server.once("exit", resolve));
      this.server.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Opens a window of a visitor of its own, which notices everything that a page must not do. */
  async visitor(options = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MILLISECONDS);
    const visitor = new Visitor(this, context, page);
    visitor.watch(options.javaScriptEnabled !== false);
    return visitor;
  }
}

/** Somebody in front of a page. */
export class Visitor {
  /** What the page did wrong so far. */
  wrong = [];
  /** Origins of others that the visitor is sent to on purpose. */
  elsewhere = [];
  /** Answers that a test expects to be refused, as `status path`. */
  expected = [];

  constructor(world, context, page) {
    Object.assign(this, { world, context, page });
  }

  watch() {
    const { page, world } = this;
    page.on("pageerror", (error) => this.wrong.push(`error: ${error.stack}`));
    page.on("console", (message) => {
      // That an answer was refused is judged where the answer is.
      const isRefusal = message.text().startsWith("Failed to load resource");
      if (["error", "warning"].includes(message.type()) && !isRefusal) this.wrong.push(`${message.type()}: ${message.text()}`);
    });
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      // What the page of another does is its own; that a page of ours sends the browser there is the only thing it may.
      if (this.elsewhere.includes(new URL(request.frame().url()).origin)) return;
      if (request.isNavigationRequest() && this.elsewhere.includes(origin)) return;
      if (origin !== world.origin && protocol !== "data:" && protocol !== "blob:") this.wrong.push(`asked elsewhere: ${request.url()}`);
    });
    page.on("response", (response) => {
      if (response.status() < 400 || this.elsewhere.includes(new URL(response.url()).origin)) return;
      const shown = `${response.status()} ${new URL(response.url()).pathname}`;
      if (!this.expected.includes(shown)) this.wrong.push(`refused: ${shown}`);
    });
  }

  async open(path) {
    const response = await this.page.goto(this.world.origin + path);
    return response;
  }

  async login(role) {
    await this.open("/login");
    await this.page.fill("input[name=token]", this.world.tokens[role]);
    await this.page.click("main form button[type=submit]");
    await this.page.waitForSelector("form.logout");
  }

  /** Opens the workbench with a statement that is run by its link. */
  async run(sql, look = { view: "table" }) {
    await this.open(`/sql?${new URLSearchParams({ q: sql, ...look })}`);
  }

  /** Waits until an answer is complete, and returns what is said of it. */
  async answered() {
    const status = this.page.locator(".status");
    await this.page.waitForFunction(() => /·.*·.*·/.test(document.querySelector(".status")?.textContent ?? ""));
    return status.textContent();
  }

  /** Ends the visit; fails where a page did what it must not. */
  async leave() {
    await this.context.close();
    assert.deepEqual(this.wrong, []);
  }
}
