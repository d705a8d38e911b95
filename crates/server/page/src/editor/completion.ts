// Completion of tables after FROM and JOIN, and of the columns of the tables that the statement names.

import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { type CatalogueTable, quoted } from "./catalogue";

const NAME = /[\w".]*$/;
const AFTER_TABLE_WORD = /\b(?:from|join|into|table|describe)\s+[\w".]*$/i;
const TABLE_USES = /\b(?:from|join)\s+("?\w+"?\."?\w+"?)(?:\s+(?:for\s+\w+\s+as\s+of\s+'[^']*'\s*|version\s+as\s+of\s+\d+\s*)?(?:as\s+)?("?\w+"?))?/gi;
// Words that may follow a table and are no name for it.
const NOT_ALIASES = new Set(["where", "join", "left", "right", "inner", "full", "cross", "on", "group", "order", "limit", "union", "for", "version", "using", "having"]);

interface Use {
  table: CatalogueTable;
  alias: string;
}

/** Makes the source of completions. */
export function completions(tables: readonly CatalogueTable[]): (context: CompletionContext) => CompletionResult | null {
  const byName = new Map(tables.map((table) => [table.table.toLowerCase(), table]));
  const names = tables.map(tableCompletion);
  return (context) => {
    const before = context.state.sliceDoc(Math.max(0, context.pos - 2_000), context.pos);
    const word = NAME.exec(before)?.[0] ?? "";
    if (word === "" && !context.explicit && !AFTER_TABLE_WORD.test(before)) return null;
    const uses = usesIn(context.state.doc.toString(), byName);
    if (AFTER_TABLE_WORD.test(before)) return { from: context.pos - word.length, options: names, validFor: /^[\w".]*$/ };
    const dot = word.lastIndexOf(".");
    if (dot >= 0) {
      const owner = word.slice(0, dot).replaceAll('"', "").toLowerCase();
      const found = uses.filter((use) => use.alias === owner || use.table.table.toLowerCase() === owner);
      return { from: context.pos - (word.length - dot - 1), options: found.flatMap(({ table }) => columnsOf(table)), validFor: /^\w*$/ };
    }
    const columns = (uses.length > 0 ? uses.map((use) => use.table) : []).flatMap(columnsOf);
    return { from: context.pos - word.length, options: [...columns, ...names], validFor: /^\w*$/ };
  };
}

function usesIn(text: string, byName: Map<string, CatalogueTable>): Use[] {
  const uses: Use[] = [];
  for (const [, name, alias] of text.matchAll(TABLE_USES)) {
    const plain = (name ?? "").replaceAll('"', "").toLowerCase();
    const table = byName.get(plain);
    if (!table) continue;
    const short = (alias ?? "").replaceAll('"', "").toLowerCase();
    uses.push({ table, alias: short && !NOT_ALIASES.has(short) ? short : (plain.split(".")[1] ?? plain) });
  }
  return uses;
}

function tableCompletion(table: CatalogueTable): Completion {
  return { label: table.table, apply: quoted(table.table), type: "class", ...(table.title ? { detail: table.title.slice(0, 60) } : {}) };
}

function columnsOf(table: CatalogueTable): Completion[] {
  return table.columns.map((column) => ({
    label: column.name,
    apply: quoted(column.name),
    type: "property",
    detail: column.type,
    boost: column.name.startsWith("_") ? 0 : 2,
    ...(column.description ? { info: column.description } : {}),
  }));
}
