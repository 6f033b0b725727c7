/**
 * How many streams of a protocol may be open on a connection, in each direction.
 *
 * @module
 */
import type { Clock } from "./clock.ts";
import type { OpensStreams } from "./parts.ts";
import type { StreamListener, WireConnection, WireStream } from "./wire.ts";

/** Streams of one protocol that a connection may have open in each direction (libp2p: 32 and 64). */
export const streamsPerProtocolMax = 256;

/** A verdict on a stream that a peer opened. */
export type StreamVerdict = StreamListener | "unsupported" | "too-many" | "refused";

/** Counts the streams of all connections. */
export class StreamPlaces implements OpensStreams {
  readonly #clock: Pick<Clock, "soon">;
  /** By connection, then by direction and protocol. A connection without streams has no entry. */
  readonly #taken = new Map<WireConnection, Map<string, number>>();

  /** No stream is open yet. */
  constructor(clock: Pick<Clock, "soon">) {
    this.#clock = clock;
  }

  /** Whether a stream is open on a connection, of a protocol that `counts` accepts. */
  isBusy(connection: WireConnection, counts: (protocol: string) => boolean): boolean {
    for (const place of this.#taken.get(connection)?.keys() ?? []) {
      if (counts(place.slice(place.indexOf(" ") + 1))) return true;
    }
    return false;
  }

  open(connection: WireConnection, protocol: string, listener: StreamListener): WireStream {
    const leave = this.#take(connection, `out ${protocol}`);
    if (leave !== undefined) return connection.openStream(protocol, leaving(listener, leave));
    this.#clock.soon(() => listener.closed("too-many", `already ${streamsPerProtocolMax} streams of ${protocol}`));
    return noStream(protocol);
  }

  /** Takes a place for a stream that a peer opened, asks `accept` for its listener, and gives the place back at its end. */
  received(connection: WireConnection, protocol: string, accept: () => StreamVerdict): StreamVerdict {
    const leave = this.#take(connection, `in ${protocol}`);
    if (leave === undefined) return "too-many";
    const verdict = accept();
    if (typeof verdict !== "string") return leaving(verdict, leave);
    leave();
    return verdict;
  }

  #take(connection: WireConnection, place: string): (() => void) | undefined {
    const places = this.#taken.get(connection) ?? new Map<string, number>();
    const taken = places.get(place) ?? 0;
    if (taken >= streamsPerProtocolMax) return undefined;
    this.#taken.set(connection, places.set(place, taken + 1));
    return () => {
      const left = (places.get(place) ?? 1) - 1;
      if (left > 0) return void places.set(place, left);
      places.delete(place);
      if (places.size === 0 && this.#taken.get(connection) === places) this.#taken.delete(connection);
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
