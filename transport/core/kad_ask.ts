/**
 * A Kademlia message of ours to one peer, and its answer.
 *
 * @module
 */
import { Result } from "effect";
import { type PeerText, TransportError } from "../port.ts";
import { decodeKadMessage, type KadMessage, kadMessageMaxBytes } from "../protocols/kad_record.ts";
import type { Timer } from "./clock.ts";
import { MessageReader } from "./length_prefixed.ts";
import type { SessionParts } from "./parts.ts";
import { streamFailure } from "./stream_failure.ts";
import { type GiveUp, kadProtocol, type StreamEnd, type StreamListener, type WireStream } from "./wire.ts";

/** What an ask is made of. */
export interface KadAskInit {
  readonly parts: SessionParts;
  readonly peer: PeerText;
  /** The encoded message with its length in front. It belongs to the ask. */
  readonly framed: Uint8Array;
  readonly timeoutMs: number;
  /** Receives the answer, or why there is none. Called once. */
  answered(answer: Result.Result<KadMessage, TransportError>): void;
  /** Nothing of it is left. Called once, after `answered`. */
  over(): void;
}

/** An ask that is under way. */
export class KadAsk implements StreamListener {
  readonly #init: KadAskInit;
  readonly #reader = new MessageReader(kadMessageMaxBytes);
  /** The time covers dialing; it also ends a stream that the peer does not close after its answer. */
  readonly #timer: Timer;
  #giveUpDial: GiveUp | undefined;
  #stream: WireStream | undefined;
  #state: "asking" | "answered" | "over" = "asking";

  constructor(init: KadAskInit) {
    this.#init = init;
    const { parts: { clock, dialler, streams }, peer, framed, timeoutMs } = init;
    this.#timer = clock.after(timeoutMs, () => this.fail("timed-out", `no answer after ${timeoutMs} ms`));
    this.#giveUpDial = dialler.connect(peer, timeoutMs, (outcome) => {
      this.#giveUpDial = undefined;
      if (Result.isFailure(outcome)) return this.#end(outcome.failure);
      this.#stream = streams.open(outcome.success, kadProtocol, this);
      this.#stream.send(framed);
    });
  }

  data(bytes: Uint8Array): void {
    if (this.#state !== "asking") return;
    this.#reader.append(bytes);
    const message = this.#reader.next();
    if (message === undefined) return;
    if (message === "too-large") return this.fail("too-large", `an answer of more than ${kadMessageMaxBytes} bytes`);
    const decoded = decodeKadMessage(message);
    if (Result.isFailure(decoded)) return this.fail("malformed", decoded.failure.message);
    this.#state = "answered";
    this.#reader.clear();
    this.#stream?.end();
    this.#init.answered(Result.succeed(decoded.success));
  }

  ended(): void {
    if (this.#state === "asking") this.fail("no-answer", "the peer ended the stream without an answer");
  }

  closed(how: StreamEnd, detail: string): void {
    this.#stream = undefined;
    this.#end(this.#state === "asking" ? streamFailure(how, detail) : undefined);
  }

  /** Gives it up where it has no answer yet; after its answer its stream ends by itself. */
  giveUp(): void {
    if (this.#state === "asking") this.fail("cancelled", "the ask is over");
  }

  /** Ends it, with this answer where it has none yet. */
  fail(code: TransportError["code"], detail: string): void {
    this.#end(new TransportError({ code, detail }));
  }

  /** @param error Why there is no answer; undefined where it was answered. */
  #end(error: TransportError | undefined): void {
    if (this.#state === "over") return;
    const isAnswered = this.#state === "answered";
    this.#state = "over";
    this.#reader.clear();
    this.#init.parts.clock.cancel(this.#timer);
    this.#giveUpDial?.();
    this.#stream?.abort(error?.detail ?? "over");
    if (!isAnswered && error !== undefined) this.#init.answered(Result.fail(error));
    this.#init.over();
  }
}
