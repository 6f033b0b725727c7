/**
 * Bytes that arrive in pieces, held in one array. Many small pieces cost no more memory than the bytes themselves: an array of
 * pieces of one byte each would take a hundred times their size, and each piece could keep a whole socket buffer alive.
 *
 * @module
 */

/** A piece that is a small part of a larger buffer is copied where the buffer exceeds it by this factor. */
const sharedBufferFactor = 2;
const none = new Uint8Array();

/** A queue of bytes. It does not bound itself: its owner looks at `sizeBytes`. */
export class GrowingBytes {
  #held: Uint8Array = none;
  #sizeBytes = 0;

  /** How many bytes are held. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Adds a piece at the end. The piece belongs to the queue from here on. */
  append(piece: Uint8Array): void {
    const sizeBytes = this.#sizeBytes + piece.byteLength;
    if (this.#sizeBytes === 0) {
      this.#held = piece.buffer.byteLength > sharedBufferFactor * piece.byteLength ? new Uint8Array(piece) : piece;
    } else {
      if (sizeBytes > this.#held.byteLength) this.#grow(sizeBytes);
      this.#held.set(piece, this.#sizeBytes);
    }
    this.#sizeBytes = sizeBytes;
  }

  #grow(sizeBytes: number): void {
    const larger = new Uint8Array(Math.max(sizeBytes, 2 * this.#held.byteLength));
    larger.set(this.#held.subarray(0, this.#sizeBytes));
    this.#held = larger;
  }

  /** The bytes that are held, as a view: valid until the next call. */
  view(): Uint8Array {
    return this.#sizeBytes === this.#held.byteLength ? this.#held : this.#held.subarray(0, this.#sizeBytes);
  }

  /** All bytes; they belong to the caller. The queue is empty after it. */
  take(): Uint8Array {
    const taken = this.view();
    this.clear();
    return taken;
  }

  /** Removes bytes from the beginning. */
  drop(count: number): void {
    this.#sizeBytes -= count;
    if (this.#sizeBytes <= 0) return this.clear();
    // A copy: the rest would otherwise keep what was dropped, and a later piece must not be written into a sender's buffer.
    this.#held = new Uint8Array(this.#held.subarray(count, count + this.#sizeBytes));
  }

  /** Removes everything. */
  clear(): void {
    this.#held = none;
    this.#sizeBytes = 0;
  }
}
