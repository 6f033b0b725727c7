/**
 * How many streams a peer may have open, in each direction, over all its connections.
 *
 * @module
 */
import type { PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { OpensStreams } from "./parts.ts";
import { kadProtocol, type StreamListener, type WireConnection, type WireStream } from "./wire.ts";

/** Streams that a peer may have open in each direction. */
export const streamsPerPeerMax = 128;
/** Of these, streams of Kademlia. */
export const kadStreamsPerPeerMax = 64;

/** A verdict on a stream that a peer opened. */
export type StreamVerdict = StreamListener | "unsupported" | "too-many" | "refused";

type Direction = "in" | "out";

/** What a peer has open, in each direction. */
interface Taken {
  readonly in: Counts;
  readonly out: Counts;
}
interface Counts {
  all: number;
  kad: number;
}

/** Counts the streams of all peers. */
export class StreamPlaces implements OpensStreams {
  readonly #clock: Pick<Clock, "soon">;
  readonly #peerOf: (connection: WireConnection) => PeerText | undefined;
  /** A peer without streams has no entry. */
  readonly #peers = new Map<PeerText, Taken>();
  /** How many of each protocol a connection has open. A connection without streams has no entry. */
  readonly #connections = new Map<WireConnection, Map<string, number>>();

  /** No stream is open yet. */
  constructor(clock: Pick<Clock, "soon">, peerOf: (connection: WireConnection) => PeerText | undefined) {
    this.#clock = clock;
    this.#peerOf = peerOf;
  }

  /** Whether a stream is open on a connection, of a protocol that `counts` accepts. */
  isBusy(connection: WireConnection, counts: (protocol: string) => boolean): boolean {
    for (const protocol of this.#connections.get(connection)?.keys() ?? []) if (counts(protocol)) return true;
    return false;
  }

  open(connection: WireConnection, protocol: string, listener: StreamListener): WireStream {
    const leave = this.#take(connection, "out", protocol);
    if (leave !== undefined) return connection.openStream(protocol, leaving(listener, leave));
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

  #take(connection: WireConnection, direction: Direction, protocol: string): (() => void) | undefined {
    const peer = this.#peerOf(connection) ?? "";
    const taken = this.#peers.get(peer) ?? { in: { all: 0, kad: 0 }, out: { all: 0, kad: 0 } };
    const counts = taken[direction];
    const kad = protocol === kadProtocol ? 1 : 0;
    if (counts.all >= streamsPerPeerMax || counts.kad + kad > kadStreamsPerPeerMax) return undefined;
    counts.all += 1;
    counts.kad += kad;
    this.#peers.set(peer, taken);
    const leave = this.#enter(connection, protocol);
    return () => {
      counts.all -= 1;
      counts.kad -= kad;
      if (taken.in.all === 0 && taken.out.all === 0) this.#peers.delete(peer);
      leave();
    };
  }

  #enter(connection: WireConnection, protocol: string): () => void {
    const open = this.#connections.get(connection) ?? new Map<string, number>();
    this.#connections.set(connection, open.set(protocol, (open.get(protocol) ?? 0) + 1));
    return () => {
      const left = (open.get(protocol) ?? 1) - 1;
      if (left > 0) return void open.set(protocol, left);
      open.delete(protocol);
      if (open.size === 0 && this.#connections.get(connection) === open) this.#connections.delete(connection);
    };
  }
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
