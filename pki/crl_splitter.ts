/**
 * Splits a file of revocation lists, PEM or DER, read in chunks, into the bytes of each list.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import { decodeDer, tags } from "./der.ts";
import { type BlockListener, PemStream, release } from "./pem_stream.ts";

/** A DER file that is not a sequence of lists. */
export class DerCrlsError extends Data.TaggedError("DerCrlsError")<{ readonly detail: string }> {}

/** The name of a list's content: SHA-256 of its DER, lower-case hexadecimal. */
export const hashOf = (der: Uint8Array): string => createHash("sha256").update(der).digest("hex");

/** Splits chunks of a file into lists. A file that begins like DER is read as concatenated lists. */
export class CrlSplitter {
  readonly #listener: BlockListener;
  readonly #sizeBytes: number | undefined;
  readonly #pem: PemStream;
  #der: Uint8Array | undefined;
  #size = 0;
  #first = true;

  /**
   * @param listener Called for each list. The bytes are a view into a buffer that is used again.
   * @param sizeBytes Size of the file in octets, where it is known.
   */
  constructor(listener: BlockListener, sizeBytes?: number) {
    this.#listener = listener;
    this.#sizeBytes = sizeBytes;
    this.#pem = new PemStream(listener, Math.ceil((sizeBytes ?? 0) / 4) * 3);
  }

  /** Reads the next chunk. @throws {PemError} */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    if (this.#first && chunk[0] === tags.sequence) this.#der = new Uint8Array(this.#sizeBytes ?? 64 * 1024);
    this.#first = false;
    if (this.#der === undefined) this.#pem.push(chunk);
    else this.#collect(this.#der, chunk);
  }

  /** Ends the file. @throws {PemError | DerCrlsError} */
  finish(): void {
    if (this.#der === undefined) this.#pem.finish();
    else this.#split(this.#der.subarray(0, this.#size));
  }

  /** Frees the buffers. */
  release(): void {
    this.#pem.release();
    if (this.#der !== undefined) this.#der = release(this.#der);
  }

  #collect(der: Uint8Array, chunk: Uint8Array): void {
    const size = this.#size + chunk.length;
    if (size > der.length) {
      const grown = new Uint8Array(Math.max(size, der.length * 2));
      grown.set(der.subarray(0, this.#size));
      this.#der = der = grown;
    }
    der.set(chunk, this.#size);
    this.#size = size;
  }

  #split(whole: Uint8Array): void {
    const values = decodeDer(whole, (cursor) => {
      const found: Uint8Array[] = [];
      while (!cursor.done) {
        cursor.read(tags.sequence, "list");
        found.push(cursor.whole);
      }
      return found;
    });
    if (Result.isFailure(values)) throw new DerCrlsError({ detail: values.failure.detail });
    for (const der of values.success) this.#listener({ label: "X509 CRL", der, line: 1 });
  }
}
