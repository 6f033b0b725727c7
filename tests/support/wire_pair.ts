/**
 * A stream between two ends in memory, under a clock that a test moves. The test can hold deliveries back, split them, delay them
 * and end the stream in every way.
 *
 * @module
 */
import type { Clock } from "../../transport/core/clock.ts";
import type { StreamEnd, StreamListener, WireStream } from "../../transport/core/wire.ts";

/** How a pair delivers. */
export interface PairOptions {
  /** Undelivered bytes over which `send` returns false. */
  readonly windowBytes?: number;
  /** From the opening until the other side is asked, in milliseconds. */
  readonly agreesAfterMs?: number;
  /** Between two deliveries, in milliseconds. */
  readonly delayMs?: number;
  /** Largest piece that is delivered at once. */
  readonly pieceBytes?: number;
}

/** What the other side says of a stream that is opened to it. */
export type PairVerdict = StreamListener | "unsupported" | "too-many" | "refused";

/** One end. What its user does is noted. */
export class PairEnd implements WireStream {
  readonly protocol: string;
  /** `send 5`, `end`, `abort`, `pause`, `resume`, in order. */
  readonly told: string[] = [];
  /** How it closed, once it did. */
  how: StreamEnd | undefined;
  /** Ends after which a call is ignored. */
  isOver = false;
  readonly #pair: StreamPair;

  constructor(pair: StreamPair, protocol: string) {
    this.#pair = pair;
    this.protocol = protocol;
  }

  send(bytes: Uint8Array): boolean {
    if (this.isOver) return true;
    this.told.push(`send ${bytes.byteLength}`);
    return this.#pair.lane(this).push(bytes);
  }
  end(last?: Uint8Array): void {
    if (this.isOver) return;
    this.told.push(last === undefined ? "end" : `end ${last.byteLength}`);
    const lane = this.#pair.lane(this);
    if (last !== undefined && last.byteLength > 0) lane.push(last);
    lane.push("end");
  }
  abort(detail: string): void {
    if (this.isOver) return;
    this.told.push("abort");
    this.#pair.close("reset", detail);
  }
  pause(): void {
    if (this.isOver) return;
    this.told.push("pause");
    this.#pair.laneTo(this).isPaused = true;
  }
  resume(): void {
    if (this.isOver) return;
    this.told.push("resume");
    this.#pair.laneTo(this).goOn("paused");
  }
}

/** One direction. */
class Lane {
  readonly #pair: StreamPair;
  readonly #clock: Clock;
  readonly #options: PairOptions;
  readonly queue: (Uint8Array | "end")[] = [];
  isPaused = false;
  isHeld = false;
  /** Whether the end was delivered. */
  hasEnded = false;
  #isEnding = false;
  #undelivered = 0;
  #isFull = false;
  #isMoving = false;

  constructor(pair: StreamPair, clock: Clock, options: PairOptions) {
    this.#pair = pair;
    this.#clock = clock;
    this.#options = options;
  }

  push(item: Uint8Array | "end"): boolean {
    if (this.#isEnding) throw new Error("Cannot send after the end");
    if (item === "end") this.#isEnding = true;
    else this.#undelivered += item.byteLength;
    this.queue.push(item);
    this.#move();
    this.#isFull ||= this.#undelivered > (this.#options.windowBytes ?? Number.POSITIVE_INFINITY);
    return !this.#isFull;
  }

  goOn(after: "paused" | "held"): void {
    if (after === "paused") this.isPaused = false;
    else this.isHeld = false;
    this.#move();
  }

  #move(): void {
    if (this.#isMoving || this.queue.length === 0 || this.isPaused || this.isHeld) return;
    this.#isMoving = true;
    this.#clock.after(this.#options.delayMs ?? 0, () => {
      this.#isMoving = false;
      if (this.isPaused || this.isHeld || this.#pair.isOver) return;
      this.#deliver();
      this.#move();
    });
  }

