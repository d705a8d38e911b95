// Runs a statement and takes its rows as they come, no faster than they can be kept and shown.

import { RecordBatchReader } from "apache-arrow";
import { Refusal, ask } from "../api";
import { Rows } from "./rows";

/** This many rows are kept; what comes after them is not asked for. */
export const KEPT_ROWS_MAX = 1_000_000;
/** At most this much of an answer is kept in the tab. */
export const KEPT_BYTES_MAX = 256 * 1024 * 1024;
/** The page gets a turn at least this often while rows come in. */
const TURN_MILLISECONDS = 24;

/** How an answer ended. */
export type Ending = "complete" | "rows" | "bytes" | "server limit" | "broken" | "cancelled";

/** An answer, complete or as far as it came. */
export interface Answer {
  rows: Rows;
  ending: Ending;
  seconds: number;
}

/** A statement with what belongs to it. */
export interface Question {
  sql: string;
  params?: readonly (string | number | boolean | null)[];
  signal?: AbortSignal;
  /** Called when the answer begins, with the id that stops it. */
  begun?: (id: string, rows: Rows) => void;
  /** Called when there are more rows. */
  more?: (rows: Rows) => void;
  rowsMax?: number;
}

/** Runs a statement. Throws a refusal where there is no answer at all. */
export async function query(question: Question): Promise<Answer> {
  const since = performance.now();
  const rowsMax = question.rowsMax ?? KEPT_ROWS_MAX;
  const response = await request(question, rowsMax);
  const arriving = new Arriving(response);
  const reader = await RecordBatchReader.from(arriving.pieces());
  await reader.open();
  const rows = new Rows(reader.schema);
  question.begun?.(response.headers.get("hambar-query") ?? "", rows);
  let ending: Ending = response.headers.has("hambar-truncated") ? "server limit" : "complete";
  let turn = performance.now();
  try {
    for await (const batch of reader) {
      rows.append(batch);
      if (rows.bytes >= KEPT_BYTES_MAX) {
        ending = "bytes";
        break;
      }
      if (performance.now() - turn > TURN_MILLISECONDS) {
        question.more?.(rows);
        await pause();
        turn = performance.now();
      }
    }
    await arriving.end(ending === "complete" || ending === "server limit");
  } catch {
    // Nothing else than the connection can fail here; rows that came are right, but they are not all.
    ending = question.signal?.aborted ? "cancelled" : "broken";
  }
  if (rows.length >= rowsMax && (ending === "complete" || ending === "server limit")) ending = "rows";
  question.more?.(rows);
  return { rows, ending, seconds: (performance.now() - since) / 1000 };
}

function request(question: Question, rows: number): Promise<Response> {
  const body = { sql: question.sql, params: question.params ?? [], format: "arrow", limits: { rows } };
  return ask("/api/sql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/vnd.apache.arrow.stream" },
    body: JSON.stringify(body),
    ...(question.signal ? { signal: question.signal } : {}),
  });
}

/** The bytes of a response, read no faster than they are asked for. */
class Arriving {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(response: Response) {
    if (!response.body) throw new Refusal({ title: "", detail: "the answer is empty", status: 0 });
    this.reader = response.body.getReader();
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    for (let piece = await this.reader.read(); !piece.done; piece = await this.reader.read()) yield piece.value;
  }

  /** Reads to the end, so that the server sees a client that took everything; or leaves, which stops the query. */
  async end(isWhole: boolean): Promise<void> {
    if (!isWhole) await this.reader.cancel();
    else while (!(await this.reader.read()).done);
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
