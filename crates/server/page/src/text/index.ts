// Texts in the language of the page, and numbers and dates as it writes them.

import { bg } from "./bg";
import { en, type TextName } from "./en";

/** The language of the page. */
export const language: "en" | "bg" = document.documentElement.lang.toLowerCase().startsWith("bg") ? "bg" : "en";

const texts: Record<TextName, string> = language === "bg" ? bg : en;
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 3 });
const precise = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });

/** Returns a text, with what stands in braces filled in. */
export function t(name: TextName, values: Record<string, string | number> = {}): string {
  return texts[name].replace(/\{(\w+)\}/g, (whole, key: string) => {
    const value = values[key];
    if (value === undefined) return whole;
    return typeof value === "number" ? numbers.format(value) : value;
  });
}

/** Writes a number with six significant digits. */
export function number(value: number): string {
  return precise.format(value);
}

/** Writes a count, with every digit. */
export function count(value: number): string {
  return numbers.format(value);
}

/** Writes a count of rows. */
export function rowCount(rows: number): string {
  return t(rows === 1 ? "rows_one" : "rows_many", { rows });
}

/** Writes a count of bytes. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: value < 10 && unit > 0 ? 1 : 0 }).format(value)} ${units[unit]}`;
}

/** Writes an instant as the server's pages do: ISO 8601, in UTC. */
export function instant(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? String(milliseconds) : date.toISOString().slice(0, 19).replace("T", " ");
}

export type { TextName };
