/**
 * Reads what a pushed file belongs to, before anything of the file is taken.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { StreamChunk, StreamHandle, TransportError } from "../../transport/port.ts";
import { decodeFileHead, fileHeadMaxBytes } from "../../transport/protocols/mod.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import { GrowingBytes } from "../../transport/core/growing_bytes.ts";
import { type CopyLimits, isFramed, withinIdle } from "./stream_file.ts";

/** A stream and the label of its file; undefined for a file without one. */
export interface LabelledStream {
  readonly stream: StreamHandle;
  readonly label: PushLabel | undefined;
}

/** A stream that begins again with what was read of it, and its head; undefined where that is malformed or does not come. */
export interface PeekedStream<Head> {
  readonly stream: StreamHandle;
  readonly head: Head | undefined;
}

/**
 * Reads a stream's head. The stream that it gives begins with the head again, so that it is read like any other: one whose head is
 * malformed breaks when it is read, which its receiver must hear of.
 *
 * @param decode The head of these bytes; undefined where they are too few.
 * @param bytesMax A head is not longer than this.
 * @param idleMs All of it comes within this.
 */
export function peekHead<Head>(
  stream: StreamHandle,
  decode: (held: Uint8Array) => Result.Result<Head | undefined, unknown>,
  { bytesMax, ...limits }: Pick<CopyLimits, "idleMs"> & { readonly bytesMax: number },
): Effect.Effect<PeekedStream<Head>, TransportError> {
  const peeked = Effect.gen(function* () {
    const held = new GrowingBytes();
    const peekedAt = (head: Head | undefined, ...ends: StreamChunk[]) => {
      const bytes = held.view();
      const chunks: StreamChunk[] = bytes.length === 0 ? ends : [{ type: "bytes", bytes }, ...ends];
      return { stream: replayed(stream, chunks), head };
    };
    for (;;) {
      const chunk = yield* stream.read;
      if (chunk.type === "end") return peekedAt(undefined, chunk);
      held.append(chunk.bytes);
      const read = decode(held.view());
      if (Result.isFailure(read)) return peekedAt(undefined);
      if (read.success !== undefined) return peekedAt(read.success);
      if (held.sizeBytes > bytesMax) return peekedAt(undefined);
    }
  });
  return withinIdle(peeked, limits, "read");
}

/** Reads what a pushed file belongs to. A stream of the existing network has no head and is given back as it is. */
export function readLabel(
  stream: StreamHandle,
  limits: Pick<CopyLimits, "idleMs">,
): Effect.Effect<LabelledStream, TransportError> {
  if (!isFramed(stream.protocol)) return Effect.succeed({ stream, label: undefined });
  const peeked = peekHead(stream, decodeFileHead, { ...limits, bytesMax: 2 * fileHeadMaxBytes });
  return Effect.map(peeked, ({ stream: again, head: file }) => ({
    stream: again,
    label: file !== undefined && "size" in file.head ? file.head.label : undefined,
  }));
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
