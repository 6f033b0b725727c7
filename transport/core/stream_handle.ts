/**
 * A raw stream with a bounded inbox at this end and back-pressure at both.
 *
 * @module
 */
import { Effect } from "effect";
import { type PeerText, type StreamChunk, type StreamHandle, type StreamProtocol, TransportError } from "../port.ts";
import type { Clock, Timer } from "./clock.ts";
import { GrowingBytes, isCopied } from "./growing_bytes.ts";
import type { HeldBytes, ReadBudgets } from "./held_bytes.ts";
import type { StreamEnd, StreamListener, WireStream } from "./wire.ts";

/**
 * A reader that lags behind by more than this stops the sender, in bytes. libp2p resets a paused stream over 4 MiB, of
 * which a window of 2 MiB may still arrive after the pause.
 */
export const streamBufferMax = 1_048_576;
/** A reader that has caught up to this lets a stopped sender go on, in bytes. */
const streamResumeAt = streamBufferMax / 4;
/** Pieces that are copied are joined up to this size, in bytes. */
export const joinedMaxBytes = 65_536;
/** A direction in which nothing moves for so long, while a read or write waits for it, breaks the stream; in milliseconds. */
export const streamStallMs = 60_000;

/** What a stream's handle is made of. */
export interface OwnedStreamInit {
  readonly id: string;
  readonly peer: PeerText;
  readonly protocol: StreamProtocol;
  /** Outbound only: the protocol to negotiate if the peer does not support `protocol`. */
  readonly fallback?: StreamProtocol | undefined;
  readonly clock: Clock;
  /** What streams hold. */
  readonly held: Pick<ReadBudgets, "of">;
  /** Outbound only: the other side agreed to the protocol. */
  opened?(): void;
  /** So many bytes arrived. */
  arrived?(bytes: number): void;
  /** The stream is over. Called once; from `abort` at once. */
  closed(how: StreamEnd, detail: string): void;
}

type Resume = (outcome: Effect.Effect<void, TransportError>) => void;

/** A stream, seen from both sides: the wire reports to it, the role uses its handle. */
export class OwnedStream implements StreamListener {
  /** What the role uses. */
  readonly handle: StreamHandle;
  readonly #init: OwnedStreamInit;
  readonly #inbox: Inbox;
  readonly #outlet: Outlet;
  #stream: WireStream | undefined;
  #isOver = false;

