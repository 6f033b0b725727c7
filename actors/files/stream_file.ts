/**
 * Files on streams: raw ones of the existing network, and framed ones of ours, which carry length and SHA-256
 * (`transport/protocols/file_frame.ts`). The stream's protocol decides which.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Clock, Effect, Result } from "effect";
import { type StreamHandle, type StreamProtocol, TransportError } from "../../transport/port.ts";
import {
  decodeFileHead,
  digestBytes,
  encodeFileHead,
  type FileHead,
  fileHeadMaxBytes,
} from "../../transport/protocols/mod.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";

/** Protocols of pulls and pushes: ours first, which carries length and digest, then the existing network's. */
export const pullProtocols = ["/hypha-tensor-stream/pull/2", "/hypha-tensor-stream/pull"] as const;
export const pushProtocols = ["/hypha-tensor-stream/push/2", "/hypha-tensor-stream/push"] as const;

/** Bounds of a copy. */
export interface CopyLimits {
  /** Bytes of one file. */
  readonly fileBytesMax: number;
  /** Between two pieces, in milliseconds. All waits of a copy together take longer only as bytes move ({@linkcode leastBytesPerMs}). */
  readonly idleMs: number;
}

/**
 * Waits of a copy take at most `idleMs` and what the bytes that moved take at this rate, in bytes a millisecond: a peer that moves a byte
 * now and then would hold the copy for days. An uplink carries copies at once: eight of a result need 2 Mbit/s, 64 pulls 16 Mbit/s.
 */
export const leastBytesPerMs = 32;

/** Longest time between two pieces is over. */
export function withinIdle<A, E>(
  effect: Effect.Effect<A, E>,
  { idleMs }: Pick<CopyLimits, "idleMs">,
  done: string,
): Effect.Effect<A, E | TransportError> {
  return Effect.timeoutOrElse(effect, {
    duration: idleMs,
    orElse: () => Effect.fail(new TransportError({ code: "timed-out", detail: `nothing ${done} for ${idleMs} ms` })),
  });
}

/** Bounds an Effect that waits for a stream; `done` says in the error what did not happen, `bytesOf` how many bytes moved. */
type Bounded = <A, E>(effect: Effect.Effect<A, E>, done: string, bytesOf: (value: A) => number) => Effect.Effect<A, E>;

/**
 * Runs a copy, and fails it when one of the waits that it bounds takes longer than `idleMs`, or all of them longer than the bytes allow.
 * Time in which the copy does not wait for its stream does not count. One timer watches the whole copy: one for each piece, with the
 * fibers of its race, costs more than the piece. Therefore a copy that is too slow fails up to `idleMs` later.
 */
function withBoundedWaits<A, E>(
  { idleMs }: Pick<CopyLimits, "idleMs">,
  copy: (bounded: Bounded) => Effect.Effect<A, E>,
): Effect.Effect<A, E | TransportError> {
  return Clock.clockWith((clock) => {
    const now = () => Number(clock.currentTimeNanosUnsafe() / 1_000n) / 1_000;
    let wait: { readonly since: number; readonly done: string } | undefined;
    let waitedMs = 0;
    let movedBytes = 0;
    const bounded: Bounded = (effect, done, bytesOf) =>
      Effect.suspend(() => {
        const since = now();
        wait = { since, done };
        return Effect.map(effect, (value) => {
          wait = undefined;
          waitedMs += now() - since;
          movedBytes += bytesOf(value);
          return value;
        });
      });
    const tooSlow = (detail: string) => Effect.fail(new TransportError({ code: "timed-out", detail }));
    const limit: Effect.Effect<never, TransportError> = Effect.gen(function* () {
      for (;;) {
        if (wait === undefined) {
          yield* Effect.sleep(idleMs);
          continue;
        }
        const { since, done } = wait;
        const waitingMs = now() - since;
        const leftMs = Math.ceil(idleMs - waitingMs);
        if (leftMs <= 0) return yield* tooSlow(`nothing ${done} for ${idleMs} ms`);
        const allMs = waitedMs + waitingMs;
        if (allMs > idleMs + movedBytes / leastBytesPerMs) {
          return yield* tooSlow(`only ${movedBytes} bytes ${done} in ${Math.round(allMs)} ms`);
        }
        yield* Effect.sleep(leftMs);
      }
    });
    return Effect.raceFirst(copy(bounded), limit);
  });
}

