/**
 * What the doctor has found about a node's files.
 *
 * @module
 */

/** One check of one file, and what came of it. */
export interface Finding {
  /** In kebab-case, for programs: `key-permissions`, `chain-order`… */
  readonly check: string;
  /** `error`: the node does not start, or its peers refuse it; `warning`: it will, one day. */
  readonly level: "ok" | "warning" | "error";
  readonly file: string | null;
  readonly detail: string;
  /** The command, or what else to do; null where nothing is to be done. */
  readonly mend: string | null;
}

/** Something that is as it should be. */
export function fine(check: string, file: string | null, detail: string): Finding {
  return { check, level: "ok", file, detail, mend: null };
}

/** Something that will go wrong. */
export function doubtful(check: string, file: string | null, detail: string, mend: string): Finding {
  return { check, level: "warning", file, detail, mend };
}

/** Something that is wrong. */
export function wrong(check: string, file: string | null, detail: string, mend: string): Finding {
  return { check, level: "error", file, detail, mend };
}

const dayMs = 24 * 60 * 60 * 1_000;

/** From this long before its end on, a certificate counts as expiring soon, in milliseconds. */
export const soonMs = 30 * dayMs;

/** Whole days from one time to another; negative once it has passed. */
export function daysUntil(end: Date, at: Date): number {
  return Math.floor((end.getTime() - at.getTime()) / dayMs);
}
