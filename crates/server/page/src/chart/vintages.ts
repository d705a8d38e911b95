// From the versions of single values to whole series as they were known at each instant at which something changed.

/** A value between two instants; the last one holds still. */
export interface Version {
  x: string;
  y: number | null;
  from: number;
  to: number | null;
}

/** A series as it was known at an instant. */
export interface Vintage {
  at: number;
  values: Map<string, number>;
}

/** A value that changed. */
export interface Revision {
  x: string;
  was: number | null;
  became: number | null;
  at: number;
}

/** All vintages, the oldest first, and what changed between them. */
export interface Vintages {
  known: Vintage[];
  revisions: Revision[];
}

/** Puts versions together. What the first vintage has is not a revision, nor is a later period that is new. */
export function vintagesOf(versions: readonly Version[]): Vintages {
  const instants = new Set<number>();
  for (const { from, to } of versions) {
    instants.add(from);
    if (to !== null) instants.add(to);
  }
  const known: Vintage[] = [];
  const revisions: Revision[] = [];
  const ever = new Set<string>();
  for (const at of [...instants].sort((a, b) => a - b)) {
    const values = new Map<string, number>();
    for (const { x, y, from, to } of versions) {
      if (from <= at && (to === null || at < to) && y !== null) values.set(x, y);
    }
    const before = known[known.length - 1]?.values;
    if (before) revisions.push(...changes(before, values, ever, at));
    for (const x of values.keys()) ever.add(x);
    known.push({ at, values });
  }
  return { known, revisions };
}

function changes(before: Map<string, number>, after: Map<string, number>, ever: Set<string>, at: number): Revision[] {
  const found: Revision[] = [];
  for (const [x, was] of before) {
    const became = after.get(x) ?? null;
    if (became !== was) found.push({ x, was, became, at });
  }
  for (const [x, became] of after) {
    if (!before.has(x) && ever.has(x)) found.push({ x, was: null, became, at });
  }
  return found.sort((a, b) => (a.x < b.x ? -1 : 1));
}
