/**
 * One pull: reads the header, writes the slice, ends the stream.
 *
 * @module
 */
import { Effect, Option, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import type { StreamHandle, TransportError } from "../../transport/port.ts";
import { decodePullHeader, pullHeaderMaxBytes } from "../../transport/protocols/mod.ts";
import type { Dataset } from "./slices_directory.ts";

/** A puller writes its whole header within this, in milliseconds (`wire.md`: an exchange's 10 s). */
export const headerTimeoutMs = 10_000;
/** A puller that takes nothing for this long is given up, in milliseconds. */
export const idleTimeoutMs = 60_000;
/** Read and written at a time, in bytes: what yamux's window lets through at once. */
export const pieceBytes = 65_536;

/** What became of a pull. */
export type PullOutcome =
  | { readonly type: "served"; readonly index: number; readonly sizeBytes: number }
  /** Another data set, or an index that there is no slice of: the stream ended without a byte. */
  | { readonly type: "unknown"; readonly dataset: string; readonly index: number }
  /** No header, or one that doesn't parse: the stream was reset. */
  | { readonly type: "malformed"; readonly reason: string }
  | { readonly type: "broken"; readonly reason: string };

/** Serves one pull. Never fails: whatever happens is its outcome, and the stream is over in each. */
export function servePull(
  stream: StreamHandle,
  dataset: Dataset,
): Effect.Effect<PullOutcome, never, FileSystem | Path> {
  return Effect.gen(function* () {
    const header = yield* Effect.timeout(readHeader(stream), headerTimeoutMs);
    if (typeof header === "string") {
      yield* stream.abort(header);
      return { type: "malformed", reason: header } as const;
    }
    const name = header.dataset === dataset.name ? dataset.slices[header.index] : undefined;
    if (name === undefined) {
      yield* stream.end;
      yield* untilPullerEnds(stream);
      return { type: "unknown", ...header } as const;
    }
    const sizeBytes = yield* writeFile(stream, dataset, name);
    yield* stream.end;
    yield* untilPullerEnds(stream);
    return { type: "served", index: header.index, sizeBytes } as const;
  }).pipe(
    Effect.catch((error) => Effect.as(stream.abort("pull failed"), { type: "broken", reason: error.message } as const)),
    Effect.onInterrupt(() => stream.abort("data node stops")),
  );
}

/** The header, or what is wrong with it. */
function readHeader(
  stream: StreamHandle,
): Effect.Effect<{ readonly dataset: string; readonly index: number } | string, TransportError> {
  return Effect.gen(function* () {
    let held = new Uint8Array(0);
    while (true) {
      const decoded = decodePullHeader(held);
      if (Result.isFailure(decoded)) return decoded.failure.message;
      if (decoded.success !== undefined) return decoded.success.header;
      const chunk = yield* stream.read;
      if (chunk.type === "end") return "stream ended inside the header";
      if (held.length + chunk.bytes.length > 2 * pullHeaderMaxBytes) return "header too long";
      const grown = new Uint8Array(held.length + chunk.bytes.length);
      grown.set(held);
      grown.set(chunk.bytes, held.length);
      held = grown;
    }
  });
}

/** Copies a file into the stream, a piece at a time, as fast as the puller takes it. */
function writeFile(stream: StreamHandle, dataset: Dataset, name: string) {
  return Effect.scoped(Effect.gen(function* () {
    const fs = yield* FileSystem;
    const path = yield* Path;
    const file = yield* fs.open(path.join(dataset.directory, name), { flag: "r" });
    let sizeBytes = 0;
    while (true) {
      const piece = yield* file.readAlloc(pieceBytes);
      if (Option.isNone(piece) || piece.value.length === 0) return sizeBytes;
      yield* Effect.timeout(stream.write(piece.value), idleTimeoutMs);
      sizeBytes += piece.value.length;
    }
  }));
}

/**
 * Waits until the puller has ended its side too. Existing pullers leave it open and drop the stream once they have the file;
 * one that does neither is cut off.
 */
function untilPullerEnds(stream: StreamHandle): Effect.Effect<void> {
  const ended: Effect.Effect<void, TransportError> = Effect.flatMap(
    stream.read,
    (chunk) => chunk.type === "end" ? Effect.void : ended,
  );
  return ended.pipe(
    Effect.timeout(idleTimeoutMs),
    Effect.catch(() => stream.abort("puller left its side open")),
  );
}
