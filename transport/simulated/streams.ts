/**
 * Streams over simulated connections: a window for each direction, half-close and reset, as yamux has them.
 *
 * @module
 */
import type { Clock } from "../core/clock.ts";
import type { StreamEnd, StreamListener, WireStream } from "../core/wire.ts";
import type { ResetReason, StreamDataFrame, StreamFrame } from "./frames.ts";

/** Octets that a sender may be ahead of the reader (yamux's initial window). */
export const windowBytes = 262_144;
/** The reader grants more once it consumed this many octets: half a window, as yamux does. */
const grantBytes = windowBytes / 2;

const nothing = new Uint8Array();

/** What a stream needs of its connection. */
export interface StreamOwner {
  readonly clock: Clock;
  readonly meter: { received: number; sent: number };
  sendFrame(frame: StreamFrame): void;
  /** Bytes are about to be handed over. */
  delivers(stream: SimulatedStream, bytes: Uint8Array): void;
  /** Bytes are sent on a stream that the other side opened. */
  answers(stream: SimulatedStream, bytes: number): void;
  /** The stream is over; its number means nothing any more. */
  forget(stream: SimulatedStream): void;
  /** A stream has nothing left to send. */
  pumped(): void;
  /** The other side broke the rules of the multiplexer. */
  broken(detail: string): void;
}

/** Which stream it is. */
export interface StreamInit {
  readonly number: number;
  readonly protocol: string;
  /** The protocol to negotiate if the peer does not support `protocol`. */
  readonly fallback?: string | undefined;
  readonly isOpener: boolean;
}

/** One end of a stream. */
export class SimulatedStream implements WireStream {
  readonly number: number;
  readonly #owner: StreamOwner;
  readonly #isOpener: boolean;
  readonly #fallback: string | undefined;
  #protocol: string;
  #listener: StreamListener | undefined;
  #isOver = false;

  // What goes out.
  #unsent: Uint8Array[] = [];
  #credit = windowBytes;
  #isAnnounced: boolean;
  #endRequested = false;
  #endSent = false;
  #owesDrained = false;

  // What comes in.
  #arrived: Uint8Array[] = [];
  /** Octets that arrived and were not granted back, and those of them that were consumed. */
  #ahead = 0;
  #consumed = 0;
  #isPaused = false;
  #endArrived = false;
  #endReported = false;

  constructor(owner: StreamOwner, { number, protocol, fallback, isOpener }: StreamInit) {
    this.#owner = owner;
    this.number = number;
    this.#protocol = protocol;
    this.#fallback = fallback;
    this.#isOpener = isOpener;
    this.#isAnnounced = !isOpener;
  }

  /** Who reads it. Set once, before anything arrives. */
  listenedTo(listener: StreamListener): void {
    this.#listener = listener;
  }

  get protocol(): string {
    return this.#protocol;
  }

  /** Whether bytes or the end wait to be sent. */
  get isPending(): boolean {
    return !this.#isOver && (this.#unsent.length > 0 || (this.#endRequested && !this.#endSent));
  }

  // ── The user's calls ──

