/**
 * A request of ours: one stream, on which the request is sent whole and the answer read whole.
 *
 * @module
 */
import { Result } from "effect";
import { type TransportAsk, TransportError } from "../port.ts";
import type { Message } from "../protocols/messages.ts";
import { decodeMessage, responseMaxBytes } from "../protocols/mod.ts";
import type { Timer } from "./clock.ts";
import type { SessionParts } from "./parts.ts";
import { streamFailure } from "./stream_failure.ts";
import { WholeMessage } from "./whole_message.ts";
import type { GiveUp, StreamEnd, StreamListener, WireConnection, WireStream } from "./wire.ts";

/** What a request is made of. */
export interface AskedRequestInit {
  readonly parts: SessionParts;
  readonly ask: Extract<TransportAsk, { type: "request" }>;
  /** The encoded request. */
  readonly bytes: Uint8Array;
  /** Receives the answer, or why there is none. Called once. */
  answered(outcome: Result.Result<Message, TransportError>): void;
  /** Nothing of it is left: its stream is closed, its timer cancelled. Called once, after `answered`. */
  over(): void;
}

/** A request of ours that is under way. */
export class AskedRequest implements StreamListener {
  readonly #init: AskedRequestInit;
  readonly #message = new WholeMessage(responseMaxBytes);
  /** The deadline covers dialing; it also ends a stream that the peer does not close after its answer. */
  readonly #timer: Timer;
  #giveUpDial: GiveUp | undefined;
  #stream: WireStream | undefined;
  #state: "asking" | "answered" | "over" = "asking";

  constructor(init: AskedRequestInit) {
    this.#init = init;
    const { ask: { peer, timeoutMs }, parts: { clock, dialler } } = init;
    this.#timer = clock.after(timeoutMs, () => this.fail("timed-out", `no answer after ${timeoutMs} ms`));
    this.#giveUpDial = dialler.connect(peer, timeoutMs, (outcome) => {
      this.#giveUpDial = undefined;
      if (Result.isSuccess(outcome)) this.#send(outcome.success);
      else this.#end(outcome.failure);
    });
  }

  #send(connection: WireConnection): void {
    const { ask: { protocol }, bytes, parts: { streams } } = this.#init;
    this.#stream = streams.open(connection, protocol, this);
    this.#stream.end(bytes);
  }

  data(bytes: Uint8Array): void {
    if (this.#state !== "asking") return;
    const error = this.#message.add(bytes);
    if (error !== undefined) this.#end(error);
  }

  ended(): void {
    if (this.#state !== "asking") return;
    const bytes = this.#message.take();
    if (bytes.byteLength === 0) return this.fail("no-answer", "the peer ended the stream without an answer");
    const decoded = decodeMessage(this.#init.ask.protocol, "response", bytes);
    if (Result.isFailure(decoded)) return this.fail("malformed", decoded.failure.message);
    // The stream closes once the request has left; until then the deadline holds.
    this.#state = "answered";
    this.#init.answered(Result.succeed(decoded.success));
  }

  closed(how: StreamEnd, detail: string): void {
    this.#stream = undefined;
    this.#end(this.#state === "asking" ? streamFailure(how, detail) : undefined);
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
    this.#message.drop();
    this.#init.parts.clock.cancel(this.#timer);
    this.#giveUpDial?.();
    this.#stream?.abort(error?.detail ?? "over");
    if (!isAnswered && error !== undefined) this.#init.answered(Result.fail(error));
    this.#init.over();
  }
}
