/**
 * Writes small pieces of a file together.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import type { WritableFile } from "./contained_files.ts";
import type { WorkFileFailed } from "./path_refused.ts";

/** So many bytes are written at once. */
export const gatheredBytes = 256 * 1024;

/**
 * Gathers the pieces of a file, 16 KiB each where TLS delivers them, in one buffer that it uses again: a write for each would cost
 * more than the copy, and a new buffer for each write is collected.
 */
export class GatheredWriter {
  readonly #file: Pick<WritableFile, "write">;
  /** The first piece since the last write, until a second one comes: a file of one piece is written as it is. */
  #single: Uint8Array | undefined;
  #buffer: Uint8Array | undefined;
  #fill = 0;

  constructor(file: Pick<WritableFile, "write">) {
    this.#file = file;
  }

  /** Takes the next piece, and writes what was gathered where it does not fit. Called again only when the call before has ended. */
  write(piece: Uint8Array): Effect.Effect<void, WorkFileFailed> {
    return Effect.suspend(() => {
      if (this.#held + piece.length <= gatheredBytes) return this.#hold(piece);
      return Effect.flatMap(
        this.flush,
        () => piece.length < gatheredBytes ? this.#hold(piece) : this.#file.write(piece),
      );
    });
  }

  /** Writes what was gathered. */
  readonly flush: Effect.Effect<void, WorkFileFailed> = Effect.suspend(() => {
    const held = this.#single ?? this.#buffer?.subarray(0, this.#fill);
    if (held === undefined || this.#held === 0) return Effect.void;
    return Effect.map(this.#file.write(held), () => {
      this.#single = undefined;
      this.#fill = 0;
    });
  });

  get #held(): number {
    return this.#single?.length ?? this.#fill;
  }

  #hold(piece: Uint8Array): Effect.Effect<void> {
    if (this.#held === 0) this.#single = piece;
    else {
      this.#buffer ??= Buffer.allocUnsafeSlow(gatheredBytes);
      const single = this.#single;
      this.#single = undefined;
      for (const each of single === undefined ? [piece] : [single, piece]) {
        this.#buffer.set(each, this.#fill);
        this.#fill += each.length;
      }
    }
    return Effect.void;
  }
}
