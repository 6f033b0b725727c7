/**
 * Reading one whole message from a stream, within bounds.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import { drained } from "../libp2p/drained.ts";
import { TransportError } from "../port.ts";

/** Bytes that several messages may hold together while they are read. */
export class ReadBudget {
  readonly #max: number;
  #held = 0;

  constructor(maxBytes: number) {
    this.#max = maxBytes;
  }

  /** Whether nothing is held. */
  get idle(): boolean {
    return this.#held === 0;
  }

  /** Takes bytes; false where there are too many, and they are held all the same until they are given back. */
  take(bytes: number): boolean {
    this.#held += bytes;
    return this.#held <= this.#max;
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }
}

/**
 * Reads until the other side ends its writing side.
 *
 * @param maxBytes More than this resets the stream and fails with `too-large`.
 * @param budget What this message holds counts there until it is whole or has failed; more than it allows is `too-large`.
 * @throws TransportError `stream-reset` when the stream broke first (a dead connection and a relay limit end a stream
 * without an error), `timed-out` or `cancelled` as the signal says.
 */
export function readWhole(
  stream: Stream,
  maxBytes: number,
  signal: AbortSignal,
  budget?: ReadBudget,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  let whole = stream.remoteWriteStatus === "closed" && stream.status === "open";
  return new Promise((resolve, reject) => {
    const settle = () => {
      budget?.give(size);
      stream.removeEventListener("message", onMessage);
      stream.removeEventListener("remoteCloseWrite", onWhole);
      stream.removeEventListener("end", onEnd);
      stream.removeEventListener("close", onEnd);
      signal.removeEventListener("abort", onAbort);
    };
    const fail = (code: TransportError["code"], detail: string) => {
      settle();
      const error = new TransportError({ code, detail });
      stream.abort(error);
      reject(error);
    };
    const onMessage = (event: { data: Uint8Array | { subarray(): Uint8Array } }) => {
      const piece = plainBytes(event.data);
      size += piece.byteLength;
      const affordable = budget?.take(piece.byteLength) ?? true;
      if (size > maxBytes) return fail("too-large", `more than ${maxBytes} bytes`);
      if (!affordable) return fail("too-large", "too many bytes of messages that have not ended");
      pieces.push(piece);
    };
    const onWhole = () => {
      whole = true;
    };
    const onEnd = () => {
      if (!whole) return fail("stream-reset", "the stream broke before its end");
      settle();
      resolve(join(pieces, size));
    };
    const onAbort = () => fail(...abortCode(signal));
    stream.addEventListener("message", onMessage);
    stream.addEventListener("remoteCloseWrite", onWhole);
    stream.addEventListener("end", onEnd);
    stream.addEventListener("close", onEnd);
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    // What the negotiation read ahead is still to come, after which there is no further `end`.
    else if (stream.readableEnded || stream.status !== "open") queueMicrotask(onEnd);
  });
}

/** What a stream delivers, as a plain array: a socket's bytes are Buffers, whose slices alias where others' copy. */
export function plainBytes(data: Uint8Array | { subarray(): Uint8Array }): Uint8Array {
  const bytes = data.subarray();
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Why a signal of ours was aborted. */
export function abortCode(signal: AbortSignal): ["timed-out" | "cancelled" | "stopped", string] {
  const { reason } = signal;
  if (reason instanceof TransportError && (reason.code === "cancelled" || reason.code === "stopped")) {
    return [reason.code, reason.detail];
  }
  return ["timed-out", "no answer in time"];
}

function join(pieces: readonly Uint8Array[], size: number): Uint8Array {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

/** Sends bytes and ends the writing side, as far as the connection takes them before the signal. */
export async function sendWhole(stream: Stream, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  if (!stream.send(bytes)) await drained(stream, signal);
  await stream.close({ signal });
}

/** Any error of an exchange as a typed one. */
export function transportError(error: unknown, signal: AbortSignal): TransportError {
  if (error instanceof TransportError) return error;
  if (signal.aborted) {
    const [code, detail] = abortCode(signal);
    return new TransportError({ code, detail });
  }
  const name = error instanceof Error ? error.name : "";
  const detail = (error instanceof Error ? error.message : String(error)).slice(0, 200);
  if (name === "DialFailed") return new TransportError({ code: "not-connected", detail });
  if (name === "UnsupportedProtocolError") return new TransportError({ code: "unsupported", detail });
  if (/Reset|Closed|StreamState|EOF|Abort/i.test(name)) return new TransportError({ code: "stream-reset", detail });
  return new TransportError({ code: "failed", detail });
}
