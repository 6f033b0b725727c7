/**
 * Bytes that arrive in pieces, held in one array. Many small pieces cost no more memory than the bytes themselves: an array of
 * pieces of one byte each would take a hundred times their size, and each piece could keep a whole socket buffer alive.
 *
 * @module
 */

/** A piece of so many bytes is copied. Asking for the buffer of a small array costs more: V8 has to create it. */
const copiedMaxBytes = 1_024;
/** A larger piece is copied where the buffer that it is a part of exceeds it by this factor. */
const sharedBufferFactor = 2;
const none = new Uint8Array();

/** A queue of bytes. It does not bound itself: its owner looks at `sizeBytes`. */
export class GrowingBytes {
  #held: Uint8Array = none;
  /** Where the queue begins in `#held`. */
  #start = 0;
  #sizeBytes = 0;

  /** How many bytes are held. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Adds a piece at the end. The piece belongs to the queue from here on, which reads it and never writes into it. */
  append(piece: Uint8Array): void {
    if (this.#sizeBytes === 0) {
      this.#held = isCopied(piece) ? new Uint8Array(piece) : piece;
      this.#start = 0;
    } else {
      const end = this.#start + this.#sizeBytes;
      if (end + piece.byteLength > this.#held.byteLength) this.#move(2 * this.#sizeBytes + piece.byteLength);
      this.#held.set(piece, this.#start + this.#sizeBytes);
    }
    this.#sizeBytes += piece.byteLength;
  }

  /** Moves what is held to the beginning of an array of its own. */
  #move(capacityBytes: number): void {
    const moved = new Uint8Array(capacityBytes);
    moved.set(this.view());
    this.#held = moved;
    this.#start = 0;
  }

  /** The bytes that are held, as a view: valid until the next call. */
  view(): Uint8Array {
    const isAll = this.#sizeBytes === this.#held.byteLength;
    return isAll ? this.#held : this.#held.subarray(this.#start, this.#start + this.#sizeBytes);
  }

  /** All bytes; they belong to the caller. The queue is empty after it. */
  take(): Uint8Array {
    const taken = this.view();
    this.clear();
    return taken;
  }

  /** Removes bytes from the beginning. */
  drop(count: number): void {
    this.#start += count;
    this.#sizeBytes -= count;
    if (this.#sizeBytes <= 0) return this.clear();
    // Once more was dropped than is left, the rest moves: it costs less than what was dropped did, and lets that go.
    if (this.#start > this.#sizeBytes) this.#move(this.#sizeBytes);
  }

  /** Removes everything. */
  clear(): void {
    this.#held = none;
    this.#start = 0;
    this.#sizeBytes = 0;
  }
}

/** Whether a piece is copied where it is held: a view would keep much more memory in use than the piece has bytes. */
export function isCopied(piece: Uint8Array): boolean {
  const { byteLength } = piece;
  return byteLength <= copiedMaxBytes || piece.buffer.byteLength > sharedBufferFactor * byteLength;
}
