/**
 * How often an author's messages of gossip count. Each of them makes every node of a topic hand it on and every worker look at it.
 *
 * @module
 */
import type { PeerText } from "../port.ts";

/** Messages of one author that count, a second; a scheduler asks once a second. */
export const messagesPerSecond = 2;
/** Messages that may come at once after a pause: the network delays some and lets others catch up. */
export const messagesBurst = 4;
/** Authors that are counted; beyond that, the one whose message came longest ago is forgotten. */
export const authorsMax = 4_096;

/** Counts the messages of verified authors: a token bucket each. */
export class AuthorRates {
  /** When an author's bucket is full again, in milliseconds; the author of the newest message last. */
  readonly #fullAt = new Map<PeerText, number>();
  readonly #monotonic: () => number;

  /** @param monotonic Milliseconds since an arbitrary start; never goes back. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** Takes a message of an author; false where there are too many. */
  take(author: PeerText): boolean {
    const now = this.#monotonic();
    const fullAt = Math.max(now, this.#fullAt.get(author) ?? now) + 1_000 / messagesPerSecond;
    if (fullAt - now > messagesBurst * 1_000 / messagesPerSecond) return false;
    this.#fullAt.delete(author);
    this.#fullAt.set(author, fullAt);
    const [oldest] = this.#fullAt.size > authorsMax ? this.#fullAt.keys() : [];
    if (oldest !== undefined) this.#fullAt.delete(oldest);
    return true;
  }
}
