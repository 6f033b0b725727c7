/**
 * Connections and a wire that a test plays.
 *
 * @module
 */
import type {
  ConnectionEnd,
  ConnectionListener,
  StreamListener,
  Wire,
  WireConnection,
  WireStream,
} from "../../transport/core/wire.ts";

/** A raw connection; what the core does to it is noted. */
export class FakeConnection implements WireConnection {
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  readonly relay: string | undefined;
  readonly expectedPeer: string | undefined;
  isOpen = false;
  isRelaying = false;
  /** How it was closed, in order. */
  readonly closes: ("gently" | "now")[] = [];
  /** Why, in the same order. */
  readonly details: string[] = [];
  readonly opened: { readonly protocol: string; readonly listener: StreamListener }[] = [];

  constructor(about: Partial<Pick<WireConnection, "direction" | "address" | "relay" | "expectedPeer">> = {}) {
    this.direction = about.direction ?? "inbound";
    this.address = about.address ?? "/ip4/192.0.2.1/tcp/4001";
    this.relay = about.relay;
    this.expectedPeer = about.expectedPeer;
  }

  openStream(protocol: string, listener: StreamListener): WireStream {
    this.opened.push({ protocol, listener });
    return silentStream(protocol);
  }
  close(how: "gently" | "now", detail: string): void {
    this.closes.push(how);
    this.details.push(detail);
    this.isOpen = false;
  }

  /** Plays the wire up to `opened`, for a peer with this certificate. Returns whether it stands. */
  stand(listener: ConnectionListener, chain: readonly Uint8Array[]): boolean {
    if (!listener.opening(this)) return false;
    if (listener.securing(this) === undefined) return false;
    if (listener.secured(this, { version: "TLSv1.3", chain }) === undefined) return false;
    this.isOpen = true;
    if (listener.opened(this)) return true;
    this.isOpen = false;
    return false;
  }

  /** Plays its end. */
  end(listener: ConnectionListener, end: ConnectionEnd = { by: "them", detail: "it ended" }): void {
    this.isOpen = false;
    listener.ended(this, end);
  }
}

/** A stream on which nothing happens. */
export function silentStream(protocol: string): WireStream {
  const nothing = () => {};
  return { protocol, send: () => true, end: nothing, abort: nothing, pause: nothing, resume: nothing };
}

/** A wire that does nothing but what `parts` says. */
export function fakeWire(parts: Partial<Wire>): Wire {
  const nothing = () => {};
  const givesUp = () => nothing;
  return {
    meter: { received: 0, sent: 0 },
    start: nothing,
    stopListening: () => [],
    stop: (done) => done(),
    dial: givesUp,
    addressesOf: (_peer, done) => done([]),
    findPeer: givesUp,
    serve: nothing,
    unserve: nothing,
    subscribe: nothing,
    unsubscribe: nothing,
    publish: nothing,
    closestPeers: givesUp,
    kadAnswer: nothing,
    serveDht: nothing,
    reserve: nothing,
    unreserve: nothing,
    ...parts,
  };
}
