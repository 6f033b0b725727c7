/**
 * Gossip by flooding: a message goes to every connected peer that subscribed to its topic, and on from each that accepts it.
 *
 * @module
 */
import { Result } from "effect";
import type { WireListener } from "../core/wire.ts";
import { type PeerText, TransportError } from "../port.ts";
import type { SimulatedConnection } from "./connection.ts";
import type { GossipFrame } from "./frames.ts";

/** How long a message is remembered, so that it is reported once, in milliseconds: as gossipsub does by default. */
const seenMs = 120_000;
/** Topics that a peer may subscribe to over one connection; further ones are ignored. */
const topicsMax = 64;

/** What gossip needs of its wire. */
export interface GossipOwner {
  readonly self: PeerText;
  readonly listener: WireListener;
  readonly uuid: () => string;
  /** One open connection of each peer. */
  eachPeer(): Iterable<readonly [PeerText, SimulatedConnection]>;
  /** Milliseconds that never go back. */
  monotonic(): number;
  later(task: () => void): void;
}

type MessageFrame = Extract<GossipFrame, { type: "gossip" }>;

/** The gossip of one wire. */
export class SimulatedGossip {
  readonly #owner: GossipOwner;
  readonly #topics = new Set<string>();
  readonly #ofPeers = new Map<PeerText, Set<string>>();
  /** Until when each is remembered. */
  readonly #seen = new Map<string, number>();

  constructor(owner: GossipOwner) {
    this.#owner = owner;
  }

  subscribe(topic: string): void {
    if (this.#topics.has(topic)) return;
    this.#topics.add(topic);
    this.#tellAll({ type: "gossip.topic", topic, isSubscribed: true });
  }

  unsubscribe(topic: string): void {
    if (this.#topics.delete(topic)) this.#tellAll({ type: "gossip.topic", topic, isSubscribed: false });
  }

  publish(topic: string, bytes: Uint8Array, done: (outcome: Result.Result<void, TransportError>) => void): void {
    const { self, uuid } = this.#owner;
    const message = { type: "gossip", id: uuid(), topic, author: self, signed: true, bytes: bytes.slice() } as const;
    this.#remember(message.id);
    const sent = this.#flood({ ...message, size: bytes.length }, self);
    if (sent > 0) return this.#owner.later(() => done(Result.succeed(undefined)));
    const error = new TransportError({ code: "not-connected", detail: "NoPeersSubscribedToTopic" });
    this.#owner.later(() => done(Result.fail(error)));
  }

  /** A connection was opened: its peer is told what this node subscribed to. */
  opened(connection: SimulatedConnection): void {
    for (const topic of this.#topics) connection.sendFrame({ type: "gossip.topic", topic, isSubscribed: true });
  }

  /** A peer has no connection any more. */
  left(peer: PeerText): void {
    this.#ofPeers.delete(peer);
  }

  received(connection: SimulatedConnection, frame: GossipFrame): void {
    const { peer } = connection;
    if (peer === undefined || !this.#owner.listener.permits(connection, "gossip")) return;
    if (frame.type === "gossip") return this.#message(peer, frame);
    const topics = this.#ofPeers.get(peer) ?? new Set();
    if (!frame.isSubscribed) topics.delete(frame.topic);
    else if (topics.size < topicsMax) this.#ofPeers.set(peer, topics.add(frame.topic));
  }

  #message(via: PeerText, frame: MessageFrame): void {
    const { self, listener } = this.#owner;
    const { id, topic, author, signed, bytes } = frame;
    this.#forget();
    if (!signed || author === self || !this.#topics.has(topic) || this.#seen.has(id)) return;
    this.#remember(id);
    let settled = false;
    listener.gossip({
      topic,
      author,
      via,
      bytes,
      settle: (verdict) => {
        if (settled) return;
        settled = true;
        if (verdict === "accept" && this.#topics.has(topic)) this.#flood(frame, via);
      },
    });
  }

  /** How many peers it was sent to. */
  #flood(frame: MessageFrame, from: PeerText): number {
    let sent = 0;
    for (const [peer, connection] of this.#owner.eachPeer()) {
      if (peer === from || peer === frame.author || this.#ofPeers.get(peer)?.has(frame.topic) !== true) continue;
      connection.sendFrame(frame);
      sent += 1;
    }
    return sent;
  }

  #tellAll(frame: GossipFrame): void {
    for (const [, connection] of this.#owner.eachPeer()) connection.sendFrame(frame);
  }

  #remember(id: string): void {
    this.#forget();
    this.#seen.set(id, this.#owner.monotonic() + seenMs);
  }

  #forget(): void {
    const now = this.#owner.monotonic();
    for (const [id, until] of this.#seen) {
      if (now < until) return; // the first one is the oldest
      this.#seen.delete(id);
    }
  }
}