/** Whether a stream's files carry length and digest. */
export function isFramed(protocol: StreamProtocol): boolean {
  return protocol === pullProtocols[0] || protocol === pushProtocols[0];
}

/**
 * Hands a file's pieces to `take`, in order, and succeeds only when all of it came: the sender's half-close was seen and,
 * where the stream is framed, length and SHA-256 are right. What was taken before a failure is to be thrown away.
 *
 * @returns The file's size in bytes. Fails with `refused` where the sender sent a refusal's code instead of a file.
 */
export function readStreamFile<E>(
  stream: StreamHandle,
  take: (piece: Uint8Array) => Effect.Effect<void, E>,
  limits: CopyLimits,
): Effect.Effect<number, E | TransportError> {
  const copy = Effect.fnUntraced(function* (bounded: Bounded) {
    const reader = isFramed(stream.protocol)
      ? new FramedReader(limits.fileBytesMax)
      : new RawReader(limits.fileBytesMax);
    const read = bounded(stream.read, "read", (chunk) => chunk.type === "bytes" ? chunk.bytes.length : 0);
    // What arrives while a piece is taken waits in the stream's own buffer.
    let chunk = yield* read;
    while (chunk.type === "bytes") {
      const next = reader.next(chunk.bytes);
      if (Result.isFailure(next)) return yield* Effect.fail(next.failure);
      for (const piece of next.success) yield* take(piece);
      chunk = yield* read;
    }
    if (chunk.outcome === "whole") return yield* orFail(reader.end());
    return yield* Effect.fail(new TransportError({ code: "stream-reset", detail: "the stream broke off" }));
  });
  return withBoundedWaits(limits, copy);
}

/** What a sender of a file reads: at most `into.length` bytes from `position` on; 0 at its end. */
export interface FileSource<E> {
  readonly sizeBytes: number;
  read(into: Uint8Array, position: number): Effect.Effect<number, E>;
}

/** The file became shorter while it was sent: the sender resets the stream. */
export class FileShortened extends TransportError {
  constructor() {
    super({ code: "failed", detail: "the file became shorter meanwhile" });
  }
}

/** Bytes read from a file and handed to a stream at once; as many more are read ahead meanwhile. */
export const pieceBytes = 256 * 1024;

/**
 * Writes a file, framed where the stream's protocol is, and half-closes.
 *
 * @param label What a pushed file belongs to; only a framed stream carries it.
 * @returns Bytes of file that were written. A file that grows meanwhile is cut at `sizeBytes`; one that shrinks fails with {@linkcode FileShortened}.
 */
export function writeStreamFile<E>(
  stream: StreamHandle,
  source: FileSource<E>,
  limits: Pick<CopyLimits, "idleMs">,
  label?: PushLabel,
): Effect.Effect<number, E | TransportError> {
  const copy = Effect.fnUntraced(function* (bounded: Bounded) {
    const framed = isFramed(stream.protocol);
    const hash = framed ? createHash("sha256") : undefined;
    const write = (bytes: Uint8Array) => bounded(stream.write(bytes), "written", () => bytes.length);
    if (framed) yield* write(encodeFileHead({ size: source.sizeBytes, ...(label === undefined ? {} : { label }) }));
    const end = source.sizeBytes;
    let position = 0;
    let piece = yield* readPiece(source, position, end);
    while (piece.length > 0) {
      position += piece.length;
      hash?.update(piece);
      [, piece] = yield* Effect.all([write(piece), readPiece(source, position, end)], { concurrency: 2 });
    }
    if (position < end) return yield* Effect.fail(new FileShortened());
    if (hash !== undefined) yield* write(new Uint8Array(hash.digest()));
    yield* bounded(stream.end, "written", () => 0);
    return position;
  });
  return withBoundedWaits(limits, copy);
}

