// `<hb-workbench>`: the SQL workbench. Takes the place of the plain form, whose statement it starts with.

import { Refusal, ask, json, reason, send } from "../api";
import { announce, h, later, show } from "../dom";
import { type CatalogueTable, catalogue, quoted } from "../editor/catalogue";
import { Editor } from "../editor/editor";
import { copyText } from "../elements/copy";
import { type Answer, KEPT_BYTES_MAX, query } from "../result/stream";
import type { Rows } from "../result/rows";
import { Tabs } from "../tabs";
import { rowCount, size, t } from "../text";
import { downloads } from "./download";
import { History, draft, keepDraft } from "./history";
import { type Look, Result } from "./result";
import { Saved } from "./saved";
import { Tables } from "./tables";

/** The state of a running query is asked for when its answer lets itself be waited for. */
const LOOK_MILLISECONDS = 700;
const TICK_MILLISECONDS = 200;

/** A query that runs. */
interface Running {
  stop: AbortController;
  id: string;
  since: number;
  rows: Rows | undefined;
  state: "running" | "queued";
  wasStopped: boolean;
}

/** Builds the workbench in place of a form. */
export function enhanceWorkbench(element: HTMLElement): void {
  new Workbench(element);
}

class Workbench {
  private readonly editor: Editor;
  private readonly result: Result;
  private readonly history: History;
  private readonly saved: Saved;
  private readonly tables: Tables;
  private readonly runButton = h("button", { type: "button", class: "primary" }, t("run"));
  private readonly cancelButton = h("button", { type: "button", disabled: true }, t("cancel"));
  private readonly status = h("p", { class: "status" });
  private readonly message = h("div", { class: "messages" });
  private running: Running | undefined;

  constructor(element: HTMLElement) {
    const address = new URLSearchParams(location.search);
    const field = element.querySelector<HTMLTextAreaElement>("textarea[name=q]");
    const given = field?.value.trim() || address.get("q") || "";
    const keep = later(400, keepDraft);
    this.editor = new Editor(given || draft(), () => void this.run(), (sql) => keep(sql));
    this.result = new Result(lookOf(address), () => undefined);
    this.history = new History((sql) => this.open(sql));
    this.saved = new Saved((sql) => this.open(sql), () => this.editor.statement);
    this.tables = new Tables((name) => this.editor.insert(name));
    this.runButton.addEventListener("click", () => void this.run());
    this.cancelButton.addEventListener("click", () => this.cancel());
    show(element, this.sidebar(), this.middle());
    element.classList.add("ready");
    void this.know(element.dataset["catalogue"] ?? "/api/catalogue");
    // Only a permalink runs by itself: following just any link must not make somebody ask something.
    if (given && ["view", "at", "run"].some((name) => address.has(name))) void this.run();
  }

  private middle(): HTMLElement {
    const permalink = h("button", { type: "button" }, t("permalink"));
    permalink.addEventListener("click", () => void this.permalink());
    const save = h("button", { type: "button" }, t("save"));
    save.addEventListener("click", () => this.saved.ask());
    const bar = h("div", { class: "toolbar" }, this.runButton, this.cancelButton, this.status, downloads(() => this.editor.statement), permalink, save);
    const help = h("p", { class: "meta help" }, t("editor_help"));
    return h("div", { class: "middle" }, this.editor.element, help, bar, this.message, this.result.element);
  }

  private sidebar(): HTMLElement {
    const panel = (list: HTMLElement): HTMLElement => h("div", {}, list);
    const tabs = new Tabs(
      t("open"),
      [
        { id: "tables", label: t("tables"), panel: panel(this.tables.element) },
        { id: "history", label: t("history"), panel: panel(this.history.element) },
        { id: "saved", label: t("saved"), panel: panel(this.saved.element) },
      ],
      (id) => {
        if (id === "saved") void this.saved.refresh();
      },
    );
    return h("aside", { class: "sidebar", "aria-label": t("tables") }, tabs.element);
  }

  private async know(address: string): Promise<void> {
    try {
      const tables = await catalogue(address);
      this.tables.show(tables);
      this.editor.know(tables);
      if (this.editor.statement.trim() === "") this.editor.statement = example(tables);
    } catch (error) {
      this.tables.fail(error);
    }
  }

  private open(sql: string): void {
    this.editor.statement = sql;
    this.editor.focus();
  }

  private async run(): Promise<void> {
    const sql = this.editor.statement.trim().replace(/;\s*$/, "");
    if (sql === "") return;
    this.cancel();
    const running: Running = { stop: new AbortController(), id: "", since: performance.now(), rows: undefined, state: "running", wasStopped: false };
    this.running = running;
    this.cancelButton.disabled = false;
    this.editor.unmark();
    show(this.message);
    this.result.clear();
    const ticking = setInterval(() => this.tick(running), TICK_MILLISECONDS);
    const looking = setInterval(() => void this.lookUp(running, sql), LOOK_MILLISECONDS);
    this.tick(running);
    announce(t("running"));
    try {
      const answer = await query({
        sql,
        signal: running.stop.signal,
        begun: (id, rows) => this.begun(running, id, rows),
        more: () => this.running === running && this.result.grow(),
      });
      if (this.ended(running)) await this.finished(running, sql, answer);
    } catch (error) {
      if (this.ended(running)) this.failed(running.wasStopped, error);
    } finally {
      clearInterval(ticking);
      clearInterval(looking);
    }
  }

