/**
 * The wire of virtual time: raw connections over a virtual network, with the verdicts and the order of libp2p.
 *
 * Left out on purpose: hole punching, dials of libp2p's own, and the messages of Kademlia's search and of identify, which a
 * directory of the run stands for.
 *
 * @module
 */
import { Result } from "effect";
import type { Refusal } from "../../pki/refusal.ts";
import { withoutPeer } from "../core/addresses.ts";
import type { Clock, Timer } from "../core/clock.ts";
import {
  type GiveUp,
  kadProtocol,
  type Wire,
  type WireConnection,
  type WireListener,
  type WireStarted,
  type WireTarget,
} from "../core/wire.ts";
import { type AddressText, type NodeIdentity, type PeerText, TransportError, type TransportInput } from "../port.ts";
import type { KadMessage } from "../protocols/kad_record.ts";
import { type ConnectionInit, type ConnectionOwner, SimulatedConnection, type StreamWork } from "./connection.ts";
import { type DialOwner, SimulatedDials } from "./dials.ts";
import type { DhtNode, Directory } from "./directory.ts";
import type { GossipFrame, RelayFrame } from "./frames.ts";
import { type GossipOwner, SimulatedGossip } from "./gossip.ts";
import type { LinkEnd, Listener, VirtualNetwork } from "./network.ts";
import { provesPossession } from "./possession.ts";
import { type RelayOwner, SimulatedRelay } from "./relay.ts";

/** How long a search of the DHT takes, in milliseconds: a few round trips. */
const searchMs = 12;
/** The first search, which begins with the first connection, takes longer. */
const firstSearchMs = 20;

/** A process on the virtual network. */
export interface SimulatedHost {
  readonly name: string;
  readonly network: VirtualNetwork;
  /** Of the process: nothing runs on it once the process has ended. */
  readonly clock: Clock;
  readonly directory: Directory;
  /** Where it dials from and listens, without the PeerID. */
  readonly address: AddressText;
  /** False: peers reach it through a relay only. */
  readonly isDialable?: boolean;
  /** The process has ended. */
  stopped: boolean;
  /** What a hostile host shows in a handshake, in place of the truth. */
  readonly pretends?: { readonly version?: string; readonly proven?: boolean };
  /** Sees the bytes of streams and of gossip that are handed over above the gates. */
  readonly watch?: (connection: SimulatedConnection, protocol: string, bytes: Uint8Array) => void;
  /** Sees what peers make it do. */
  readonly worked?: (work: WireWork) => void;
}

/** Something that a peer made a host do. */
export interface WireWork {
  /** The wire that did it: a host has one for each key. */
  readonly wire: object;
  readonly peer: PeerText;
  readonly stream: { readonly protocol: string };
  readonly what: StreamWork;
  readonly bytes: number;
}

/** What the wire needs of a transport's input. */
export type SimulatedWireInput = Pick<TransportInput, "identity" | "uuid" | "relay" | "externalAddresses">;

/** What a host's watch is told as the protocol of gossip. */
export const gossipProtocol = "gossip";

/** The wire of one start of a transport. */
export class SimulatedWire implements Wire, ConnectionOwner, DhtNode, DialOwner, GossipOwner, RelayOwner {
  readonly meter = { received: 0, sent: 0 };
  readonly self: PeerText;
  readonly clock: Clock;
  readonly uuid: () => string;
  readonly #host: SimulatedHost;
  readonly #input: SimulatedWireInput;
  #listener: WireListener | undefined;
  #listening: Listener | undefined;
  #isStopped = false;
  readonly #connections = new Set<SimulatedConnection>();
  /** Open connections by peer, the oldest first. */
  readonly #peers = new Map<PeerText, Set<SimulatedConnection>>();
  readonly #served = new Set<string>();
  readonly #gossip: SimulatedGossip;
  readonly #relay: SimulatedRelay;
  readonly #dials: SimulatedDials;
  #servesDht = false;
  #hasSearched = false;

  constructor(host: SimulatedHost, input: SimulatedWireInput, clock: Clock = host.clock) {
    this.#host = host;
    this.#input = input;
    this.clock = clock;
    this.uuid = input.uuid;
    this.self = input.identity.peer;
    this.#gossip = new SimulatedGossip(this);
    this.#relay = new SimulatedRelay(this);
    this.#dials = new SimulatedDials(this);
  }

  // ── Start and end ──

