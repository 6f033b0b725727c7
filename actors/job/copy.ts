/**
 * Files to streams and streams to files, piece by piece: at most one piece is in memory, and a file received has its
 * name only when all of it is there.
 *
 * @module
 */
import { Effect } from "effect";
import { type StreamChunk, type StreamHandle, TransportError } from "../../transport/port.ts";
import type { JobLimits } from "./limits.ts";
import type { ReadableFile, WorkDirectory } from "./paths.ts";
import type { PathError, WorkFileFailed } from "./path_refused.ts";

/** Bytes read from a file and handed to a stream at once. */
const pieceBytes = 64 * 1024;

type CopyLimits = Pick<JobLimits, "fileBytesMax" | "idleMs">;

/**
 * Saves a stream as a file, whole or not at all. A raw stream has no length: it is whole only where the sender's
 * half-close was seen. Ends this side of the stream when the file stands, resets it otherwise.
 *
 * @returns The file's size in bytes.
 */
export function saveStream(
  stream: StreamHandle,
  directory: WorkDirectory,
  path: string,
  limits: CopyLimits,
): Effect.Effect<number, PathError | TransportError> {
  const save = Effect.scoped(Effect.gen(function* () {
    const file = yield* directory.create(path);
    let sizeBytes = 0;
    for (;;) {
      const chunk: StreamChunk = yield* withinIdle(stream.read, limits, "read");
      if (chunk.type === "end") {
        if (chunk.outcome === "whole") break;
        return yield* Effect.fail(new TransportError({ code: "stream-reset", detail: "the stream broke off" }));
      }
      sizeBytes += chunk.bytes.length;
      if (sizeBytes > limits.fileBytesMax) {
        return yield* Effect.fail(
          new TransportError({ code: "too-large", detail: `more than ${limits.fileBytesMax} bytes` }),
        );
      }
      yield* file.write(chunk.bytes);
    }
    yield* file.commit;
    return sizeBytes;
  }));
  return save.pipe(
    Effect.tap(() => Effect.ignore(stream.end)),
    Effect.onError(() => stream.abort("not saved")),
  );
}

/**
 * Writes a file to a stream, half-closes, and waits until the other side is done with the stream; one that never says
 * so is let go after `idleMs`. Resets the stream when anything fails.
 */
export function sendFile(
  file: ReadableFile,
  stream: StreamHandle,
  limits: CopyLimits,
): Effect.Effect<void, TransportError | WorkFileFailed> {
  return Effect.gen(function* () {
    const piece = new Uint8Array(pieceBytes);
    for (let position = 0;;) {
      const count = yield* file.read(piece, position);
      if (count === 0) break;
      position += count;
      // A copy: the stream may keep what it was given until it is drained.
      yield* withinIdle(stream.write(piece.slice(0, count)), limits, "written");
    }
    yield* withinIdle(stream.end, limits, "written");
    // Resetting at once could take back what is still under way: the receiver ends the stream.
    yield* Effect.ignore(withinIdle(untilEnd(stream), limits, "read"));
    yield* stream.abort("done");
  }).pipe(Effect.onError(() => stream.abort("not sent")));
}

function untilEnd(stream: StreamHandle): Effect.Effect<void, TransportError> {
  return Effect.gen(function* () {
    while ((yield* stream.read).type !== "end");
  });
}

function withinIdle<A, E>(
  effect: Effect.Effect<A, E>,
  limits: CopyLimits,
  done: string,
): Effect.Effect<A, E | TransportError> {
  return Effect.timeoutOrElse(effect, {
    duration: limits.idleMs,
    orElse: () =>
      Effect.fail(new TransportError({ code: "timed-out", detail: `nothing ${done} for ${limits.idleMs} ms` })),
  });
}