  /** Says whether it is the newest query that ended, which is the one whose result is shown. */
  private ended(running: Running): boolean {
    if (this.running !== running) return false;
    this.running = undefined;
    this.cancelButton.disabled = true;
    return true;
  }

  private begun(running: Running, id: string, rows: Rows): void {
    if (this.running !== running) return;
    running.id = id;
    running.rows = rows;
    running.state = "running";
    this.result.begin(rows);
  }

  private tick(running: Running): void {
    if (this.running !== running) return;
    const seconds = ((performance.now() - running.since) / 1000).toFixed(1);
    const state = running.rows ? `${t("reading")}: ${rowCount(running.rows.length)}` : t(running.state);
    this.status.textContent = `${state} · ${seconds} s`;
  }

  /** Finds the id of a query whose answer has not begun, and whether it waits. */
  private async lookUp(running: Running, sql: string): Promise<void> {
    if (running.rows || this.running !== running) return;
    try {
      const all = await json<{ id: string; sql?: string; state?: string }[]>("/api/queries", running.stop.signal);
      const own = all.find((query) => query.sql?.trim() === sql);
      if (!own) return;
      running.id = own.id;
      running.state = own.state === "queued" || own.state === "waiting" ? "queued" : "running";
    } catch {
      // Progress is a comfort: the query itself says if something is wrong.
    }
  }

  private cancel(): void {
    const { running } = this;
    if (!running) return;
    running.wasStopped = true;
    // Closing the connection stops the work; the id does so even where a proxy keeps the connection open.
    running.stop.abort();
    if (running.id) send("DELETE", `/api/queries/${encodeURIComponent(running.id)}`).catch(() => undefined);
  }

  private async finished(running: Running, sql: string, answer: Answer): Promise<void> {
    const { rows, ending, seconds } = answer;
    this.history.add(sql, rows.length);
    const parts = [rowCount(rows.length), t("columns", { columns: rows.columns.length }), t("took", { seconds: seconds.toFixed(2) }), t("bytes_kept", { size: size(rows.bytes) })];
    this.status.textContent = parts.join(" · ");
    const note: Record<Answer["ending"], string | null> = {
      complete: rows.length === 0 ? t("no_rows") : null,
      rows: t("kept_rows", { rows: rows.length }),
      bytes: t("kept_bytes", { size: size(KEPT_BYTES_MAX) }),
      "server limit": t("truncated"),
      broken: t("broke_off", { rows: rows.length }),
      cancelled: t("cancelled_partly", { rows: rows.length }),
    };
    const said = running.wasStopped ? t("cancelled_partly", { rows: rows.length }) : note[ending];
    const isBad = ending === "broken" && !running.wasStopped;
    show(this.message, said ? h("p", isBad ? { class: "error", role: "alert" } : { class: "note" }, said) : null, sourcesOf(rows));
    announce(this.status.textContent);
    await this.result.finish();
  }

  private failed(wasStopped: boolean, error: unknown): void {
    this.status.textContent = "";
    if (wasStopped) {
      show(this.message, h("p", { class: "note", role: "status" }, t("cancelled")));
      return;
    }
    const problem = error instanceof Refusal ? error.problem : undefined;
    const place = problem?.position;
    this.editor.mark(reason(error), place);
    const where = place ? ` (${t("at_place", place)})` : "";
    const hint = problem?.hint ? h("p", {}, h("strong", {}, `${t("hint")}: `), h("span", { lang: "en" }, problem.hint)) : null;
    const login = problem?.status === 401 ? h("p", {}, h("a", { href: "/login" }, t("login"))) : null;
    const detail = h("p", {}, h("span", problem ? { lang: "en" } : {}, problem?.detail ?? reason(error)), where);
    show(this.message, h("div", { class: "error", role: "alert" }, h("strong", {}, t("failed")), detail, hint, login));
    if (place) this.editor.focus();
  }

  /** Makes a link that answers the same for ever. */
  private async permalink(): Promise<void> {
    const sql = this.editor.statement.trim().replace(/;\s*$/, "");
    try {
      const response = await ask("/api/permalink", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql }) });
      const { url, is_pinned: isPinned } = (await response.json()) as { url: string; is_pinned?: boolean };
      const address = new URL(url, location.origin);
      for (const [name, value] of Object.entries(this.result.look())) address.searchParams.set(name, value);
      const isCopied = await copyText(address.href);
      const text = t(isPinned === false ? "permalink_loose" : isCopied ? "permalink_copied" : "permalink_made");
      show(this.message, h("p", { class: "note", role: "status" }, `${text} `, h("a", { href: address.href, class: "permalink" }, address.href)));
    } catch (error) {
      this.failed(false, error);
    }
  }
}

function lookOf(address: URLSearchParams): Look {
  const look: Look = { view: address.get("view") ?? "table" };
  for (const name of ["kind", "x", "y", "series", "split"] as const) {
    const value = address.get(name);
    if (value !== null) look[name] = value;
  }
  return look;
}

function example(tables: readonly CatalogueTable[]): string {
  const [first] = tables;
  return first ? `SELECT *\nFROM ${quoted(first.table)}\nLIMIT 100` : "SELECT 1";
}

function sourcesOf(rows: Rows): HTMLElement | null {
  if (rows.sources.length === 0) return null;
  const items = rows.sources.map((source) => {
    const about = [source.citation, source.licence].filter(Boolean).join(" · ");
    return h("li", {}, h("a", { href: `/tables/${encodeURIComponent(source.table)}` }, source.table), ` (${source.version}) ${about}`);
  });
  return h("ul", { class: "sources meta" }, ...items);
}
