/**
 * What a node's witness is given: the node's own log, and where it keeps the states of others.
 *
 * @module
 */
import type { WitnessedLog } from "../audit/witnessed_log.ts";
import type { HeldLog } from "./held_head.ts";

/** How often each node is asked about its log, in milliseconds. */
export const witnessEveryMs = 600_000;

/** What an earlier run held. */
export interface HeldLogs {
  readonly logs: readonly HeldLog[];
  /** Files that hold no state, where they are now, of logs without another state: nothing is written over them. */
  readonly damaged: readonly string[];
}

/** Keeps what a witness holds. */
export interface HeadStore {
  /** All that is held. Rejects where it cannot be read. */
  readonly read: () => Promise<HeldLogs>;
  /** Keeps the state of a log; it outlasts a crash when this resolves. */
  readonly write: (held: HeldLog) => Promise<void>;
  /** Forgets a log. */
  readonly remove: (origin: string) => Promise<void>;
}

/** What the witness is given. */
export interface WitnessPort {
  /** The node's own log; undefined where it keeps none. */
  readonly log: WitnessedLog | undefined;
  /** Undefined: the node is no witness; it answers witnesses alone. */
  readonly heads: HeadStore | undefined;
  /** How often each node is asked, in milliseconds; {@linkcode witnessEveryMs} where undefined. */
  readonly everyMs?: number | undefined;
}
