// The statements that were run in this browser. They stay in it.

import { h, show } from "../dom";
import { instant, rowCount, t } from "../text";

/** A statement that was run. */
interface Entry {
  sql: string;
  at: number;
  rows: number;
}

const KEY = "hambar.history";
const DRAFT = "hambar.draft";
const ENTRIES_MAX = 60;

// A browser may refuse to keep anything; then there is no history, and all else works.
function read(): Entry[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? (kept as Entry[]).filter((entry) => typeof entry?.sql === "string") : [];
  } catch {
    return [];
  }
}

function write(name: string, text: string): void {
  try {
    localStorage.setItem(name, text);
  } catch {
    // Nothing to do about a full or forbidden store.
  }
}

/** Keeps what is being written for the next visit. */
export function keepDraft(sql: string): void {
  write(DRAFT, sql);
}

/** Returns what was being written. */
export function draft(): string {
  try {
    return localStorage.getItem(DRAFT) ?? "";
  } catch {
    return "";
  }
}

/** The list of statements. */
export class History {
  readonly element = h("div", { class: "list" });

  constructor(private readonly open: (sql: string) => void) {
    this.draw();
  }

  /** Adds a statement at the top. */
  add(sql: string, rows: number): void {
    const others = read().filter((entry) => entry.sql !== sql);
    write(KEY, JSON.stringify([{ sql, rows, at: Date.now() }, ...others].slice(0, ENTRIES_MAX)));
    this.draw();
  }

  private draw(): void {
    const entries = read();
    if (entries.length === 0) {
      show(this.element, h("p", { class: "empty" }, t("history_none")));
      return;
    }
    const items = entries.map((entry) => {
      const about = `${instant(entry.at)} · ${rowCount(entry.rows)}`;
      const button = h("button", { type: "button", class: "entry" }, h("code", {}, entry.sql.slice(0, 200)), h("span", { class: "meta" }, about));
      button.addEventListener("click", () => this.open(entry.sql));
      return h("li", {}, button);
    });
    const clear = h("button", { type: "button", class: "quiet" }, t("history_clear"));
    clear.addEventListener("click", () => {
      write(KEY, "[]");
      this.draw();
    });
    show(this.element, h("ul", {}, ...items), clear);
  }
}
