/**
 * Raw streams over simulated connections: a bounded buffer at the reader, a writer that waits for room, and ends that say
 * whether all of it came.
 *
 * @module
 */
import { Effect } from "effect";
import { type PeerText, type StreamChunk, type StreamHandle, type StreamProtocol, TransportError } from "../port.ts";

/** Octets that a writer may be ahead of its reader (yamux's window). */
export const windowBytes = 262_144;
/** A read or write in which nothing moves for this long resets the stream, in milliseconds. */
export const stallMs = 60_000;

/** Timers of the stream's owner. */
export interface StreamTime {
  after(delayMs: number, task: () => void): unknown;
  cancel(timer: unknown): void;
}

/** What a stream is made of. */
export interface SimulatedStreamInit {
  readonly id: string;
  readonly peer: PeerText;
  readonly protocol: StreamProtocol;
  readonly time: StreamTime;
  send(frame: StreamFrame): void;
  /** Both directions are over. */
  onOver(): void;
}

/** What a stream tells its other end. */
export type StreamFrame =
  | { readonly type: "stream.data"; readonly bytes: Uint8Array }
  | { readonly type: "stream.taken"; readonly count: number }
  | { readonly type: "stream.end" }
  | { readonly type: "stream.reset" };

type Resume<A> = (effect: Effect.Effect<A, TransportError>) => void;

/** One end of a stream. */
export class SimulatedStream {
  readonly #init: SimulatedStreamInit;
  readonly handle: StreamHandle;
  readonly #chunks: Uint8Array[] = [];
  #reader: ((chunk: StreamChunk) => void) | undefined;
  #ended: "whole" | "broken" | undefined;
  #credit = windowBytes;
  #writable = true;
  #over = false;
  readonly #writers: (() => void)[] = [];

  constructor(init: SimulatedStreamInit) {
    this.#init = init;
    const { id, peer, protocol } = init;
    this.handle = {
      id,
      peer,
      protocol,
      read: Effect.callback<StreamChunk>((resume) => this.#read((chunk) => resume(Effect.succeed(chunk)))),
      write: (bytes) => Effect.callback<void, TransportError>((resume) => this.#write(bytes, resume)),
      end: Effect.suspend(() => this.#end()),
      abort: () => Effect.sync(() => this.abort()),
    };
  }

  /** The other end said something. */
  hear(frame: StreamFrame): void {
    if (this.#over && frame.type !== "stream.data") return;
    switch (frame.type) {
      case "stream.data":
        if (this.#ended !== undefined) return;
        this.#chunks.push(frame.bytes);
        return this.#serve();
      case "stream.taken":
        this.#credit += frame.count;
        for (const writer of this.#writers.splice(0)) writer();
        return;
      case "stream.end":
        this.#ended ??= "whole";
        this.#serve();
        return this.#checkOver();
      case "stream.reset":
        return this.lose();
    }
  }

  /** The connection, or the other end, is gone. */
  lose(): void {
    if (this.#over) return;
    this.#ended ??= "broken";
    this.#writable = false;
    this.#serve();
    for (const writer of this.#writers.splice(0)) writer();
    this.#finish();
  }

  /** Resets both directions. */
  abort(): void {
    if (this.#over) return;
    this.#init.send({ type: "stream.reset" });
    this.lose();
  }

  #read(take: (chunk: StreamChunk) => void): Effect.Effect<void> {
    const { time } = this.#init;
    const stall = time.after(stallMs, () => this.abort());
    const taken = (chunk: StreamChunk) => {
      time.cancel(stall);
      take(chunk);
    };
    this.#reader = taken;
    this.#serve();
    return Effect.sync(() => {
      time.cancel(stall);
      if (this.#reader === taken) this.#reader = undefined;
    });
  }

  #serve(): void {
    const reader = this.#reader;
    if (reader === undefined) return;
    const bytes = this.#chunks.shift();
    if (bytes !== undefined) {
      this.#reader = undefined;
      this.#init.send({ type: "stream.taken", count: bytes.length });
      return reader({ type: "bytes", bytes });
    }
    if (this.#ended === undefined) return;
    this.#reader = undefined;
    reader({ type: "end", outcome: this.#ended });
  }

  #write(bytes: Uint8Array, resume: Resume<void>): Effect.Effect<void> | void {
    if (!this.#writable) return resume(Effect.fail(resetError()));
    this.#credit -= bytes.length;
    this.#init.send({ type: "stream.data", bytes: bytes.slice() });
    if (this.#credit > 0) return resume(Effect.void);
    const { time } = this.#init;
    const stall = time.after(stallMs, () => this.abort());
    const again = () => {
      if (this.#writable && this.#credit <= 0) return void this.#writers.push(again);
      time.cancel(stall);
      resume(this.#writable ? Effect.void : Effect.fail(resetError()));
    };
    this.#writers.push(again);
    return Effect.sync(() => time.cancel(stall));
  }

  #end(): Effect.Effect<void, TransportError> {
    if (!this.#writable) return Effect.fail(resetError());
    this.#writable = false;
    this.#init.send({ type: "stream.end" });
    this.#checkOver();
    return Effect.void;
  }

  #checkOver(): void {
    if (!this.#writable && this.#ended !== undefined) this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#init.onOver();
  }
}

function resetError(): TransportError {
  return new TransportError({ code: "stream-reset", detail: "the stream closed" });
}
