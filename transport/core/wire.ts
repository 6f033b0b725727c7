/**
 * What the core needs of a network: raw connections with TLS, streams over them, gossip and the search of the DHT. Two wires
 * implement it: libp2p (`transport/libp2p/`) and the virtual network (`transport/simulated/`).
 *
 * Rules of the port:
 *
 * 1. No promise crosses it. A verdict is the return value of a {@linkcode WireListener} method, and the wire obeys it before
 *    it reads another byte of that connection. Everything else is reported later, never inside the call that asked.
 * 2. A wire decides nothing about peers. It keeps the phase of its own connections and never sees a gate.
 * 3. Every stream reports `closed` once. Every dial, search, publication and reservation calls its `done` once, unless the
 *    caller gave it up first.
 * 4. On a stream `opened` comes before `data`, `ended` at most once after the last `data`, `closed` last. The streams of a
 *    connection close before the wire reports that the connection `ended`; after `ended` it reports nothing more of it.
 * 5. Bytes that are handed over belong to the receiver. A wire that keeps a sender's buffer beyond the call copies it.
 *
 * @module
 */
import type { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { Act } from "../authorization/acts.ts";
import type { AddressText, NodeIdentity, PeerText, TransportError } from "../port.ts";
import type { KadMessage } from "../protocols/kad_record.ts";

/** Kademlia's protocol: its inbound streams are the core's. */
export const kadProtocol = "/ipfs/kad/1.0.0";
/** How long a connection that is closed gently has to send what it still holds, in milliseconds. */
export const closeGraceMs = 500;

// ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * A raw connection and what runs over it. The object is the connection's identity: the core's table is keyed by it. It
 * exists from {@linkcode ConnectionListener.opening} until {@linkcode ConnectionListener.ended}.
 */
export interface WireConnection {
  /** Who dialled. */
  readonly direction: "inbound" | "outbound";
  /** The other end, as a multiaddr; for a relayed connection the circuit's address. */
  readonly address: AddressText;
  /** The relay that a relayed connection runs through; undefined for a direct one. */
  readonly relay: PeerText | undefined;
  /** The PeerID that was dialled, where one was named. */
  readonly expectedPeer: PeerText | undefined;
  /** Whether streams can be opened: from the call of `opened` on, and until either side begins to close. */
  readonly isOpen: boolean;
  /** Whether the wire itself carries work over the connection for others (a relayed circuit). */
  readonly isRelaying: boolean;
  /**
   * Opens a stream. Returns at once: what is sent before the protocol is agreed on waits. A stream that cannot be opened is
   * reported by `closed`, later.
   *
   * @param fallback Negotiated on the same stream if the other side does not support `protocol`. One negotiation sees one set of
   * supported protocols, even if the other side begins to serve another one meanwhile.
   */
  openStream(protocol: string, listener: StreamListener, fallback?: string): WireStream;
  /**
   * Closes the connection; {@linkcode ConnectionListener.ended} follows later. Calling it again is allowed, and `now` after
   * `gently` cuts the grace short.
   *
   * @param how `gently`: what was sent on streams that their user ended still leaves, within the wire's grace; no other stream ends
   * whole at the peer. `now`: at once.
   */
  close(how: "gently" | "now", detail: string): void;
}

/** How a stream came to its end. */
export type StreamEnd =
  /** Both sides had ended. */
  | "done"
  /** One side aborted it, or the wire did over a limit of its own. */
  | "reset"
  /** The other side does not speak the protocol. */
  | "unsupported"
  /** The verdict at the other side, or the wire's own limit: no more streams of this protocol. */
  | "too-many"
  /** The connection ended, or was never open. */
  | "connection";

/** A stream, as its user sees it. After `closed` every call is ignored. */
export interface WireStream {
  /** The negotiated protocol; before `opened` the preferred one. */
  readonly protocol: string;
  /**
   * Sends bytes; they are taken in any case. The bytes belong to the wire until `drained`, or for good when this returned
   * true.
   *
   * @returns Whether more is taken at once; false: wait for {@linkcode StreamListener.drained}.
   */
  send(bytes: Uint8Array): boolean;
  /** Ends the writing side, after `last` where given (one message, one frame). */
  end(last?: Uint8Array): void;
  /** Resets both directions. `closed` follows later, as `reset`. */
  abort(detail: string): void;
  /**
   * Stops `data` after the frame whose bytes are being reported. What is on its way is kept within the stream's window. `closed` waits for it, unless
   * the stream is reset; where the connection ends, what is kept is delivered first, paused or not.
   */
  pause(): void;
  /** Goes on with `data`, not inside this call. */
  resume(): void;
}

/** What a stream reports to its user. */
export interface StreamListener {
  /** Outbound only: the other side agreed to the protocol. */
  opened?(): void;
  /** Bytes arrived. */
  data(bytes: Uint8Array): void;
  /** The other side ended its writing side: what arrived is whole. */
  ended(): void;
  /** After `send` returned false: all of it has left, and more is taken. */
  drained?(): void;
  /** The stream is over; nothing follows. */
  closed(how: StreamEnd, detail: string): void;
}

/** How a connection ended. `refusal`: what the wire makes of an end before the connection was open. */
export interface ConnectionEnd {
  readonly by: "us" | "them" | "lost";
  readonly detail: string;
  readonly refusal?: Refusal;
}

/** The verdicts on connections, and the facts about them. `makeMtlsSecurity` needs no more than this. */
export interface ConnectionListener {
  /**
   * Whether an inbound attempt from this address is turned away before it becomes a connection. The listener has counted
   * and reported it then.
   */
  turnsAway(address: AddressText): boolean;
  /** A raw connection exists and nothing was read of it. False: the wire closes it. */
  opening(connection: WireConnection): boolean;
  /** TLS begins. The pair to show the peer; undefined: the wire closes the connection. */
  securing(connection: WireConnection): NodeIdentity | undefined;
  /**
   * The TLS handshake is complete.
   *
   * @param chain What the peer sent, leaf first, DER.
   * @returns Who the peer is; undefined: refused, the wire closes the connection.
   */
  secured(
    connection: WireConnection,
    tls: { readonly version: string; readonly chain: readonly Uint8Array[] },
  ): PeerIdentity | undefined;
  /** The multiplexer is agreed on: streams can be opened. False: the wire closes the connection. */
  opened(connection: WireConnection): boolean;
  /** Something failed before the connection was open (TLS, preamble, negotiation). The listener closes the connection. */
  failed(connection: WireConnection, refusal: Refusal): void;
  /** The peer broke the multiplexer's or the wire's rules on an open connection. The listener closes it. */
  broken(connection: WireConnection, detail: string): void;
  /** The connection is over. Reported once, for every connection that `opening` was called for. */
  ended(connection: WireConnection, end: ConnectionEnd): void;
}

// ── The wire ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Acts of services that the wire itself provides. */
export type ServiceAct = Extract<
  Act,
  "identify" | "ping" | "dcutr" | "gossip" | "relay.reserve" | "relay.connect"
>;

/** A message of gossip whose author's signature was verified. */
export interface GossipMessage {
  readonly topic: string;
  /** Whose signature it carries. */
  readonly author: PeerText;
  /** The connected peer that handed it on. */
  readonly via: PeerText;
  readonly bytes: Uint8Array;
  /** Whether it is handed on. Called once, inside the report or later. */
  settle(verdict: "accept" | "ignore" | "reject"): void;
}

/** Everything that a wire asks and reports. */
export interface WireListener extends ConnectionListener {
  /** A peer opened a stream of a protocol that is served. The protocol's reader, or why there is none: the wire resets it. */
  stream(connection: WireConnection, stream: WireStream): StreamListener | "unsupported" | "too-many" | "refused";
  /**
   * Work is about to be done for a peer, which pays for it: a stream that it opens, octets that arrive on one that it opened, a
   * message of its gossip to verify, a stream of a protocol that the wire serves itself (`prices.ts`, in microseconds).
   *
   * @returns How long the wire is to wait before it reads more from this peer, in milliseconds; 0: not at all.
   */
  charge(peer: PeerText, us: number): number;
  /** What was charged is given back: no member pays for the octets of circuits. */
  refund(peer: PeerText, us: number): void;
  /**
   * Charges work of a service that the wire itself provides and does it: at once where the peer can afford it and the turn has
   * room, else later. `owner` has one piece of work at a time.
   */
  inTurn(peer: PeerText, owner: object, us: number, task: () => void): void;
  /** Gives an owner's work up, if it still waits. */
  giveUp(peer: PeerText, owner: object): void;
  /**
   * Whether the peer of a connection may use a service that the wire itself provides. Asked for each stream (or what stands for
   * one) that a peer opens, before its first byte is read. False: the wire resets it.
   */
  permits(connection: WireConnection, act: ServiceAct): boolean;
  /** Whether a peer is connected that may serve the DHT. */
  mayServeDht(peer: PeerText): boolean;
  /** Whether an address may be dialled. One with a DNS name may; what the name resolves to is then an address of its own. */
  mayDial(address: AddressText): boolean;
  /** Whether an address is a configured gateway's, which is dialled wherever its name leads. */
  isConfigured(address: AddressText): boolean;
  /** Whether an address of a peer may be remembered. */
  mayKnow(peer: PeerText, address: AddressText): boolean;
  /** Which of this node's own addresses are announced. */
  announced(own: readonly AddressText[]): readonly AddressText[];
  /** A message arrived on a topic that is subscribed to. */
  gossip(message: GossipMessage): void;
  /** This node's announced addresses, at the start and whenever they changed. */
  addresses(own: readonly AddressText[]): void;
  /** A reservation at a relay ended. */
  reservationLost(relay: PeerText): void;
  /** The first search of the DHT for this node itself is over. */
  dhtReady(): void;
}

/** What a start of the wire came to. */
export interface WireStarted {
  /** Announced addresses, with `/p2p/…`. */
  readonly addresses: readonly AddressText[];
  /** What is listened on; where a port was left open, the port that there is. */
  readonly bound: readonly AddressText[];
  /** Addresses that the wire went on without. One sentence each. */
  readonly left: readonly string[];
}

/** The target of a dial: a peer, at addresses that the wire finds or is given, or an address. */
export type WireTarget =
  /**
   * `addresses`: try these; without them the wire uses those that it remembers. `fresh`: another connection, whatever there is
   * already: the peer may show another certificate on it.
   */
  | { readonly peer: PeerText; readonly addresses?: readonly AddressText[]; readonly fresh?: true }
  | { readonly address: AddressText };

/** Gives something up: its `done` is not called any more. */
export type GiveUp = () => void;

/** A network. Made for one start. */
export interface Wire {
  /** Octets of application data, since the start. */
  readonly meter: { readonly received: number; readonly sent: number };
  /** Starts it. On failure nothing is left over. */
  start(listener: WireListener, done: (started: Result.Result<WireStarted, TransportError>) => void): void;
  /** Accepts no more connections; those there are stay. Returns what was listened on, with the ports that there were. */
  stopListening(): readonly AddressText[];
  /** Ends everything that is left. Also a start that is under way: its `done` then fails. */
  stop(done: () => void): void;
  /**
   * Dials. `done` receives the connection once `opened` was accepted, or what went wrong as far as the wire knows (the core
   * knows its own refusals). An open connection to the target may be given back, or a dial under way joined.
   */
  dial(target: WireTarget, done: (outcome: Result.Result<WireConnection, Refusal>) => void): GiveUp;
  /** Addresses of a peer that the wire remembers. */
  addressesOf(peer: PeerText, done: (addresses: readonly AddressText[]) => void): void;
  /**
   * Searches the DHT for a peer's addresses, without those that the wire remembers. `found` receives the addresses of each answer, which
   * may be wrong; `done` is called at the end.
   */
  findPeer(peer: PeerText, found: (addresses: readonly AddressText[]) => void, done: () => void): GiveUp;
  /** Lets peers open streams of a protocol; before the start: from the first connection on. Serving a protocol twice does nothing. */
  serve(protocol: string): void;
  unserve(protocol: string): void;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Signs a message and hands it to the topic's peers. Fails with `not-connected` where there are none. */
  publish(topic: string, bytes: Uint8Array, done: (outcome: Result.Result<void, TransportError>) => void): void;
  /** Searches the DHT for the peers closest to a key; this node is not among them. */
  closestPeers(key: Uint8Array, done: (peers: readonly PeerText[]) => void): GiveUp;
  /**
   * Answers a Kademlia message as the DHT's library does, as far as it has nothing to do with records: a `GET_VALUE` is
   * answered with closer peers only, a `PUT_VALUE` is never passed. `undefined`: no answer.
   */
  kadAnswer(
    connection: WireConnection,
    message: KadMessage,
    done: (answer: Result.Result<KadMessage | undefined, TransportError>) => void,
  ): void;
  /** Whether this node answers Kademlia's questions, or only asks. */
  serveDht(serves: boolean): void;
  /** Asks the relay at the other end for a reservation, and listens through it. */
  reserve(connection: WireConnection, done: (reserved: boolean) => void): void;
  /** Takes a reservation back that this node granted a peer. */
  unreserve(peer: PeerText): void;
}
