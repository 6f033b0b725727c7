/**
 * Which malformed requests are reported. A member that sends nothing else must not fill the log: in a minute one of each member
 * and protocol is reported, with the number of those before it that were not.
 *
 * @module
 */
import type { PeerText } from "../port.ts";

/** At most one is reported of each member and protocol in this time, in milliseconds. */
export const malformedReportedEachMs = 60_000;
/** Pairs of member and protocol that are counted; beyond that, the pair that was reported longest ago is forgotten. */
export const malformedRowsMax = 1_024;

/** What was reported of one member and protocol. */
interface Row {
  readonly reportedAt: number;
  unreported: number;
}

/** Counts malformed requests, and selects those that are reported. */
export class MalformedRequests {
  readonly #rows = new Map<string, Row>();
  readonly #monotonic: () => number;

  /** @param monotonic Milliseconds since an arbitrary start; never goes back. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /**
   * Counts one.
   *
   * @returns How many were not reported since the last one that was; undefined where this one is not to be reported.
   */
  note(peer: PeerText, protocol: string): number | undefined {
    const key = `${peer} ${protocol}`;
    const known = this.#rows.get(key);
    const now = this.#monotonic();
    if (known !== undefined && now < known.reportedAt + malformedReportedEachMs) {
      known.unreported += 1;
      return undefined;
    }
    this.#rows.delete(key);
    this.#rows.set(key, { reportedAt: now, unreported: 0 });
    const oldest = this.#rows.size > malformedRowsMax ? this.#rows.keys().next().value : undefined;
    if (oldest !== undefined) this.#rows.delete(oldest);
    return known?.unreported ?? 0;
  }
}
