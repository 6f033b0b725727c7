/**
 * Which requests that do not decode are told. A member that sends nothing else must not fill the log: one of each member and
 * protocol is told in a minute, with how many were not.
 *
 * @module
 */
import type { PeerText } from "../port.ts";

/** At most one is told of each member and protocol in this time, in milliseconds. */
export const malformedToldEachMs = 60_000;
/** Members and protocols that are told apart; beyond that, the one that was told first is forgotten. */
export const malformedRowsMax = 1_024;

/** What was told of one member over one protocol. */
interface Row {
  readonly at: number;
  untold: number;
}

/** Counts them, and says which are told. */
export class MalformedRequests {
  readonly #rows = new Map<string, Row>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Notes one.
   *
   * @returns How many came untold since the last that was told; undefined where this one is not to be told.
   */
  note(peer: PeerText, protocol: string): number | undefined {
    const key = `${peer} ${protocol}`;
    const known = this.#rows.get(key);
    const now = this.#now();
    if (known !== undefined && now >= known.at && now < known.at + malformedToldEachMs) {
      known.untold += 1;
      return undefined;
    }
    this.#rows.delete(key);
    this.#rows.set(key, { at: now, untold: 0 });
    const oldest = this.#rows.size > malformedRowsMax ? this.#rows.keys().next().value : undefined;
    if (oldest !== undefined) this.#rows.delete(oldest);
    return known?.untold ?? 0;
  }
}
