/**
 * What messages of gossip may hold while their authors are verified, for each peer that hands them on: authors are names that it
 * can make up, and each of them costs a dial and the memory of its messages.
 *
 * @module
 */
import type { PeerText } from "../port.ts";

/** Authors that one carrier's messages may wait for at once: each is a dial that the carrier causes. */
export const waitingAuthorsMax = 4;
/** Bytes of one carrier's messages that may wait. */
export const waitingBytesMax = 4_194_304;

interface Carrier {
  readonly authors: Map<PeerText, number>;
  bytes: number;
}

/** Counts the messages that wait for the verification of their author. */
export class WaitingMessages {
  /** A carrier without waiting messages has no entry. */
  readonly #carriers = new Map<PeerText, Carrier>();

  /**
   * Takes the place of a message.
   *
   * @returns Gives the place back; undefined where its carrier has no more.
   */
  take(carrier: PeerText, author: PeerText, bytes: number): (() => void) | undefined {
    const row = this.#carriers.get(carrier) ?? { authors: new Map<PeerText, number>(), bytes: 0 };
    const waiting = row.authors.get(author) ?? 0;
    if (row.bytes + bytes > waitingBytesMax) return undefined;
    if (waiting === 0 && row.authors.size >= waitingAuthorsMax) return undefined;
    row.authors.set(author, waiting + 1);
    row.bytes += bytes;
    this.#carriers.set(carrier, row);
    return () => {
      const left = (row.authors.get(author) ?? 1) - 1;
      if (left > 0) row.authors.set(author, left);
      else row.authors.delete(author);
      row.bytes -= bytes;
      if (row.authors.size === 0) this.#carriers.delete(carrier);
    };
  }
}
