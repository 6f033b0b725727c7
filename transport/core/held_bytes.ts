/**
 * What the streams of each peer hold in memory together, over all its connections: what arrived on streams that the core reads and
 * was not handed over yet.
 *
 * @module
 */
import type { PeerText } from "../port.ts";

/**
 * What may be held for one peer, in bytes: one stream may hold a megabyte, and a peer may open more than a hundred. Beyond it the
 * newest of its streams is reset.
 */
export const heldBytesMax = 33_554_432;
/** From here on a stream that may wait is paused at once, in bytes. */
export const heldBytesHigh = heldBytesMax / 2;

/** What all streams of one peer hold. */
interface Purse {
  /** Those that hold something, the oldest first. */
  readonly holders: Set<HeldBytes>;
  bytes: number;
}

/** What one stream holds. */
export class HeldBytes {
  readonly #purses: Map<PeerText, Purse>;
  readonly #peer: PeerText;
  readonly #reset: (detail: string) => void;
  #bytes = 0;

  /** Made by {@linkcode ReadBudgets}. */
  constructor(purses: Map<PeerText, Purse>, peer: PeerText, reset: (detail: string) => void) {
    this.#purses = purses;
    this.#peer = peer;
    this.#reset = reset;
  }

  /** Whether the peer's streams hold so much that this one had better wait. */
  get isHigh(): boolean {
    return (this.#purses.get(this.#peer)?.bytes ?? 0) >= heldBytesHigh;
  }

  /**
   * The stream holds so much now. Where its peer's streams hold too much together, the newest of them is reset, until they do not.
   *
   * @returns Whether this stream may go on; false: it was reset.
   */
  set(bytes: number): boolean {
    const purse = this.#purse();
    purse.bytes += bytes - this.#bytes;
    this.#bytes = bytes;
    if (bytes > 0) purse.holders.add(this);
    else this.#leave(purse);
    return purse.bytes <= heldBytesMax || this.#makeRoom(purse);
  }

  #purse(): Purse {
    const known = this.#purses.get(this.#peer);
    if (known !== undefined) return known;
    const purse = { holders: new Set<HeldBytes>(), bytes: 0 };
    this.#purses.set(this.#peer, purse);
    return purse;
  }

  #leave(purse: Purse): void {
    purse.holders.delete(this);
    if (purse.holders.size === 0) this.#purses.delete(this.#peer);
  }

  #makeRoom(purse: Purse): boolean {
    const newestFirst = [...purse.holders].reverse();
    for (const holder of newestFirst) {
      if (purse.bytes <= heldBytesMax) break;
      holder.#drop(purse);
      holder.#reset("its peer's streams hold too many bytes");
      if (holder === this) return false;
    }
    return true;
  }

  #drop(purse: Purse): void {
    purse.bytes -= this.#bytes;
    this.#bytes = 0;
    this.#leave(purse);
  }
}

/** What all peers' streams hold. */
export class ReadBudgets {
  /** A peer whose streams hold nothing has no entry. */
  readonly #purses = new Map<PeerText, Purse>();

  /**
   * What a new stream of a peer holds.
   *
   * @param reset Resets it: its peer's streams hold too much. It holds nothing then.
   */
  of(peer: PeerText, reset: (detail: string) => void): HeldBytes {
    return new HeldBytes(this.#purses, peer, reset);
  }

  /** What is held, in bytes, for the peers that there are. */
  get counts(): { readonly peers: number; readonly bytes: number } {
    let bytes = 0;
    for (const purse of this.#purses.values()) bytes += purse.bytes;
    return { peers: this.#purses.size, bytes };
  }
}
