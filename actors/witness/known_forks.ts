/**
 * Forks of audit logs that a witness knows, as operators see them.
 *
 * @module
 */
import type { ForkProblem, HeldLog } from "./held_head.ts";

/** Forks that are shown, the newest first. */
export const knownForksMax = 100;

/** A fork: a log with two signed states that no honest log has. Times are RFC 3339. */
export interface KnownFork {
  readonly origin: string;
  readonly problem: ForkProblem;
  readonly at: string;
  /** Certificate name and PeerID of the member that sent the second state. */
  readonly from: string;
  /** The signed checkpoint that the witness held: origin, size and root, each on its line. */
  readonly held: string;
  /** The signed checkpoint that contradicts it. */
  readonly other: string;
  /** The witness's file with both. */
  readonly file: string;
}

/** The forks among the logs that a witness holds. */
export function knownForks(logs: Iterable<HeldLog>, fileOf: (origin: string) => string): readonly KnownFork[] {
  return [...logs].flatMap(({ head: { origin }, fork }) =>
    fork === undefined ? [] : [{
      origin,
      problem: fork.problem,
      at: new Date(fork.at).toISOString(),
      from: fork.from,
      held: fork.held.note,
      other: fork.other.note,
      file: fileOf(origin),
    }]
  ).toSorted((a, b) => b.at.localeCompare(a.at) || a.origin.localeCompare(b.origin)).slice(0, knownForksMax);
}
