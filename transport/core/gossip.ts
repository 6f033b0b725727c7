/**
 * Gossip: messages published on a topic, decoded, from authors that this node has verified.
 *
 * A message's author need not be a connected peer, and a revoked one's message may arrive through an honest peer. It is
 * handed on and delivered only when its author is verified here, not revoked and allowed to publish it; an author that is not
 * connected is dialled first, which sends it through the gate. Of one author some messages a second count, the others are ignored.
 * Any member may send an author's messages again after gossip has forgotten them: each counts once, and none long after its time limit.
 *
 * @module
 */
import { Result } from "effect";
import { type PeerText, type TransportAsk, TransportError } from "../port.ts";
import type { Instant } from "../protocols/messages.ts";
import { decodeWorkerRequest, encodeWorkerRequest } from "../protocols/mod.ts";
import { AuthorRates } from "./author_rates.ts";
import type { SessionParts } from "./parts.ts";
import { priceOf } from "./prices.ts";
import { WaitingMessages } from "./waiting_messages.ts";
import type { GossipMessage } from "./wire.ts";

/** Topics that may be subscribed to at once. */
export const topicsMax = 64;
/** Messages of one carrier that may wait until it can afford them; further ones are ignored. */
export const delayedMessagesMax = 64;

/** How long after its time limit a request counts, in milliseconds: clocks may be an hour apart (`docs/wire.md`). */
export const lateMaxMs = 3_600_000;
/** Messages that were taken and are remembered, each by its author and its request: those of an hour of nine authors that never rest. */
export const takenMax = 65_536;

/** The topics of a session. */
export class Gossip {
  readonly #parts: SessionParts;
  readonly #topics = new Set<string>();
  readonly #waiting = new WaitingMessages();
  /** Messages that wait until their carrier can afford them. */
  readonly #delayed = new Map<PeerText, number>();
  readonly #rates: AuthorRates;
  readonly #taken = new Set<string>();

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#rates = new AuthorRates(() => parts.clock.monotonic());
  }

  subscribe(topic: string): void {
    if (this.#topics.has(topic) || this.#topics.size >= topicsMax) return;
    this.#topics.add(topic);
    this.#parts.wire.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    if (this.#topics.delete(topic)) this.#parts.wire.unsubscribe(topic);
  }

  /** Publishes a message. With no peer to hand it to, that is `not-connected`. */
  publish({ id, topic, message, replyTo }: Extract<TransportAsk, { type: "publish" }>): void {
    const { wire, outbox } = this.#parts;
    const answer = (outcome: Result.Result<void, TransportError>) =>
      outbox.answer(
        replyTo,
        Result.isSuccess(outcome)
          ? { type: "publish.done", id }
          : { type: "publish.failed", id, error: outcome.failure },
      );
    const encoded = Result.try({
      try: () => encodeWorkerRequest(message),
      catch: (error) => new TransportError({ code: "failed", detail: String(error) }),
    });
    if (Result.isFailure(encoded)) return answer(Result.fail(encoded.failure));
    wire.publish(topic, encoded.success, answer);
  }

  /** Decides whether a message is delivered and handed on. The wire has verified its signature. */
  received(message: GossipMessage): void {
    const { via, topic, bytes } = message;
    const delayed = this.#delayed.get(via) ?? 0;
    if (!this.#topics.has(topic) || delayed >= delayedMessagesMax) return message.settle("ignore");
    this.#delayed.set(via, delayed + 1);
    this.#parts.work.run(via, message, priceOf("gossip", bytes.byteLength), () => {
      const left = (this.#delayed.get(via) ?? 1) - 1;
      if (left > 0) this.#delayed.set(via, left);
      else this.#delayed.delete(via);
      this.#judge(message);
    });
  }

  #judge(message: GossipMessage): void {
    const { verified, outbox, acts, clock } = this.#parts;
    const { topic, author, via, bytes } = message;
    if (!this.#topics.has(topic)) return message.settle("ignore"); // it may have been left meanwhile
    const decoded = decodeWorkerRequest(bytes);
    if (Result.isFailure(decoded)) return message.settle("reject");
    // Before the author's rate: it is not the author who sends them again.
    const { id, timeout } = decoded.success;
    const request = `${author} ${id}`;
    const isLate = msOf(timeout) + lateMaxMs < clock.now();
    if (isLate || this.#taken.has(request)) return message.settle("ignore");
    const leave = this.#waiting.take(via, author, bytes.byteLength);
    if (leave === undefined && verified.known(author).length === 0) return message.settle("ignore");
    verified.verify(author, (identities) => {
      leave?.();
      // The topic may have been left while the author was verified.
      if (!this.#topics.has(topic)) return message.settle("ignore");
      // The author acts. The peer that hands its message on is not guilty of it.
      const identity = acts.allowedOf("worker.request", identities);
      // Another copy may have been taken meanwhile.
      const isNew = identity !== undefined && !this.#taken.has(request);
      if (!isNew || !this.#rates.take(author)) return message.settle("ignore");
      this.#take(request);
      outbox.tell({ type: "published", topic, from: author, identity, via, message: decoded.success });
      message.settle("accept");
    });
  }

  #take(request: string): void {
    this.#taken.add(request);
    if (this.#taken.size > takenMax) this.#taken.delete(this.#taken.values().next().value as string);
  }
}

/** Milliseconds since the epoch. */
function msOf({ secs_since_epoch: seconds, nanos_since_epoch: nanos }: Instant): number {
  return seconds * 1_000 + nanos / 1_000_000;
}
