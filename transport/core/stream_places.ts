/**
 * How many streams a peer may have open, in each direction, over all its connections.
 *
 * @module
 */
import type { PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { OpensStreams } from "./parts.ts";
import { kadProtocol, type StreamListener, type WireConnection, type WireStream } from "./wire.ts";

/** Streams that a peer may have open in each direction, beside those of Kademlia. */
export const streamsPerPeerMax = 128;
/** Streams of Kademlia that it may have open in each direction. */
export const kadStreamsPerPeerMax = 64;

/** Whether a protocol is this network's own: members use it for their work, and not to find each other. */
export const isOwnProtocol = (protocol: string): boolean => protocol.startsWith("/hypha-");

/** A verdict on a stream that a peer opened. */
export type StreamVerdict = StreamListener | "unsupported" | "too-many" | "refused";

/** Where a stream counts: streams of Kademlia leave places for all others. */
type Kind = "in" | "out" | "in kad" | "out kad";

/** Counts the streams of all peers. */
export class StreamPlaces implements OpensStreams {
  readonly #clock: Pick<Clock, "soon" | "monotonic">;
  readonly #peerOf: (connection: WireConnection) => PeerText | undefined;
  /** By peer, then by kind. A peer without streams has no entry. */
  readonly #peers = new Map<PeerText, Map<Kind, number>>();
  /** How many of each protocol a connection has open. A connection without streams has no entry. */
  readonly #connections = new Map<WireConnection, Map<string, number>>();
  /** When the last stream of an own protocol began or ended on a connection, or the connection was established. */
  readonly #usedAt = new WeakMap<WireConnection, number>();

  /** No stream is open yet. */
  constructor(clock: Pick<Clock, "soon" | "monotonic">, peerOf: (connection: WireConnection) => PeerText | undefined) {
    this.#clock = clock;
    this.#peerOf = peerOf;
  }

  /** Peers and connections that have a stream open. */
  get counts(): { readonly peers: number; readonly connections: number } {
    return { peers: this.#peers.size, connections: this.#connections.size };
  }

  /** A connection was established. */
  established(connection: WireConnection): void {
    this.#usedAt.set(connection, this.#clock.monotonic());
  }

  /** Whether a stream of an own protocol is open on a connection. */
  isUsed(connection: WireConnection): boolean {
    return this.#connections.get(connection)?.keys().some(isOwnProtocol) ?? false;
  }

  /** When a connection was used last, by the clock's monotonic time in milliseconds. */
  usedAt(connection: WireConnection): number {
    return this.#usedAt.get(connection) ?? Number.NEGATIVE_INFINITY;
  }

  open(connection: WireConnection, protocol: string, listener: StreamListener, fallback?: string): WireStream {
    const leave = this.#take(connection, "out", protocol);
    if (leave !== undefined) return connection.openStream(protocol, leaving(listener, leave), fallback);
    const detail = `already ${
      protocol === kadProtocol ? kadStreamsPerPeerMax : streamsPerPeerMax
    } streams to this peer`;
    this.#clock.soon(() => listener.closed("too-many", detail));
    return noStream(protocol);
  }

  /** Takes a place for a stream that a peer opened, asks `accept` for its listener, and gives the place back at its end. */
  received(connection: WireConnection, protocol: string, accept: () => StreamVerdict): StreamVerdict {
    const leave = this.#take(connection, "in", protocol);
    if (leave === undefined) return "too-many";
    const verdict = accept();
    if (typeof verdict !== "string") return leaving(verdict, leave);
    leave();
    return verdict;
  }

  #take(connection: WireConnection, direction: "in" | "out", protocol: string): (() => void) | undefined {
    const peer = this.#peerOf(connection) ?? "";
    const isKad = protocol === kadProtocol;
    const kind: Kind = isKad ? `${direction} kad` : direction;
    const taken = this.#peers.get(peer)?.get(kind) ?? 0;
    if (taken >= (isKad ? kadStreamsPerPeerMax : streamsPerPeerMax)) return undefined;
    const leavePeer = count(this.#peers, peer, kind);
    const leaveConnection = count(this.#connections, connection, protocol);
    const use = () => void (isOwnProtocol(protocol) && this.#usedAt.set(connection, this.#clock.monotonic()));
    use();
    return () => {
      use();
      leavePeer();
      leaveConnection();
    };
  }
}

/** Counts one more of a kind. Returns how to count one less. */
function count<Owner, Kind>(counts: Map<Owner, Map<Kind, number>>, owner: Owner, kind: Kind): () => void {
  const ofOwner = counts.get(owner) ?? new Map<Kind, number>();
  counts.set(owner, ofOwner.set(kind, (ofOwner.get(kind) ?? 0) + 1));
  return () => {
    const left = (ofOwner.get(kind) ?? 1) - 1;
    if (left > 0) return void ofOwner.set(kind, left);
    ofOwner.delete(kind);
    if (ofOwner.size === 0) counts.delete(owner);
  };
}

/** The same listener, which leaves its place at the end of the stream. */
function leaving(listener: StreamListener, leave: () => void): StreamListener {
  return {
    // A wire acknowledges a stream only to a listener that waits for it.
    ...(listener.opened === undefined ? {} : { opened: () => listener.opened?.() }),
    data: (bytes) => listener.data(bytes),
    ended: () => listener.ended(),
    drained: () => listener.drained?.(),
    closed: (how, detail) => {
      leave();
      listener.closed(how, detail);
    },
  };
}

/** A stream that was never opened: everything is ignored, and its listener gets `closed`. */
function noStream(protocol: string): WireStream {
  const nothing = () => {};
  return { protocol, send: () => true, end: nothing, abort: nothing, pause: nothing, resume: nothing };
}