  send(bytes: Uint8Array): boolean {
    if (this.#isOver || this.#endRequested) return true;
    if (bytes.length > 0) {
      if (!this.#isOpener) this.#owner.answers(this, bytes.length);
      this.#unsent.push(bytes.slice());
      this.#pump();
    }
    const takesMore = this.#credit > 0 && this.#unsent.length === 0;
    if (!takesMore) this.#owesDrained = true;
    return takesMore;
  }

  end(last?: Uint8Array): void {
    if (this.#isOver || this.#endRequested) return;
    if (last !== undefined && last.length > 0) {
      if (!this.#isOpener) this.#owner.answers(this, last.length);
      this.#unsent.push(last.slice());
    }
    this.#endRequested = true;
    this.#pump();
  }

  abort(detail: string): void {
    if (this.#isOver) return;
    if (this.#isAnnounced) this.#owner.sendFrame({ type: "stream.reset", stream: this.number, why: "reset" });
    this.#finish("reset", detail);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#owner.clock.soon(() => this.#deliver());
  }

  // ── The connection's calls ──

  /** Tells the other side of the stream, where no bytes did that yet. */
  announce(): void {
    if (!this.#isOver && !this.#isAnnounced) this.#put(nothing, false);
  }

  agreed(protocol: string): void {
    if (this.#isOver) return;
    this.#protocol = protocol;
    this.#listener?.opened?.();
  }

  arrived(frame: StreamDataFrame): void {
    const { bytes, ends } = frame;
    if (this.#endArrived) return this.#owner.broken("bytes after a stream's end");
    this.#ahead += bytes.length;
    if (this.#ahead > windowBytes) return this.#owner.broken("more bytes than a stream's window");
    this.#owner.meter.received += bytes.length;
    if (bytes.length > 0) this.#arrived.push(bytes);
    if (ends) this.#endArrived = true;
    this.#deliver();
  }

  /** The reader at the other side consumed bytes. */
  taken(count: number): void {
    if (!(count > 0) || this.#credit + count > windowBytes) return this.#owner.broken("a window that was not used");
    this.#credit += count;
    this.#pump();
    if (!this.#owesDrained || this.#credit <= 0 || this.#unsent.length > 0 || this.#isOver) return;
    this.#owesDrained = false;
    this.#listener?.drained?.();
  }

  wasReset(why: ResetReason): void {
    if (!this.#isOver) this.#finish(why, "the peer reset the stream");
  }

  /**
   * The connection is over.
   *
   * @param how `whole`: the peer ended it after what it sent, so that all of that is handed over first.
   */
  lose(how: "whole" | "lost", detail: string): void {
    if (this.#isOver) return;
    if (how === "whole") {
      this.#isPaused = false;
      this.#deliver();
    }
    if (this.#isOver) return; // the reader aborted it, and hears `closed` of that
    this.#isOver = true;
    this.#owner.forget(this);
    this.#listener?.closed(this.#endSent && this.#endReported ? "done" : "connection", detail);
  }

  /** Refused before it had a listener. */
  drop(): void {
    this.#isOver = true;
    this.#owner.forget(this);
  }

  // ── Inside ──

  #pump(): void {
    while (this.#unsent.length > 0 && this.#credit > 0) {
      const next = this.#unsent[0] as Uint8Array;
      const isWhole = next.length <= this.#credit;
      const bytes = isWhole ? next : next.subarray(0, this.#credit);
      if (isWhole) this.#unsent.shift();
      else this.#unsent[0] = next.subarray(this.#credit);
      this.#put(bytes, this.#endRequested && this.#unsent.length === 0);
    }
    if (this.#endRequested && !this.#endSent && this.#unsent.length === 0) this.#put(nothing, true);
    if (this.#unsent.length === 0) this.#owner.pumped();
    this.#checkDone();
  }

  #put(bytes: Uint8Array, ends: boolean): void {
    const opens = this.#isAnnounced ? "no" : this.#listener?.opened === undefined ? "quietly" : "acknowledged";
    this.#isAnnounced = true;
    this.#credit -= bytes.length;
    this.#owner.meter.sent += bytes.length;
    if (ends) this.#endSent = true;
    this.#owner.sendFrame({
      type: "stream.data",
      stream: this.number,
      protocol: this.#protocol,
      ...(opens === "no" || this.#fallback === undefined ? {} : { fallback: this.#fallback }),
      opens,
      bytes,
      ends,
      isReply: !this.#isOpener,
      size: bytes.length,
    });
  }

  #deliver(): void {
    while (!this.#isPaused && !this.#isOver && this.#arrived.length > 0) {
      const bytes = this.#arrived.shift() as Uint8Array;
      this.#consumed += bytes.length;
      this.#owner.delivers(this, bytes);
      this.#listener?.data(bytes);
    }
    if (this.#isOver) return;
    if (this.#consumed >= grantBytes && !this.#endArrived) {
      this.#owner.sendFrame({ type: "stream.taken", stream: this.number, count: this.#consumed });
      this.#ahead -= this.#consumed;
      this.#consumed = 0;
    }
    if (!this.#endArrived || this.#endReported || this.#arrived.length > 0) return;
    this.#endReported = true;
    this.#listener?.ended();
    this.#checkDone();
  }

  #checkDone(): void {
    if (!this.#isOver && this.#endSent && this.#endReported) this.#finish("done", "");
  }

  #finish(how: StreamEnd, detail: string): void {
    this.#isOver = true;
    this.#unsent = [];
    this.#arrived = [];
    this.#owner.forget(this);
    this.#owner.pumped();
    this.#owner.clock.soon(() => this.#listener?.closed(how, detail));
  }
}
