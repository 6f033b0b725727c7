/**
 * One pull: reads and checks the header, writes the slice, ends this side of the stream.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import type { JobScope } from "../../pki/refusal.ts";
import type { StreamHandle, TransportError } from "../../transport/port.ts";
import {
  decodeGrantedPullHeader,
  decodePullHeader,
  type GrantedPullHeader,
  pullHeaderMaxBytes,
} from "../../transport/protocols/mod.ts";
import { GrowingBytes } from "../../transport/core/growing_bytes.ts";
import { FileShortened, isFramed, pieceBytes, writeRefusal, writeStreamFile } from "../files/stream_file.ts";
import { type GrantRules, judgePull } from "./may_read.ts";
import type { Dataset } from "./slices_directory.ts";

export { pieceBytes };

/** A puller writes its whole header within this, in milliseconds (`docs/wire.md`, "Protocols": 10 s). */
export const headerTimeoutMs = 10_000;
/** A pull whose puller takes no bytes for this long is given up, in milliseconds. */
export const idleTimeoutMs = 60_000;
const limits = { idleMs: idleTimeoutMs };

/** A slice that is here, and the name of its file. */
interface Slice {
  readonly index: number;
  readonly file: string;
}

/** The outcome of a pull. */
export type PullOutcome =
  | { readonly type: "served"; readonly index: number; readonly sizeBytes: number }
  /** Another data set, or an index without a slice: the stream ended without a byte of file. */
  | { readonly type: "unknown"; readonly dataset: string; readonly index: number }
  /** No grant, or an invalid one: the stream ended without a byte of file. */
  | { readonly type: "refused"; readonly refusal: JobScope }
  /** No header, or one that does not parse: the stream was reset. */
  | { readonly type: "malformed"; readonly reason: string }
  /** The slice is known where the header was read and names one that is here. */
  | { readonly type: "broken"; readonly reason: string } & Partial<Slice>
  /** The slice's file became shorter while it was sent. */
  | { readonly type: "shortened"; readonly reason: string } & Slice;

/**
 * Serves one pull. Never fails: every failure is an outcome. `malformed`, `broken` and `shortened` reset the stream, each other outcome ends
 * this side of it ({@linkcode untilPullerEnds}).
 *
 * A pull without a grant reaches this function only where none is required (`checkReader`).
 */
export function servePull(
  stream: StreamHandle,
  dataset: Dataset,
  rules: GrantRules,
): Effect.Effect<PullOutcome, never, FileSystem | Path> {
  return Effect.timeout(readPullHeader(stream), headerTimeoutMs).pipe(
    Effect.flatMap((header) =>
      typeof header === "string"
        ? Effect.as(stream.abort(header), { type: "malformed", reason: header } as const)
        : serveRequested(stream, header, dataset, rules)
    ),
    resetOnFailure(stream),
    Effect.onInterrupt(() => stream.abort("data node stops")),
  );
}

/** Serves the slice that the header names. */
function serveRequested(
  stream: StreamHandle,
  header: GrantedPullHeader,
  dataset: Dataset,
  rules: GrantRules,
): Effect.Effect<PullOutcome, never, FileSystem | Path> {
  const { dataset: requested, index } = header;
  const file = requested === dataset.name ? dataset.slices[index] : undefined;
  const endWith = (code: string) => isFramed(stream.protocol) ? writeRefusal(stream, code, limits) : stream.end;
  return Effect.gen(function* () {
    const refusal = yield* isFramed(stream.protocol) ? judgePull(header, stream.peer, rules) : Effect.undefined;
    if (refusal !== undefined) {
      yield* endWith(refusal.code);
      return { type: "refused", refusal } as const;
    }
    if (file === undefined) {
      yield* endWith("not-found");
      return { type: "unknown", dataset: requested, index } as const;
    }
    const sizeBytes = yield* writeSlice(stream, dataset, file);
    return { type: "served", index, sizeBytes } as const;
  }).pipe(resetOnFailure(stream, file === undefined ? undefined : { index, file }));
}

/** Resets the stream of a pull that failed. */
function resetOnFailure(stream: StreamHandle, slice?: Slice) {
  const broken = (reason: string) => ({ type: "broken", reason, ...slice }) as const;
  return <A, E extends Error, R>(pull: Effect.Effect<A, E, R>) =>
    pull.pipe(
      Effect.catch((error) => {
        const { message: reason } = error;
        const isShortened = slice !== undefined && error instanceof FileShortened;
        const outcome = isShortened ? { type: "shortened", reason, ...slice } as const : broken(reason);
        return Effect.as(stream.abort("pull failed"), outcome);
      }),
      Effect.catchDefect((defect) => Effect.as(stream.abort("pull failed"), broken(String(defect)))),
    );
}

/** Reads the header of a pull, or says why it is invalid. */
export function readPullHeader(stream: StreamHandle): Effect.Effect<GrantedPullHeader | string, TransportError> {
  const decode = isFramed(stream.protocol) ? decodeGrantedPullHeader : decodePullHeader;
  return Effect.gen(function* () {
    const held = new GrowingBytes();
    while (true) {
      const decoded = decode(held.view());
      if (Result.isFailure(decoded)) return decoded.failure.message;
      if (decoded.success !== undefined) return decoded.success.header;
      const chunk = yield* stream.read;
      if (chunk.type === "end") return "stream ended inside the header";
      if (held.sizeBytes + chunk.bytes.length > 2 * pullHeaderMaxBytes) return "header too long";
      held.append(chunk.bytes);
    }
  });
}

/** Copies a file into the stream, a piece at a time, as fast as the puller takes it, and half-closes. */
function writeSlice(stream: StreamHandle, dataset: Dataset, name: string) {
  return Effect.scoped(Effect.gen(function* () {
    const fs = yield* FileSystem;
    const path = yield* Path;
    const file = yield* fs.open(path.join(dataset.directory, name), { flag: "r" });
    const { size } = yield* file.stat;
    const source = { sizeBytes: Number(size), read: (into: Uint8Array) => Effect.map(file.read(into), Number) };
    return yield* writeStreamFile(stream, source, limits);
  }));
}

/**
 * Waits until the puller has ended its side too. Existing pullers leave it open and drop the stream once they have the file.
 * A stream of a puller that does neither is reset.
 */
export function untilPullerEnds(stream: StreamHandle): Effect.Effect<void> {
  const ended: Effect.Effect<void, TransportError> = Effect.flatMap(
    stream.read,
    (chunk) => chunk.type === "end" ? Effect.void : ended,
  );
  return ended.pipe(
    Effect.timeout(idleTimeoutMs),
    Effect.catch(() => stream.abort("puller left its side open")),
  );
}
