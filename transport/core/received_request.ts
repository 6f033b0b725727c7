/**
 * A request of a peer: read whole from its stream, answered or declined on it.
 *
 * @module
 */
import type { MessageProtocol } from "../protocols/messages.ts";
import { requestMaxBytes } from "../protocols/mod.ts";
import type { Clock, Timer } from "./clock.ts";
import type { HeldBytes } from "./held_bytes.ts";
import { WholeMessage } from "./whole_message.ts";
import type { StreamListener, WireStream } from "./wire.ts";

/**
 * How long an exchange may take at the answering end, from the stream's opening to the answer, in milliseconds; the existing nodes
 * reset it then. An answer that is on its way may take as long once more.
 */
export const exchangeMaxMs = 10_000;

/** What a received request is made of. */
export interface ReceivedRequestInit {
  readonly protocol: MessageProtocol;
  readonly stream: WireStream;
  readonly clock: Clock;
  /** What it holds, beside the other streams of its peer. */
  readonly held: HeldBytes;
  /** The request has arrived whole: `take` gives it once its peer can afford it. */
  arrived(sizeBytes: number, take: () => void): void;
  /** It is the request's turn. */
  whole(bytes: Uint8Array): void;
  /** The request, or what its peer's streams hold together, is too large. It is reset. */
  tooLarge(detail: string): void;
  /** Nothing of it is left: its stream is closed or reset, its timer cancelled. Called once. */
  over(): void;
}

/** A request of a peer that is under way. */
export class ReceivedRequest implements StreamListener {
  readonly #init: ReceivedRequestInit;
  readonly #message: WholeMessage;
  #timer: Timer;
  #state: "reading" | "waiting" | "answering" | "over" = "reading";
  #isExtended = false;

  constructor(init: ReceivedRequestInit) {
    this.#init = init;
    this.#message = new WholeMessage(requestMaxBytes, init.held);
    this.#timer = init.clock.after(exchangeMaxMs, () => this.#late());
  }

  /** The protocol of its stream. */
  get protocol(): MessageProtocol {
    return this.#init.protocol;
  }

  data(bytes: Uint8Array): void {
    if (this.#state !== "reading") return;
    const error = this.#message.add(bytes);
    if (error !== undefined) this.tooLarge(error.detail);
  }

  /** Resets the stream: the request, or what its peer's streams hold together, is too large. */
  tooLarge(detail: string): void {
    if (this.#state === "over") return;
    this.#init.tooLarge(detail);
    this.abort(detail);
  }

  ended(): void {
    if (this.#state !== "reading") return;
    this.#state = "waiting";
    this.#init.arrived(this.#message.sizeBytes, () => {
      if (this.#state === "waiting") this.#init.whole(this.#message.take());
    });
  }

  closed(): void {
    this.#end();
  }

  /** Ends the stream, after an answer where one is given. */
  answer(bytes?: Uint8Array): void {
    if (this.#state !== "waiting") return;
    this.#state = "answering";
    this.#init.stream.end(bytes);
  }

  /** Resets the stream. */
  abort(detail: string): void {
    if (this.#state === "over") return;
    this.#init.stream.abort(detail);
    this.#end();
  }

  #late(): void {
    if (this.#state !== "answering" || this.#isExtended) return this.abort("not answered in time");
    this.#isExtended = true;
    this.#timer = this.#init.clock.after(exchangeMaxMs, () => this.#late());
  }

  #end(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#message.drop();
    this.#init.clock.cancel(this.#timer);
    this.#init.over();
  }
}
