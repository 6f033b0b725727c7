/**
 * A raw stream with a bounded buffer at this end and back-pressure at both.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import { Effect } from "effect";
import { drained } from "../libp2p/drained.ts";
import { type PeerText, type StreamChunk, type StreamHandle, type StreamProtocol, TransportError } from "../port.ts";
import { plainBytes } from "./whole_message.ts";

/**
 * A reader that lags behind by more than this stops the sender, in bytes. libp2p resets a paused stream over 4 MiB, of
 * which a window of 2 MiB may still arrive after the pause.
 */
export const streamBufferMax = 1_048_576;
/** A stream on which nothing moves for so long, while somebody waits for it to, is broken; in milliseconds. */
export const streamStallMs = 60_000;

/** A handle, and how its owner looks at it. */
export interface OwnedStream {
  readonly handle: StreamHandle;
  /** Ends the stream where nobody reads on: `stopped`, a lost connection. */
  abort(reason: string): void;
}

/** What a handle is made of. */
export interface StreamHandleInit {
  readonly id: string;
  readonly peer: PeerText;
  readonly protocol: StreamProtocol;
  readonly stream: Stream;
}

/** Makes the handle of a stream. Its first bytes are kept from here on. */
export function ownStream({ id, peer, protocol, stream }: StreamHandleInit): OwnedStream {
  const inbox = new Inbox(stream);
  const abort = (reason: string) => stream.abort(new Error(reason));
  const handle: StreamHandle = {
    id,
    peer,
    protocol,
    read: Effect.callback<StreamChunk>((resume) => {
      const cancel = inbox.next((chunk) => resume(Effect.succeed(chunk)));
      return Effect.sync(cancel);
    }),
    write: (bytes) => whenOpen(stream, (signal) => stream.send(bytes) ? undefined : drained(stream, signal)),
    end: whenOpen(stream, (signal) => stream.close({ signal })),
    abort: (reason) => Effect.sync(() => abort(reason)),
  };
  return { handle, abort };
}

/** Runs something on the writing side, with the stall deadline; a stream that is gone fails with `stream-reset`. */
function whenOpen(
  stream: Stream,
  run: (signal: AbortSignal) => Promise<void> | undefined,
): Effect.Effect<void, TransportError> {
  return Effect.tryPromise({
    try: async (interrupted) => {
      if (stream.writeStatus !== "writable") throw new Error("the stream's writing side has ended");
      const controller = new AbortController();
      const stop = () => controller.abort(new Error("nothing moved on the stream"));
      const timer = setTimeout(stop, streamStallMs);
      interrupted.addEventListener("abort", stop);
      try {
        await run(controller.signal);
      } finally {
        clearTimeout(timer);
        interrupted.removeEventListener("abort", stop);
      }
    },
    catch: (error) => {
      // libp2p rejects a close that was overtaken with the event that overtook it.
      const detail = error instanceof Error ? error.message : "the stream closed";
      if (stream.status === "open") stream.abort(new Error(detail));
      return new TransportError({ code: "stream-reset", detail });
    },
  });
}

/** What has arrived and was not read yet. */
class Inbox {
  readonly #stream: Stream;
  readonly #chunks: Uint8Array[] = [];
  readonly #readers: ((chunk: StreamChunk) => void)[] = [];
  #size = 0;
  #paused = false;
  #resuming = false;
  #whole: boolean;
  #ended = false;
  #stall: ReturnType<typeof setTimeout> | undefined;

  constructor(stream: Stream) {
    this.#stream = stream;
    this.#whole = stream.remoteWriteStatus === "closed" && stream.status === "open";
    stream.addEventListener("message", (event) => this.#arrived(plainBytes(event.data)));
    stream.addEventListener("remoteCloseWrite", () => this.#whole = true);
    stream.addEventListener("end", () => this.#end());
    stream.addEventListener("close", () => this.#end());
    // What the negotiation read ahead is still to come, after which there is no further `end`.
    if (stream.readableEnded || stream.status !== "open") queueMicrotask(() => this.#end());
  }

  /** Hands over the next piece, when there is one. Returns how to give the wait up. */
  next(take: (chunk: StreamChunk) => void): () => void {
    this.#readers.push(take);
    this.#serve();
    if (this.#readers.includes(take)) this.#watch();
    return () => {
      const index = this.#readers.indexOf(take);
      if (index >= 0) this.#readers.splice(index, 1);
      if (this.#readers.length === 0) clearTimeout(this.#stall);
    };
  }

  #arrived(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#size += bytes.byteLength;
    this.#serve();
    this.#pauseIfFull();
  }

  #pauseIfFull(): void {
    if (this.#size < streamBufferMax || this.#paused || this.#resuming || this.#stream.readStatus !== "readable") {
      return;
    }
    this.#paused = true;
    this.#stream.pause();
  }

  #end(): void {
    this.#ended = true;
    this.#serve();
  }

  #serve(): void {
    while (this.#readers.length > 0) {
      const bytes = this.#chunks.shift();
      if (bytes === undefined && !this.#ended) return;
      const reader = this.#readers.shift();
      clearTimeout(this.#stall);
      if (bytes === undefined) {
        reader?.({ type: "end", outcome: this.#whole ? "whole" : "broken" });
        continue;
      }
      this.#size -= bytes.byteLength;
      reader?.({ type: "bytes", bytes });
    }
    if (!this.#paused || this.#size > streamBufferMax / 4) return;
    this.#paused = false;
    // After this turn: resuming delivers at once what libp2p has kept. A pause within that delivery would be forgotten by the
    // multiplexer, which goes on to open the window: it comes after.
    queueMicrotask(() => {
      if (this.#stream.readStatus !== "paused") return;
      this.#resuming = true;
      try {
        this.#stream.resume();
      } finally {
        this.#resuming = false;
      }
      this.#pauseIfFull();
    });
  }

  #watch(): void {
    clearTimeout(this.#stall);
    this.#stall = setTimeout(() => this.#stream.abort(new Error("nothing arrived on the stream")), streamStallMs);
  }
}
