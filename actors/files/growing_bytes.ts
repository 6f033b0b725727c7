/**
 * The beginning of a stream, until there is enough of it to be read.
 *
 * @module
 */

/** Collects what arrives. The room doubles: a peer that sends single bytes does not have all before them copied for each. */
export class GrowingBytes {
  #room = new Uint8Array(0);
  #sizeBytes = 0;

  /** Everything so far. */
  get all(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.#sizeBytes);
  }

  /** Appends a copy of the bytes. */
  add(bytes: Uint8Array): void {
    const sizeBytes = this.#sizeBytes + bytes.length;
    if (sizeBytes > this.#room.length) {
      const larger = new Uint8Array(Math.max(sizeBytes, 2 * this.#room.length));
      larger.set(this.all);
      this.#room = larger;
    }
    this.#room.set(bytes, this.#sizeBytes);
    this.#sizeBytes = sizeBytes;
  }
}
