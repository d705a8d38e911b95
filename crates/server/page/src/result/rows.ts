// The rows of an answer, as the columns that came. Rows are looked at in place: nothing is made per row, so that a
// million of them cost what their Arrow bytes cost.

import { DataType, TimeUnit, type RecordBatch, type Schema, type Vector } from "apache-arrow";

/** What can be done with a column: numbers and times have a place on an axis, texts tell things apart. */
export type Kind = "number" | "time" | "text";

/** A column of an answer. */
export interface Column {
  name: string;
  /** The name of its type. */
  type: string;
  kind: Kind;
}

/** The name of a type as pipeline files and the catalogue write it; other types have Arrow's. */
function nameOf(type: DataType): string {
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type) || DataType.isUtf8View(type)) return "string";
  if (DataType.isDate(type)) return "date";
  if (DataType.isTimestamp(type)) return "timestamp";
  if (DataType.isDecimal(type)) return `decimal(${type.precision}, ${type.scale})`;
  return String(type).toLowerCase();
}

/** Whom to name for an answer. */
export interface Source {
  table: string;
  version: number;
  citation?: string;
  licence?: string;
  landing_page?: string;
}

function kindOf(type: DataType): Kind {
  if (DataType.isInt(type) || DataType.isFloat(type) || DataType.isDecimal(type)) return "number";
  if (DataType.isDate(type) || DataType.isTimestamp(type)) return "time";
  return "text";
}

/** The rows of one answer. Grows while the answer comes. */
export class Rows {
  readonly columns: readonly Column[];
  readonly sources: readonly Source[];
  private readonly types: readonly DataType[];
  private readonly batches: Vector[][] = [];
  // The number of rows before each batch.
  private readonly starts: number[] = [];
  private count = 0;
  private held = 0;
  // Rows are mostly asked for side by side.
  private recent = 0;

  constructor(schema: Schema) {
    this.types = schema.fields.map((field) => field.type as DataType);
    this.columns = schema.fields.map((field) => ({
      name: field.name,
      type: nameOf(field.type as DataType),
      kind: kindOf(field.type as DataType),
    }));
    this.sources = parseSources(schema.metadata.get("hambar.sources"));
  }

  /** The number of rows. */
  get length(): number {
    return this.count;
  }

  /** Bytes that the rows take. */
  get bytes(): number {
    return this.held;
  }

  /** Takes more rows. */
  append(batch: RecordBatch): void {
    if (batch.numRows === 0) return;
    this.batches.push(this.columns.map((_, index) => batch.getChildAt(index) as Vector));
    this.starts.push(this.count);
    this.count += batch.numRows;
    this.held += batch.data.byteLength;
  }

  private raw(row: number, column: number): unknown {
    if (row < 0 || row >= this.count) return null;
    let found = this.recent;
    const isRecent = (this.starts[found] ?? Infinity) <= row && row < (this.starts[found + 1] ?? this.count);
    if (!isRecent) {
      let low = 0;
      let high = this.starts.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if ((this.starts[middle] ?? 0) <= row) low = middle;
        else high = middle - 1;
      }
      found = low;
      this.recent = low;
    }
    return this.batches[found]?.[column]?.get(row - (this.starts[found] ?? 0)) ?? null;
  }

  /** Returns a cell as text; null where there is no value. */
  text(row: number, column: number): string | null {
    const value = this.raw(row, column);
    const type = this.types[column];
    return value === null || type === undefined ? null : textOf(value, type);
  }

  /** Returns a cell as a number: times in milliseconds since 1970; null where there is none. */
  number(row: number, column: number): number | null {
    const value = this.raw(row, column);
    const type = this.types[column];
    if (value === null || type === undefined) return null;
    const number = DataType.isDecimal(type) ? Number(textOf(value, type)) : Number(value);
    return Number.isFinite(number) ? number : null;
  }

  /** Returns the place of a column, or -1. */
  column(name: string | null | undefined): number {
    return this.columns.findIndex((column) => column.name === name);
  }
}

function parseSources(text: string | undefined): Source[] {
  if (!text) return [];
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? (parsed as Source[]) : [];
  } catch {
    return [];
  }
}

function textOf(value: unknown, type: DataType): string {
  if (typeof value === "string") return value;
  if (DataType.isDecimal(type)) return decimal(value as Uint32Array, type.scale);
  if (DataType.isDate(type)) return instant(Number(value)).slice(0, 10);
  if (DataType.isTimestamp(type)) return timestamp(value, type.unit, type.timezone ?? null);
  if (DataType.isFloat(type)) return Object.is(value, -0) ? "-0" : String(value);
  if (value instanceof Uint8Array) return Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (typeof value === "object" && value !== null) return JSON.stringify(value, plain) ?? String(value);
  return String(value);
}

function plain(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number>, String);
  return value;
}

// A number of milliseconds that no calendar reaches stays a number.
function instant(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? String(milliseconds) : date.toISOString();
}

function timestamp(value: unknown, unit: TimeUnit, zone: string | null): string {
  const milliseconds = Number(value);
  const text = instant(milliseconds).replace("T", " ");
  const whole = Math.floor(milliseconds);
  const micros = unit === TimeUnit.MICROSECOND || unit === TimeUnit.NANOSECOND ? Math.round((milliseconds - whole) * 1000) : 0;
  const fine = micros > 0 && micros < 1000 ? text.replace("Z", `${String(micros).padStart(3, "0")}Z`) : text;
  const short = fine.replace(/\.0+Z$/, "Z");
  return zone === null ? short.replace("Z", "") : short;
}

/** Writes the integer in `words`, the lowest first and signed, with `scale` digits after the point. */
export function decimal(words: Uint32Array, scale: number): string {
  let value = 0n;
  for (let index = words.length - 1; index >= 0; index -= 1) value = (value << 32n) | BigInt(words[index] ?? 0);
  const signed = BigInt.asIntN(words.length * 32, value);
  const digits = (signed < 0n ? -signed : signed).toString();
  const sign = signed < 0n ? "-" : "";
  if (scale <= 0) return sign + digits + "0".repeat(signed === 0n ? 0 : -scale);
  const padded = digits.padStart(scale + 1, "0");
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
}