  constructor(init: OwnedStreamInit) {
    this.#init = init;
    const { id, peer, protocol, fallback, clock } = init;
    const selected = () => fallback !== undefined && this.#stream?.protocol === fallback ? fallback : protocol;
    const held = init.held.of(peer, (detail) => {
      this.#inbox.drop();
      this.abort(detail);
    });
    this.#inbox = new Inbox(clock, held, () => this.abort("nothing arrived on the stream"));
    this.#outlet = new Outlet(clock, () => this.abort("nothing moved on the stream"));
    this.handle = {
      id,
      peer,
      get protocol() {
        return selected();
      },
      read: Effect.callback<StreamChunk>((resume) => {
        const giveUp = this.#inbox.next((chunk) => resume(Effect.succeed(chunk)));
        return Effect.sync(giveUp);
      }),
      write: (bytes) => Effect.callback<void, TransportError>((resume) => this.#outlet.write(bytes, resume)),
      end: Effect.callback<void, TransportError>((resume) => this.#outlet.end(resume)),
      abort: (reason) => Effect.sync(() => this.abort(reason)),
    };
  }

  /** Gives it its stream, before anything is reported of it. */
  attach(stream: WireStream): void {
    this.#stream = stream;
    this.#inbox.attach(stream);
    this.#outlet.attach(stream);
  }

  opened(): void {
    if (!this.#isOver) this.#init.opened?.();
  }

  data(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.#init.arrived?.(bytes.byteLength);
    this.#inbox.arrived(bytes);
  }

  ended(): void {
    if (!this.#isOver) this.#inbox.end("whole");
  }

  drained(): void {
    if (!this.#isOver) this.#outlet.drained();
  }

  closed(how: StreamEnd, detail: string): void {
    this.#end(how, detail);
  }

  /** Resets both directions: waiting reads and writes end now. What has arrived can still be read. */
  abort(reason: string): void {
    if (this.#isOver) return;
    this.#stream?.abort(reason);
    this.#end("reset", reason);
  }

  #end(how: StreamEnd, detail: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#outlet.fail(detail);
    this.#inbox.end("broken");
    this.#inbox.release();
    this.#init.closed(how, detail);
  }
}

/** Ends a stream on which nothing moves while someone waits. */
class Stall {
  readonly #clock: Clock;
  readonly #stalled: () => void;
  #timer: Timer | undefined;

  constructor(clock: Clock, stalled: () => void) {
    this.#clock = clock;
    this.#stalled = stalled;
  }

  /** Starts the time, anew where it runs. */
  restart(): void {
    this.#clock.cancel(this.#timer);
    this.#timer = this.#clock.after(streamStallMs, this.#stalled);
  }

  stop(): void {
    this.#clock.cancel(this.#timer);
    this.#timer = undefined;
  }
}

/** The writing side: writers that wait until the stream takes more. */
class Outlet {
  readonly #stall: Stall;
  readonly #writers = new Set<Resume>();
  #stream: WireStream | undefined;
  #isDraining = false;
  #state: "writable" | "ending" | "ended" = "writable";
  /** Why no write succeeds any more. */
  #failure: string | undefined;

  constructor(clock: Clock, stalled: () => void) {
    this.#stall = new Stall(clock, stalled);
  }

  attach(stream: WireStream): void {
    this.#stream = stream;
  }

  /** Sends bytes and resumes the writer once more are taken. Returns how to give the wait up. */
  write(bytes: Uint8Array, resume: Resume): Effect.Effect<void> | void {
    if (this.#stream === undefined || this.#state !== "writable" || this.#failure !== undefined) {
      return resume(Effect.fail(resetError(this.#failure ?? "the stream's writing side has ended")));
    }
    if (this.#stream.send(bytes)) return resume(Effect.void);
    this.#isDraining = true;
    return this.#wait(resume);
  }

  /** Ends the writing side, once what was written has left. */
  end(resume: Resume): Effect.Effect<void> | void {
    if (this.#stream === undefined || this.#state !== "writable" || this.#failure !== undefined) {
      return resume(Effect.fail(resetError(this.#failure ?? "the stream's writing side has ended")));
    }
    this.#state = "ending";
    if (this.#isDraining) return this.#wait(resume);
    this.#finish();
    return resume(Effect.void);
  }

  #wait(resume: Resume): Effect.Effect<void> {
    this.#writers.add(resume);
    this.#stall.restart();
    return Effect.sync(() => {
      this.#writers.delete(resume);
      // An end that was given up still comes, so its deadline stays.
      if (this.#writers.size === 0 && this.#state !== "ending") this.#stall.stop();
    });
  }

  drained(): void {
    this.#isDraining = false;
    this.#stall.stop();
    if (this.#state === "ending") this.#finish();
    this.#resume(Effect.void);
  }

  #finish(): void {
    this.#state = "ended";
    this.#stream?.end();
  }

  /** The stream is over: no write succeeds any more. */
  fail(detail: string): void {
    this.#failure = detail;
    this.#stall.stop();
    if (this.#writers.size > 0) this.#resume(Effect.fail(resetError(detail)));
  }

  #resume(outcome: Effect.Effect<void, TransportError>): void {
    const writers = [...this.#writers];
    this.#writers.clear();
    for (const resume of writers) resume(outcome);
  }
}

function resetError(detail: string): TransportError {
  return new TransportError({ code: "stream-reset", detail });
}

/** The reading side: what has arrived and was not read yet. */
class Inbox {
  readonly #stall: Stall;
  readonly #held: HeldBytes;
  readonly #chunks: Uint8Array[] = [];
  /** What comes after these: pieces that are copied, joined. */
  readonly #joined = new GrowingBytes();
  readonly #readers: ((chunk: StreamChunk) => void)[] = [];
  #stream: WireStream | undefined;
  #sizeBytes = 0;
  #isPaused = false;
  #isCounted = true;
  #outcome: "whole" | "broken" | undefined;

  constructor(clock: Clock, held: HeldBytes, stalled: () => void) {
    this.#stall = new Stall(clock, stalled);
    this.#held = held;
  }

  attach(stream: WireStream): void {
    this.#stream = stream;
  }

  /** Hands over the next piece, once there is one. Returns how to give the wait up. */
  next(take: (chunk: StreamChunk) => void): () => void {
    this.#readers.push(take);
    this.#serve();
    if (this.#readers.includes(take)) this.#stall.restart();
    return () => {
      const index = this.#readers.indexOf(take);
      if (index >= 0) this.#readers.splice(index, 1);
      if (this.#readers.length === 0) this.#stall.stop();
    };
  }

  arrived(bytes: Uint8Array): void {
    if (this.#readers.length === 0 && isCopied(bytes)) this.#join(bytes);
    else this.#push(bytes);
    this.#sizeBytes += bytes.byteLength;
    this.#serve();
    if (this.#sizeBytes === 0 || this.#isPaused) return;
    if (this.#sizeBytes < streamBufferMax && !this.#held.isHigh) return;
    this.#isPaused = true;
    this.#stream?.pause();
  }

  /** A piece counts as its bytes: it is held in memory of that size, whatever buffer it came in. */
  #join(bytes: Uint8Array): void {
    if (this.#joined.sizeBytes + bytes.byteLength > joinedMaxBytes) this.#pushJoined();
    this.#joined.append(bytes);
  }

  #push(bytes: Uint8Array): void {
    this.#pushJoined();
    this.#chunks.push(bytes);
  }

  #pushJoined(): void {
    if (this.#joined.sizeBytes > 0) this.#chunks.push(this.#joined.take());
  }

  /** The stream is over: what is left is its reader's. */
  release(): void {
    this.#isCounted = false;
    this.#held.set(0);
  }

  /** Forgets what has arrived. */
  drop(): void {
    this.#chunks.length = 0;
    this.#joined.clear();
    this.#sizeBytes = 0;
  }

  /** Nothing more arrives. The first outcome counts: a whole stream stays whole when it is reset later. */
  end(outcome: "whole" | "broken"): void {
    this.#outcome ??= outcome;
    this.#serve();
    if (this.#readers.length === 0) this.#stall.stop();
  }

  #serve(): void {
    while (this.#readers.length > 0) {
      if (this.#chunks.length === 0) this.#pushJoined();
      const bytes = this.#chunks.shift();
      if (bytes === undefined && this.#outcome === undefined) break;
      const reader = this.#readers.shift();
      this.#stall.stop();
      if (bytes === undefined) {
        reader?.({ type: "end", outcome: this.#outcome ?? "broken" });
        continue;
      }
      this.#sizeBytes -= bytes.byteLength;
      reader?.({ type: "bytes", bytes });
    }
    if (this.#isCounted && !this.#held.set(this.#sizeBytes)) return;
    if (!this.#isPaused || this.#sizeBytes > streamResumeAt) return;
    this.#isPaused = false;
    this.#stream?.resume();
  }
}