  #deliver(): void {
    const item = this.queue.shift();
    const listener = this.#pair.listenerOf(this);
    if (item === undefined) return;
    if (item === "end") {
      this.hasEnded = true;
      listener?.ended();
      return this.#pair.endDelivered();
    }
    const pieceBytes = this.#options.pieceBytes ?? item.byteLength;
    const piece = item.slice(0, pieceBytes);
    if (item.byteLength > pieceBytes) this.queue.unshift(item.subarray(pieceBytes));
    this.#undelivered -= piece.byteLength;
    listener?.data(piece);
    if (!this.#isFull || this.#undelivered > 0 || this.#pair.isOver) return;
    this.#isFull = false;
    this.#pair.senderOf(this)?.drained?.();
  }
}

/** A stream with its two ends: `a` opened it, `b` was asked. */
export class StreamPair {
  readonly a: PairEnd;
  readonly b: PairEnd;
  isOver = false;
  readonly #clock: Clock;
  readonly #options: PairOptions;
  readonly #there: Lane;
  readonly #back: Lane;
  #atA: StreamListener | undefined;
  #atB: StreamListener | undefined;

  constructor(clock: Clock, protocol: string, options: PairOptions = {}) {
    this.#clock = clock;
    this.#options = options;
    this.a = new PairEnd(this, protocol);
    this.b = new PairEnd(this, protocol);
    this.#there = new Lane(this, clock, options);
    this.#back = new Lane(this, clock, options);
  }

  /** Opens it: `atA` hears of `a`, and `accept` says later who hears of `b`. */
  open(atA: StreamListener, accept: (stream: WireStream) => PairVerdict): this {
    this.#atA = atA;
    this.#there.isHeld = true;
    this.#clock.after(this.#options.agreesAfterMs ?? 0, () => {
      if (this.isOver) return;
      const verdict = accept(this.b);
      if (this.isOver) return;
      if (typeof verdict === "string") return this.close(verdict === "refused" ? "reset" : verdict, verdict);
      this.#atB = verdict;
      this.#atA?.opened?.();
      this.#there.goOn("held");
    });
    return this;
  }

  /** Nothing is delivered to this end until {@linkcode StreamPair.release}. */
  hold(end: PairEnd): void {
    this.laneTo(end).isHeld = true;
  }
  release(end: PairEnd): void {
    this.laneTo(end).goOn("held");
  }

  /** Ends both directions; what was not delivered is lost. */
  close(how: StreamEnd, detail = ""): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const [end, listener] of [[this.a, this.#atA], [this.b, this.#atB]] as const) {
      end.isOver = true;
      this.#clock.soon(() => {
        end.how = how;
        listener?.closed(how, detail);
      });
    }
  }

  endDelivered(): void {
    if (this.#there.hasEnded && this.#back.hasEnded) this.close("done");
  }

  lane(from: PairEnd): Lane {
    return from === this.a ? this.#there : this.#back;
  }
  laneTo(end: PairEnd): Lane {
    return end === this.a ? this.#back : this.#there;
  }
  listenerOf(lane: Lane): StreamListener | undefined {
    return lane === this.#there ? this.#atB : this.#atA;
  }
  senderOf(lane: Lane): StreamListener | undefined {
    return lane === this.#there ? this.#atA : this.#atB;
  }
}

/** A listener that writes down what it hears. */
export class NotedListener implements StreamListener {
  /** `opened`, `ended`, `drained`, `closed done`, …, in order; data is in `bytes`. */
  readonly heard: string[] = [];
  readonly pieces: Uint8Array[] = [];

  opened(): void {
    this.heard.push("opened");
  }
  data(bytes: Uint8Array): void {
    this.pieces.push(bytes);
  }
  ended(): void {
    this.heard.push("ended");
  }
  drained(): void {
    this.heard.push("drained");
  }
  closed(how: StreamEnd): void {
    this.heard.push(`closed ${how}`);
  }
  /** Everything that came, joined. */
  get bytes(): Uint8Array {
    return Uint8Array.from(this.pieces.flatMap((piece) => [...piece]));
  }
}
