/**
 * Which events of a kind are reported. A member that causes nothing else must not fill the log: in a minute one of each member and
 * topic is reported, with the number of those before it that were not.
 *
 * @module
 */

/** At most one is reported of each member and topic in this time, in milliseconds. */
export const reportedEachMs = 60_000;
/** Pairs of member and topic that are counted; beyond that, the pair that was reported longest ago is forgotten. */
export const reportRowsMax = 1_024;

/** What the next line says of those that were not reported. */
export const moreOf = (unreported: number): string =>
  unreported === 0 ? "" : ` (and ${unreported.toLocaleString("en-US")} more since the last such line)`;

/** What was reported of one member and topic. */
interface Row {
  readonly reportedAt: number;
  unreported: number;
}

/** Counts events of a kind, and selects those that are reported. */
export class RareReports {
  readonly #rows = new Map<string, Row>();
  readonly #monotonic: () => number;

  /** @param monotonic Milliseconds since an arbitrary start; never goes back. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /**
   * Counts one.
   *
   * @param who The member that caused it.
   * @param topic What it did.
   * @returns How many were not reported since the last one that was; undefined where this one is not to be reported.
   */
  note(who: string, topic: string): number | undefined {
    const key = `${topic} ${who}`;
    const known = this.#rows.get(key);
    const now = this.#monotonic();
    if (known !== undefined && now < known.reportedAt + reportedEachMs) {
      known.unreported += 1;
      return undefined;
    }
    this.#rows.delete(key);
    this.#rows.set(key, { reportedAt: now, unreported: 0 });
    const oldest = this.#rows.size > reportRowsMax ? this.#rows.keys().next().value : undefined;
    if (oldest !== undefined) this.#rows.delete(oldest);
    return known?.unreported ?? 0;
  }
}
