/**
 * Requests that enough persons approved and that ended without being executed, in the register.
 *
 * What an operator was promised did not happen: each is reported once, also after the CA was stopped in between, and shown for a while.
 *
 * @module
 */
import type { RegisterRows } from "./register.ts";

/** How long one is shown, in milliseconds: over a weekend too. */
export const lapsedShownMs = 7 * 24 * 60 * 60_000;

/** A request that lapsed although enough persons had approved it. */
export interface LapsedRow {
  readonly id: string;
  readonly operation: string;
  /** When it lapsed, in milliseconds since 1970. */
  readonly at: number;
  readonly reason: string;
}

/** Beginning of the name of the fact that has a request's end: time and reason. The fact is there as long as the request is kept. */
export const lapsedPrefix = "approved_lapsed:";
const unreportedPrefix = "unreported_lapse:";

/** Enters one; it is reported by the next {@linkcode unreportedLapsed}. */
export function enterLapsed(
  rows: RegisterRows,
  { id, reason }: Pick<LapsedRow, "id" | "reason">,
  at: Date,
): void {
  const sql = "INSERT OR REPLACE INTO facts VALUES (?, ?)";
  rows.change(sql, `${lapsedPrefix}${id}`, `${+at} ${reason}`);
  rows.change(sql, `${unreportedPrefix}${id}`, "");
}

/** Those that lapsed after a time, the newest first. */
export function lapsedSince(rows: RegisterRows, since: Date): readonly LapsedRow[] {
  return lapsedRows(rows, lapsedPrefix).filter(({ at }) => at > +since).toSorted((a, b) => b.at - a.at);
}

/** Those that were not reported yet, the oldest first. */
export function unreportedLapsed(rows: RegisterRows): readonly LapsedRow[] {
  return lapsedRows(rows, unreportedPrefix).toSorted((a, b) => a.at - b.at);
}

/** It was reported. */
export function endUnreported(rows: RegisterRows, id: string): void {
  rows.change("DELETE FROM facts WHERE name = ?", `${unreportedPrefix}${id}`);
}

/** Those that have a fact with a prefix. */
function lapsedRows(rows: RegisterRows, prefix: string): readonly LapsedRow[] {
  const sql = `
SELECT r.id, r.operation, l.value FROM facts f
JOIN approval_requests r ON r.id = substr(f.name, ?) JOIN facts l ON l.name = '${lapsedPrefix}' || r.id
WHERE f.name > ? AND f.name < ?`;
  const found = rows.all<{ readonly id: string; readonly operation: string; readonly value: string }>(
    sql,
    ...[prefix.length + 1, prefix, prefix.replace(":", ";")],
  );
  return found.map(({ id, operation, value }) => {
    const space = value.indexOf(" ");
    return { id, operation, at: Number(value.slice(0, space)), reason: value.slice(space + 1) };
  });
}
