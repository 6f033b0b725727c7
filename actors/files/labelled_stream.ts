/**
 * Reads what a pushed file belongs to, before anything of the file is taken.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { StreamChunk, StreamHandle, TransportError } from "../../transport/port.ts";
import { decodeFileHead, fileHeadMaxBytes } from "../../transport/protocols/mod.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import { type CopyLimits, isFramed, withinIdle } from "./stream_file.ts";

/** A stream and the label of its file; undefined for a file without one. */
export interface LabelledStream {
  readonly stream: StreamHandle;
  readonly label: PushLabel | undefined;
}

/**
 * Reads a stream's head. The stream that it gives begins with the head again, so that it is read like any other: one whose head is
 * malformed has no label, and breaks when it is read, which its receiver must hear of. A stream of the existing network has no
 * head and is given back as it is.
 */
export function readLabel(
  stream: StreamHandle,
  limits: Pick<CopyLimits, "idleMs">,
): Effect.Effect<LabelledStream, TransportError> {
  if (!isFramed(stream.protocol)) return Effect.succeed({ stream, label: undefined });
  return Effect.gen(function* () {
    const chunks: StreamChunk[] = [];
    let held = new Uint8Array(0);
    for (;;) {
      const chunk = yield* withinIdle(stream.read, limits, "read");
      chunks.push(chunk);
      const unlabelled = () => ({ stream: replayed(stream, chunks), label: undefined });
      if (chunk.type === "end") return unlabelled();
      held = joined(held, chunk.bytes);
      const read = decodeFileHead(held);
      if (Result.isFailure(read)) return unlabelled();
      if (read.success !== undefined) {
        const { head } = read.success;
        return { stream: replayed(stream, chunks), label: "size" in head ? head.label : undefined };
      }
      if (held.length > 2 * fileHeadMaxBytes) return unlabelled();
    }
  });
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

/** The stream with chunks in front that were read already. */
function replayed(stream: StreamHandle, chunks: StreamChunk[]): StreamHandle {
  return {
    id: stream.id,
    peer: stream.peer,
    protocol: stream.protocol,
    read: Effect.suspend(() => {
      const chunk = chunks.shift();
      return chunk === undefined ? stream.read : Effect.succeed(chunk);
    }),
    write: (bytes) => stream.write(bytes),
    end: stream.end,
    abort: (reason) => stream.abort(reason),
  };
}
