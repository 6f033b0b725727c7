/**
 * An ask of ours to one peer: a connection, one stream on it, one answer, within one deadline.
 *
 * The deadline covers dialing. It also ends a stream that the peer does not close after its answer.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import { type AskTarget, type PeerText, TransportError } from "../port.ts";
import type { Timer } from "./clock.ts";
import type { SessionParts } from "./parts.ts";
import { streamFailure } from "./stream_failure.ts";
import type { GiveUp, StreamEnd, StreamListener, WireConnection, WireStream } from "./wire.ts";

/** What an ask is made of. `data` and `ended` are called until there is an outcome, and no longer. */
export interface AskStreamInit<Answer> {
  readonly parts: Pick<SessionParts, "clock" | "dialler" | "established" | "streams">;
  readonly peer: PeerText;
  /** Whom of the peer's members it is for. */
  readonly to?: AskTarget | undefined;
  readonly protocol: string;
  readonly timeoutMs: number;
  /** Sends the question. */
  send(stream: WireStream): void;
  data(bytes: Uint8Array): void;
  /** The peer ended its writing side without an answer before. */
  ended(): void;
  /** Receives the answer, or why there is none. Called once. */
  answered(outcome: Result.Result<Answer, TransportError>): void;
  /** Nothing of the ask is left: its stream is closed, its timer cancelled. Called once, after `answered`. */
  over(): void;
}

/** An ask that is under way. */
export class AskStream<Answer> implements StreamListener {
  readonly #init: AskStreamInit<Answer>;
  readonly #timer: Timer;
  #giveUpDial: GiveUp | undefined;
  #stream: WireStream | undefined;
  #state: "asking" | "answered" | "over" = "asking";
  /** What the certificate of the connection proved that the peer was asked on; undefined: it was not asked. */
  identity: PeerIdentity | undefined;

  constructor(init: AskStreamInit<Answer>) {
    this.#init = init;
    const { peer, to, timeoutMs, parts: { clock, dialler } } = init;
    this.#timer = clock.after(timeoutMs, () => this.fail("timed-out", `no answer after ${timeoutMs} ms`));
    this.#giveUpDial = dialler.connect(peer, timeoutMs, (outcome) => {
      this.#giveUpDial = undefined;
      if (Result.isSuccess(outcome)) this.#open(outcome.success);
      else this.#end(outcome.failure);
    }, to);
  }

  #open(connection: WireConnection): void {
    const { protocol, parts: { established, streams } } = this.#init;
    this.identity = established.identityOf(connection);
    this.#stream = streams.open(connection, protocol, this);
    this.#init.send(this.#stream);
  }

  data(bytes: Uint8Array): void {
    if (this.#state === "asking") this.#init.data(bytes);
  }

  ended(): void {
    if (this.#state === "asking") this.#init.ended();
  }

  closed(how: StreamEnd, detail: string): void {
    this.#stream = undefined;
    this.#end(streamFailure(how, detail));
  }

  /** Ends our writing side; the peer closes the stream then. */
  endWriting(): void {
    this.#stream?.end();
  }

  /** The answer is there. Until the stream closes, the deadline holds. */
  answer(answer: Answer): void {
    if (this.#state !== "asking") return;
    this.#state = "answered";
    this.#init.answered(Result.succeed(answer));
  }

  /** Gives the ask up where it has no answer yet; after its answer its stream ends by itself. */
  giveUp(code: TransportError["code"], detail: string): void {
    if (this.#state === "asking") this.fail(code, detail);
  }

  /** Ends the ask: with this failure, where it has no answer yet. */
  fail(code: TransportError["code"], detail: string): void {
    this.#end(new TransportError({ code, detail }));
  }

  #end(error: TransportError): void {
    if (this.#state === "over") return;
    const isAnswered = this.#state === "answered";
    this.#state = "over";
    this.#init.parts.clock.cancel(this.#timer);
    this.#giveUpDial?.();
    this.#stream?.abort(error.detail);
    if (!isAnswered) this.#init.answered(Result.fail(error));
    this.#init.over();
  }
}
