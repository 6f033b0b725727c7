/**
 * Copies files to streams and streams to files, piece by piece. At most one piece is in memory, and a received file gets its
 * name only when it is complete.
 *
 * @module
 */
import { Effect } from "effect";
import { type StreamHandle, TransportError } from "../../transport/port.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import { GatheredWriter } from "../files/gathered_writer.ts";
import { type CopyLimits, readStreamFile, withinIdle, writeStreamFile } from "../files/stream_file.ts";
import type { ReadableFile, WorkDirectory } from "../files/contained_files.ts";
import type { PathError, WorkFileFailed } from "../files/path_refused.ts";

/**
 * Saves a stream as a file, whole or not at all. Requires the sender's half-close and, where the stream carries them, the
 * right length and SHA-256. Ends this side of the stream when the file is saved, resets it otherwise.
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
    const writer = new GatheredWriter(file);
    const sizeBytes = yield* readStreamFile(stream, (piece) => writer.write(piece), limits);
    yield* writer.flush;
    yield* file.commit;
    return sizeBytes;
  }));
  return save.pipe(
    Effect.tap(() => Effect.ignore(stream.end)),
    Effect.onError(() => stream.abort("not saved")),
  );
}

/**
 * Writes a file to a stream, half-closes, and waits until the other side is done with the stream, for at most `idleMs`.
 * Resets the stream when anything fails.
 *
 * @param label What the file belongs to.
 * @returns How the other side ended the stream: a receiver of ours ends it when it has saved the file, and resets it otherwise.
 * `unanswered` where it did neither in time.
 */
export function sendFile(
  file: ReadableFile,
  stream: StreamHandle,
  limits: CopyLimits,
  label?: PushLabel,
): Effect.Effect<"whole" | "broken" | "unanswered", TransportError | WorkFileFailed> {
  return Effect.gen(function* () {
    yield* writeStreamFile(stream, file, limits, label);
    // A reset now could discard bytes that are still in transit: the receiver ends the stream.
    const ended = withinIdle(untilEnd(stream), limits, "read");
    const outcome = yield* Effect.orElseSucceed(ended, () => "unanswered" as const);
    yield* stream.abort("done");
    return outcome;
  }).pipe(Effect.onError(() => stream.abort("not sent")));
}

/**
 * The same, and fails where the receiver does not acknowledge the file by ending its side of the stream.
 *
 * @param limits `acknowledgeMs`: how long the receiver may take for it after the last byte, in milliseconds.
 */
export function handOver(
  file: ReadableFile,
  stream: StreamHandle,
  limits: CopyLimits & { readonly acknowledgeMs: number },
  label?: PushLabel,
): Effect.Effect<void, TransportError | WorkFileFailed> {
  return Effect.gen(function* () {
    yield* writeStreamFile(stream, file, limits, label);
    const outcome = yield* withinIdle(untilEnd(stream), { idleMs: limits.acknowledgeMs }, "acknowledged");
    if (outcome !== "whole") return yield* Effect.fail(notKept());
    yield* stream.abort("done");
  }).pipe(Effect.onError(() => stream.abort("not sent")));
}

/** A receiver of ours reset the stream of a file. */
export const notKept = () => new TransportError({ code: "stream-reset", detail: "its receiver did not keep it" });

/** A file was not sent before its job ended. */
export const jobEnded = () => new TransportError({ code: "cancelled", detail: "its job ended first" });

function untilEnd(stream: StreamHandle) {
  return Effect.gen(function* () {
    for (;;) {
      const chunk = yield* stream.read;
      if (chunk.type === "end") return chunk.outcome;
    }
  });
}
