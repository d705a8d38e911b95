// Requests to the server that the page came from.

import { t } from "./text";

/** What the server says went wrong, as RFC 9457 has it. */
export interface Problem {
  title: string;
  detail: string;
  status: number;
  hint?: string;
  position?: { line: number; column: number };
}

/** A request that was answered with a problem. */
export class Refusal extends Error {
  override readonly name = "Refusal";

  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

async function problemOf(response: Response): Promise<Problem> {
  const plain = { title: response.statusText, detail: `HTTP ${response.status}`, status: response.status };
  if (!response.headers.get("content-type")?.includes("json")) return plain;
  const said = (await response.json()) as Partial<Problem>;
  return { ...plain, ...said };
}

/** Asks the server, as the visitor's session; throws a refusal where the answer is one. */
export async function ask(address: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  // Pages of other sites cannot set this header, which is how the server knows its own.
  headers.set("X-Hambar", "1");
  let response: Response;
  try {
    response = await fetch(address, { ...init, headers, credentials: "same-origin" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refusal({ title: t("failed"), detail: t("offline"), status: 0 });
  }
  if (!response.ok) throw new Refusal(await problemOf(response));
  return response;
}

/** Asks for JSON. */
export async function json<T>(address: string, signal?: AbortSignal): Promise<T> {
  const response = await ask(address, { headers: { accept: "application/json" }, ...(signal ? { signal } : {}) });
  return (await response.json()) as T;
}

/** Sends JSON. */
export function send(method: "POST" | "DELETE", address: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const content = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  return ask(address, { method, ...content, ...(signal ? { signal } : {}) });
}

/** Says in one sentence what went wrong. */
export function reason(error: unknown): string {
  if (error instanceof Refusal) {
    const { detail, hint } = error.problem;
    return hint ? `${detail} (${hint})` : detail;
  }
  return error instanceof Error ? error.message : String(error);
}