  start(listener: WireListener, done: (started: Result.Result<WireStarted, TransportError>) => void): void {
    const { network, address, name, directory, isDialable = true } = this.#host;
    this.#listener = listener;
    this.#listening = { host: name, accept: (link, from) => this.#acceptDirect(link, from) };
    if (isDialable) network.listen(address, this.#listening);
    directory.join(this);
    this.#announce();
    this.clock.soon(() => {
      if (this.#isStopped) {
        return done(Result.fail(new TransportError({ code: "stopped", detail: "it was stopped while it started" })));
      }
      done(Result.succeed({ addresses: this.#announced(), bound: isDialable ? [address] : [], left: [] }));
    });
  }

  stopListening(): readonly AddressText[] {
    const { network, address, isDialable = true } = this.#host;
    if (this.#listening !== undefined) network.unlisten(address, this.#listening);
    return isDialable ? [address] : [];
  }

  stop(done: () => void): void {
    this.#isStopped = true;
    this.stopListening();
    this.#host.directory.leave(this);
    this.#dials.stop();
    for (const connection of [...this.#connections]) connection.close("now", "this node stops");
    this.clock.soon(done);
  }

  // ── Asks of the core ──

  dial(target: WireTarget, done: (outcome: Result.Result<WireConnection, Refusal>) => void): GiveUp {
    return this.#dials.dial(target, done);
  }

  addressesOf(peer: PeerText, done: (addresses: readonly AddressText[]) => void): void {
    this.clock.soon(() => done(this.knownAddresses(peer)));
  }

  findPeer(peer: PeerText, found: (addresses: readonly AddressText[]) => void, done: () => void): GiveUp {
    return this.#search(() => found(this.#peers.size === 0 ? [] : this.knownAddresses(peer)), done);
  }

  serve(protocol: string): void {
    this.#served.add(protocol);
  }

  unserve(protocol: string): void {
    this.#served.delete(protocol);
  }

  subscribe(topic: string): void {
    this.#gossip.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#gossip.unsubscribe(topic);
  }

  publish(topic: string, bytes: Uint8Array, done: (outcome: Result.Result<void, TransportError>) => void): void {
    this.#gossip.publish(topic, bytes, done);
  }

  closestPeers(key: Uint8Array, done: (peers: readonly PeerText[]) => void): GiveUp {
    const wanted = key.slice();
    return this.#search(() => done(this.#host.directory.closestPeers(this, wanted)));
  }

  kadAnswer(
    _connection: WireConnection,
    { type, clusterLevel, key }: KadMessage,
    done: (answer: Result.Result<KadMessage | undefined, TransportError>) => void,
  ): void {
    const answer: KadMessage = {
      type,
      ...(clusterLevel === undefined ? {} : { clusterLevel }),
      ...(key === undefined ? {} : { key }),
      closer: [],
      providers: [],
    };
    this.clock.soon(() => done(Result.succeed(type === "ADD_PROVIDER" ? undefined : answer)));
  }

  serveDht(serves: boolean): void {
    this.#servesDht = serves;
  }

  reserve(connection: WireConnection, done: (reserved: boolean) => void): void {
    this.#relay.reserve(connection as SimulatedConnection, done);
  }

  unreserve(peer: PeerText): void {
    this.#relay.unreserve(peer);
  }

  // ── Of the directory ──

  get servesDht(): boolean {
    return this.#servesDht && !this.#host.stopped;
  }

  connectedPeers(): Iterable<PeerText> {
    return this.#peers.keys();
  }

  // ── Of connections ──

  get listener(): WireListener {
    if (this.#listener === undefined) throw new Error("Cannot use a wire that was not started");
    return this.#listener;
  }

  shows(identity: NodeIdentity): { readonly version: string; readonly proven: boolean } {
    const { version = "TLSv1.3", proven } = this.#host.pretends ?? {};
    return { version, proven: proven ?? provesPossession(identity) };
  }

  isServed(protocol: string): boolean {
    return protocol === kadProtocol ? this.#servesDht : this.#served.has(protocol);
  }

  delivers(connection: SimulatedConnection, protocol: string, bytes: Uint8Array): void {
    this.#host.watch?.(connection, protocol, bytes);
  }

  worked({ peer }: SimulatedConnection, stream: WireWork["stream"], what: StreamWork, bytes: number): void {
    if (peer !== undefined) this.#host.worked?.({ wire: this, peer, stream, what, bytes });
  }

  opened(connection: SimulatedConnection): void {
    const { peer } = connection;
    if (peer === undefined) return;
    const known = this.#peers.get(peer);
    if (known === undefined) this.#peers.set(peer, new Set([connection]));
    else known.add(connection);
    this.#gossip.opened(connection);
    if (this.#hasSearched) return;
    this.#hasSearched = true;
    this.clock.after(firstSearchMs, () => {
      if (!this.#isStopped) this.listener.dhtReady();
    });
  }

  gossip(connection: SimulatedConnection, frame: GossipFrame): void {
    if (frame.type === "gossip") {
      this.meter.received += frame.size;
      this.delivers(connection, gossipProtocol, frame.bytes);
    }
    this.#gossip.received(connection, frame);
  }

  relay(connection: SimulatedConnection, frame: RelayFrame): void {
    this.#relay.received(connection, frame);
  }

  left(connection: SimulatedConnection): void {
    const { peer } = connection;
    this.#connections.delete(connection);
    this.#relay.left(connection);
    const of = peer === undefined ? undefined : this.#peers.get(peer);
    if (peer === undefined || of?.delete(connection) !== true || of.size > 0) return;
    this.#peers.delete(peer);
    this.#gossip.left(peer);
  }

  // ── Of dials, gossip and relaying ──

  get isStopped(): boolean {
    return this.#isStopped;
  }

  get serves(): boolean {
    return this.#input.relay === "server";
  }

  mayDial(address: AddressText): boolean {
    return this.listener.mayDial(address);
  }

  knownAddresses(peer: PeerText): readonly AddressText[] {
    return this.#host.directory.addressesOf(peer).filter((address) => this.listener.mayKnow(peer, address));
  }

  open(peer: PeerText): SimulatedConnection | undefined {
    for (const connection of this.#peers.get(peer) ?? []) if (connection.isOpen) return connection;
    return undefined;
  }

  direct(peer: PeerText): SimulatedConnection | undefined {
    for (const connection of this.#peers.get(peer) ?? []) {
      if (connection.isOpen && connection.relay === undefined) return connection;
    }
    return undefined;
  }

  *eachPeer(): IterableIterator<readonly [PeerText, SimulatedConnection]> {
    for (const peer of this.#peers.keys()) {
      const connection = this.open(peer);
      if (connection !== undefined) yield [peer, connection];
    }
  }

  reach(address: AddressText, done: (link: LinkEnd | undefined, why: string) => void): void {
    const { network, name, address: from } = this.#host;
    network.dial(name, from, address, (link, why) => {
      if (this.#host.stopped) return link?.close("the process ended");
      done(link, why);
    });
  }

  circuit(
    over: SimulatedConnection,
    peer: PeerText,
    done: (link: Result.Result<LinkEnd, Refusal>) => void,
  ): void {
    this.#relay.connect(over, peer, done);
  }

  dialled(init: Omit<ConnectionInit, "createdAt" | "direction">): SimulatedConnection {
    return this.#connect({ ...init, direction: "outbound" });
  }

  accept(link: LinkEnd, over: SimulatedConnection, from: PeerText): void {
    const relay = over.peer;
    const address = `${withoutPeer(over.address)}/p2p/${relay}/p2p-circuit/p2p/${from}`;
    if (this.#isStopped) return link.close("the transport stopped");
    this.#connect({ link, address, relay, direction: "inbound", expectedPeer: undefined });
  }

  monotonic(): number {
    return this.clock.monotonic();
  }

  after(delayMs: number, task: () => void): Timer {
    return this.clock.after(delayMs, task);
  }

  cancel(timer: Timer | undefined): void {
    this.clock.cancel(timer);
  }

  later(task: () => void): void {
    this.clock.soon(task);
  }

  reservationsChanged(): void {
    this.#announce();
    this.clock.soon(() => this.listener.addresses(this.#announced()));
  }

  reservationLost(relay: PeerText): void {
    this.clock.soon(() => this.listener.reservationLost(relay));
  }

  // ── Inside ──

  #acceptDirect(link: LinkEnd, from: AddressText): void {
    if (this.#isStopped) return link.close("the transport stopped");
    if (this.listener.turnsAway(from)) return link.close("turned away");
    this.#connect({ link, address: from, relay: undefined, direction: "inbound", expectedPeer: undefined });
  }

  #connect(init: Omit<ConnectionInit, "createdAt">): SimulatedConnection {
    const connection = new SimulatedConnection(this, { ...init, createdAt: this.#host.network.time.now });
    this.#connections.add(connection);
    connection.begin();
    return connection;
  }

  #search(...steps: (() => void)[]): GiveUp {
    const timer = this.clock.after(searchMs, () => steps.forEach((step) => step()));
    return () => this.clock.cancel(timer);
  }

  /** Own addresses, with the PeerID. */
  #own(): readonly AddressText[] {
    const { address, isDialable = true } = this.#host;
    const relayed = [...this.#relay.relays].map((over) => `${withoutPeer(over.address)}/p2p/${over.peer}/p2p-circuit`);
    const direct = isDialable ? [address] : [];
    return [...direct, ...this.#input.externalAddresses, ...relayed].map((own) => `${own}/p2p/${this.self}`);
  }

  #announced(): readonly AddressText[] {
    return this.listener.announced(this.#own());
  }

  #announce(): void {
    this.#host.directory.announce(this, this.#announced());
  }
}
