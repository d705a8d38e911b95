// The tables and columns that the visitor may read, for completion and for the list beside the editor.

import { json } from "../api";

/** A column. */
export interface CatalogueColumn {
  name: string;
  type: string;
  description?: string | null;
}

/** A table with its columns. */
export interface CatalogueTable {
  table: string;
  title?: string | null;
  columns: CatalogueColumn[];
}

let asked: Promise<CatalogueTable[]> | undefined;

/** Returns the catalogue; asks for it once a page. */
export function catalogue(address: string): Promise<CatalogueTable[]> {
  asked ??= json<{ tables: CatalogueTable[] }>(address).then((answer) => answer.tables);
  return asked;
}

/** Returns a name as a statement needs it. */
export function quoted(name: string): string {
  return name
    .split(".")
    .map((part) => (/^[a-z_][a-z0-9_]*$/.test(part) ? part : `"${part.replaceAll('"', '""')}"`))
    .join(".");
}
