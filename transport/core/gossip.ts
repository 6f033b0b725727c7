/**
 * Gossip: what is published on a topic, decoded, from authors that count here.
 *
 * A message's author need not be a connected peer, and a revoked one's message may arrive through an honest peer. It is
 * handed on and delivered only when its author is verified here and not revoked; an author that is not connected is
 * dialled first, which sends it through the gate.
 *
 * @module
 */
import { type Message as GossipMessage, TopicValidatorResult } from "@libp2p/gossipsub";
import type { PeerId } from "@libp2p/interface";
import { Result } from "effect";
import { type TransportAsk, TransportError } from "../port.ts";
import { decodeWorkerRequest, encodeWorkerRequest } from "../protocols/mod.ts";
import type { SessionParts } from "./requests.ts";
import type { VerifiedPeers } from "./verified_peers.ts";

/** Topics that may be subscribed to at once. */
export const topicsMax = 64;

/** The topics of a session. */
export class Gossip {
  readonly #parts: SessionParts;
  readonly #verified: VerifiedPeers;
  readonly #topics = new Set<string>();

  constructor(parts: SessionParts, verified: VerifiedPeers) {
    this.#parts = parts;
    this.#verified = verified;
  }

  subscribe(topic: string): void {
    if (this.#topics.has(topic) || this.#topics.size >= topicsMax) return;
    this.#topics.add(topic);
    const { pubsub } = this.#parts.libp2p.services;
    pubsub.topicValidators.set(topic, (via, message) => this.#validate(topic, via, message));
    pubsub.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    if (!this.#topics.delete(topic)) return;
    const { pubsub } = this.#parts.libp2p.services;
    pubsub.unsubscribe(topic);
    pubsub.topicValidators.delete(topic);
  }

  publish({ id, topic, message, replyTo }: Extract<TransportAsk, { type: "publish" }>): void {
    const { libp2p, outbox } = this.#parts;
    const failed = (error: unknown) => {
      const detail = error instanceof Error ? error.message : String(error);
      const code = /NoPeersSubscribed/.test(detail) ? "not-connected" : "failed";
      outbox.answer(replyTo, { type: "publish.failed", id, error: new TransportError({ code, detail }) });
    };
    try {
      libp2p.services.pubsub.publish(topic, encodeWorkerRequest(message)).then(
        () => outbox.answer(replyTo, { type: "publish.done", id }),
        failed,
      );
    } catch (error) {
      failed(error);
    }
  }

  /** Decides whether a message is delivered and handed on. gossipsub has verified its signature (strict signing). */
  async #validate(topic: string, via: PeerId, message: GossipMessage): Promise<TopicValidatorResult> {
    if (message.type !== "signed") return TopicValidatorResult.Reject;
    const decoded = decodeWorkerRequest(message.data);
    if (Result.isFailure(decoded)) return TopicValidatorResult.Reject;
    const from = message.from.toString();
    if (!(await this.#verified.verify(from)) || !this.#topics.has(topic)) return TopicValidatorResult.Ignore;
    this.#parts.outbox.tell({ type: "published", topic, from, via: via.toString(), message: decoded.success });
    return TopicValidatorResult.Accept;
  }
}