/** The next piece, empty at the end. It is a new one each time: the stream may keep what it was given until it is drained. */
function readPiece<E>(source: FileSource<E>, position: number, end: number): Effect.Effect<Uint8Array, E> {
  const length = Math.min(pieceBytes, end - position);
  if (length === 0) return Effect.succeed(none);
  // Not filled with zeros: only what was read is handed on.
  const piece = Buffer.allocUnsafeSlow(length);
  return Effect.map(source.read(piece, position), (count) => count === length ? piece : piece.subarray(0, count));
}

/** Answers on a framed stream that there is no file, with the reason. */
export function writeRefusal(
  stream: StreamHandle,
  code: string,
  limits: Pick<CopyLimits, "idleMs">,
): Effect.Effect<void, TransportError> {
  return withinIdle(
    Effect.andThen(stream.write(encodeFileHead({ refused: code })), stream.end),
    limits,
    "written",
  );
}

type Read<A> = Result.Result<A, TransportError>;

const failure = (code: TransportError["code"], detail: string): Result.Result<never, TransportError> =>
  Result.fail(new TransportError({ code, detail }));

function orFail<A>(read: Read<A>): Effect.Effect<A, TransportError> {
  return Result.isSuccess(read) ? Effect.succeed(read.success) : Effect.fail(read.failure);
}

interface Reader {
  next(bytes: Uint8Array): Read<readonly Uint8Array[]>;
  end(): Read<number>;
}

class RawReader implements Reader {
  readonly #bytesMax: number;
  #sizeBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  next(bytes: Uint8Array): Read<readonly Uint8Array[]> {
    this.#sizeBytes += bytes.length;
    return this.#sizeBytes > this.#bytesMax
      ? failure("too-large", `more than ${this.#bytesMax} bytes`)
      : Result.succeed([bytes]);
  }

  end(): Read<number> {
    return Result.succeed(this.#sizeBytes);
  }
}

const none = new Uint8Array(0);

/** Head, file, digest. What it holds back is never more than a head or a digest. */
class FramedReader implements Reader {
  readonly #bytesMax: number;
  readonly #hash = createHash("sha256");
  #head: FileHead | undefined;
  #held: Uint8Array = none;
  #left = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  next(bytes: Uint8Array): Read<readonly Uint8Array[]> {
    const rest = this.#head === undefined ? this.#readHead(bytes) : Result.succeed(bytes);
    if (Result.isFailure(rest)) return Result.fail(rest.failure);
    const file = rest.success.subarray(0, this.#left);
    const behind = rest.success.subarray(file.length);
    this.#left -= file.length;
    if (file.length > 0) this.#hash.update(file);
    if (this.#head === undefined) return Result.succeed([]);
    if ("refused" in this.#head ? behind.length > 0 : this.#held.length + behind.length > digestBytes) {
      return failure("malformed", "more bytes than were announced");
    }
    if (behind.length > 0) this.#held = joined(this.#held, behind);
    return Result.succeed(file.length > 0 ? [file] : []);
  }

  #readHead(bytes: Uint8Array): Read<Uint8Array> {
    const held = joined(this.#held, bytes);
    const read = decodeFileHead(held);
    if (Result.isFailure(read)) return failure("malformed", `no head of a file: ${read.failure.reason}`);
    if (read.success === undefined) {
      // Shorter than its announced length, which is bounded: it cannot be larger than this.
      this.#held = held;
      return held.length > 2 * fileHeadMaxBytes ? failure("malformed", "a head too long") : Result.succeed(none);
    }
    const { head, sizeBytes } = read.success;
    this.#head = head;
    this.#held = none;
    if ("size" in head) {
      if (head.size > this.#bytesMax) return failure("too-large", `more than ${this.#bytesMax} bytes`);
      this.#left = head.size;
    }
    return Result.succeed(held.subarray(sizeBytes));
  }

  end(): Read<number> {
    if (this.#head === undefined) return failure("malformed", "the stream ended inside the head");
    if ("refused" in this.#head) return failure("refused", this.#head.refused.replace(/[^a-z0-9-]/g, "?"));
    if (this.#left > 0 || this.#held.length < digestBytes) {
      return failure("stream-reset", "the stream ended inside the file");
    }
    const digest = this.#hash.digest();
    return digest.every((octet, at) => this.#held[at] === octet)
      ? Result.succeed(this.#head.size)
      : failure("malformed", "the SHA-256 is another one than announced");
  }
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  if (one.length === 0) return other;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
