/**
 * Gossip over gossipsub: topics, publications, and streams that outlive the connection they began on.
 *
 * @module
 */
import { type GossipSub, type Message, TopicValidatorResult } from "@libp2p/gossipsub";
import type { PeerId } from "@libp2p/interface";
import { Result } from "effect";
import type { Clock } from "../core/clock.ts";
import type { GossipMessage } from "../core/wire.ts";
import { TransportError } from "../port.ts";
import type { Libp2pConnection, Libp2pConnections } from "./connections.ts";
import type { GossipInternals } from "./node_internals.ts";

const results = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
} as const;

/** What it is made with. */
export interface GossipTopicsInit {
  readonly pubsub: GossipSub;
  readonly internals: GossipInternals;
  readonly connections: Libp2pConnections;
  readonly clock: Pick<Clock, "yield">;
  readonly receives: (message: GossipMessage) => void;
}

/** The topics of one libp2p node. */
export class GossipTopics {
  readonly #init: GossipTopicsInit;

  /** No topic is subscribed to yet. */
  constructor(init: GossipTopicsInit) {
    this.#init = init;
  }

  subscribe(topic: string): void {
    const { pubsub } = this.#init;
    pubsub.topicValidators.set(topic, (via, message) => this.#validate(topic, via, message));
    pubsub.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    const { pubsub } = this.#init;
    pubsub.unsubscribe(topic);
    pubsub.topicValidators.delete(topic);
  }

  publish(topic: string, bytes: Uint8Array, done: (outcome: Result.Result<void, TransportError>) => void): void {
    const publication = async () => {
      await this.#init.pubsub.publish(topic, bytes);
    };
    publication().then(() => done(Result.succeed(undefined)), (error) => {
      const detail = (error instanceof Error ? error.message : String(error)).slice(0, 200);
      const code = /NoPeersSubscribed/.test(detail) ? "not-connected" : "failed";
      done(Result.fail(new TransportError({ code, detail })));
    });
  }

  /** gossipsub has verified the signature (strict signing). A message without one is rejected. */
  #validate(topic: string, via: PeerId, message: Message): Promise<TopicValidatorResult> {
    if (message.type !== "signed") return Promise.resolve(TopicValidatorResult.Reject);
    const { from, data } = message;
    return new Promise((resolve) => {
      this.#init.receives({
        topic,
        author: from.toString(),
        via: via.toString(),
        bytes: data,
        settle: (verdict) => resolve(results[verdict]),
      });
    });
  }

  /**
   * gossipsub keeps one outbound stream for each peer, on the connection where it began. When that connection ends while
   * another of the peer stays, gossipsub opens none over the other, and gossip to the peer would be lost for good.
   */
  connectionEnded({ connection: ended }: Libp2pConnection): void {
    if (ended === undefined) return;
    const { connections, clock, internals } = this.#init;
    // Later: gossipsub has to see first that its stream has closed.
    clock.yield(() => {
      const others = [...connections.all()].filter(({ isOpen, connection }) =>
        isOpen && connection?.remotePeer.equals(ended.remotePeer) === true
      );
      const { connection } = others.find(({ relay }) => relay === undefined) ?? others[0] ?? {};
      if (connection !== undefined) internals.onPeerConnected(connection.remotePeer, connection);
    });
  }
}
