/**
 * The wire of production: a libp2p node behind the port of the core.
 *
 * @module
 */
import type { Connection, ConnectionGater, ConnectionProtector, MultiaddrConnection, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { Result } from "effect";
import { HungUp, type Refusal } from "../../pki/refusal.ts";
import { withoutPeer } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import { priceOf } from "../core/prices.ts";
import {
  type ConnectionListener,
  type GiveUp,
  kadProtocol,
  type Wire,
  type WireConnection,
  type WireListener,
  type WireStarted,
  type WireTarget,
} from "../core/wire.ts";
import { type AddressText, type PeerText, TransportError, type TransportInput } from "../port.ts";
import type { KadMessage } from "../protocols/kad_record.ts";
import { type Libp2pConnection, Libp2pConnections } from "./connections.ts";
import { DirectDials } from "./direct_dials.ts";
import { limitedFirstMessage } from "./first_message_limit.ts";
import { refusalOfDialError } from "./dial_refusal.ts";
import { defaultFrameLimits, FrameBudgets } from "./frame_guard.ts";
import { GossipTopics } from "./gossip_topics.ts";
import { answerKad, type KadAnswer, searchClosest, searchPeer, servesDht } from "./kad_search.ts";
import { addressesPerPeerMax, limitKnownAddresses } from "./known_addresses.ts";
import { Listening } from "./listening.ts";
import { mtls } from "./mtls.ts";
import { endLostLinks } from "./older_links.ts";
import { createNode, type Node, protocolVersion, streamWindowMax } from "./node.ts";
import { dialTarget } from "./dial_target.ts";
import { dialInternalsOf, internalsOf, type NodeInternals } from "./node_internals.ts";
import { readInPace } from "./gossip_reading.ts";
import { pricedGossip } from "./priced_gossip.ts";
import { priced } from "./priced_protocols.ts";
import type { Meter } from "./meter.ts";
import { judged, type Permits } from "./served_protocols.ts";
import { libp2pStreamsMax } from "./streams.ts";

/** A node that was created, started or not. */
interface Running {
  readonly libp2p: Node;
  readonly internals: NodeInternals;
  readonly connections: Libp2pConnections;
  readonly gossip: GossipTopics;
  readonly direct: DirectDials;
  readonly listener: WireListener;
}

const stopped = () => new TransportError({ code: "stopped", detail: "it was stopped while it started" });

/** One start of libp2p, until its stop. */
export class Libp2pWire implements Wire {
  readonly meter: Meter = { received: 0, sent: 0 };
  readonly #input: TransportInput;
  readonly #clock: Clock;
  /** Relays that a listener exists for, also where they refused: it takes up every later reservation there by itself. */
  readonly #listening = new Set<PeerText>();
  /** Protocols whose streams go to the listener, which judges them. The DHT serves its own when it likes. */
  readonly #served = new Set<string>([kadProtocol]);
  /** Dials under way, which end with the wire. */
  readonly #dials = new Set<AbortController>();
  #running: Running | undefined;
  #starting: Promise<unknown> | undefined;
  #stopping: Promise<void> | undefined;
  #announced = "";

  /** Nothing is started yet. */
  constructor(input: TransportInput, clock: Clock) {
    this.#input = input;
    this.#clock = clock;
  }

  // ── Start and stop ──

  start(listener: WireListener, done: (started: Result.Result<WireStarted, TransportError>) => void): void {
    const starting = this.#start(listener);
    this.#starting = starting.catch(() => {});
    starting.then((started) => done(Result.succeed(started)), (error) => {
      const detail = error instanceof Error ? error.message : String(error);
      done(Result.fail(error instanceof TransportError ? error : new TransportError({ code: "failed", detail })));
    });
  }

  async #start(listener: WireListener): Promise<WireStarted> {
    const listening = new Listening();
    const { libp2p } = this.#running = await this.#create(listener, listening);
    if (this.#stopping !== undefined) throw stopped();
    const { listenAddresses } = this.#input;
    try {
      await libp2p.start();
    } catch (error) {
      await this.#end();
      throw listening.error(listenAddresses, "failed") ?? error;
    }
    const notListening = listening.error(listenAddresses, "started");
    if (notListening !== undefined) {
      await this.#end();
      throw notListening;
    }
    if (this.#stopping !== undefined) throw stopped();
    this.#lookAtAddresses();
    return {
      addresses: this.#addresses(),
      bound: [...listening.bound],
      left: listening.failures.map(({ address, why }) => `${address}: ${why}`),
    };
  }

  async #create(listener: WireListener, listening: Listening): Promise<Running> {
    const { keyExchange, now } = this.#input;
    const connections = new Libp2pConnections(this.#reporting(listener));
    const libp2p = await createNode(this.#input, {
      addresses: listener,
      listening,
      clock: this.#clock,
      gater: gaterOf(connections, listener),
      protector: protectorOf(connections),
      turnsAway: (address) => listener.turnsAway(address),
      encrypter: mtls({
        keyExchange,
        connections,
        now,
        meter: this.meter,
        frames: new FrameBudgets(
          { ...defaultFrameLimits, frameBytesMax: streamWindowMax },
          (peer, us) => listener.charge(peer, us),
        ),
      }),
    });
    limitKnownAddresses(libp2p.peerStore, libp2p.peerId);
    const internals = internalsOf(libp2p);
    internals.setProtocolVersion(protocolVersion);
    internals.limitIdentified(addressesPerPeerMax);
    const { gossip: pubsub } = internals;
    const charge = (peer: PeerText, us: number) => listener.charge(peer, us);
    readInPace(pubsub, pricedGossip(pubsub.handleReceivedRpc.bind(pubsub), { clock: this.#clock, charge }));
    const permits: Permits = (connection, act) => {
      const known = connections.of(connection);
      return known?.isOpen === true && listener.permits(known, act);
    };
    internals.replaceHandlers((protocol, handler) => {
      if (this.#served.has(protocol)) return handler;
      const taken = limitedFirstMessage(protocol, handler);
      // A stream that waited for its turn is judged again: the rules, or what its connection proved, may have changed.
      const later = judged(protocol, taken, permits);
      return judged(protocol, priced(protocol, { atOnce: taken, later }, listener), permits);
    });
    for (const protocol of this.#served) if (protocol !== kadProtocol) this.#handle(libp2p, protocol);
    internals.kad.takeStreams((stream, connection) => this.#receive(stream, connection, kadProtocol));
    internals.kad.tableOnly((peer) => servesDht({ libp2p, listener, peer }));
    libp2p.addEventListener("connection:open", ({ detail }) => {
      connections.opened(detail);
      const ofPeer = libp2p.getConnections(detail.remotePeer).map((each) => connections.of(each));
      endLostLinks(connections.of(detail), ofPeer, this.#clock);
    });
    internals.events.addEventListener("self:peer:update", () => this.#lookAtAddresses());
    internals.events.addEventListener("transport:listening", () => this.#lookAtAddresses());
    internals.events.addEventListener("kad-dht:query:self", () => this.#isUp() && listener.dhtReady());
    internals.reservations?.addEventListener("relay:removed", ({ detail: { relay } }) => {
      if (this.#isUp()) listener.reservationLost(relay.toString());
    });
    const gossip = new GossipTopics({
      pubsub: libp2p.services.pubsub,
      internals: internals.gossip,
      connections,
      clock: this.#clock,
      receives: (message) => listener.gossip(message),
    });
    const direct = new DirectDials(dialInternalsOf(libp2p), (address) => listener.mayDial(address));
    return { libp2p, internals, connections, gossip, listener, direct };
  }

  /** The listener of connections, which also hears here when one ends. */
  #reporting(listener: WireListener): ConnectionListener {
    return {
      turnsAway: (address) => listener.turnsAway(address),
      opening: (connection) => listener.opening(connection),
      securing: (connection) => listener.securing(connection),
      secured: (connection, tls) => listener.secured(connection, tls),
      opened: (connection) => listener.opened(connection),
      failed: (connection, refusal) => listener.failed(connection, refusal),
      broken: (connection, detail) => listener.broken(connection, detail),
      ended: (connection, end) => {
        listener.ended(connection, end);
        if (this.#isUp()) this.#running?.gossip.connectionEnded(connection as Libp2pConnection);
      },
    };
  }

  #isUp(): boolean {
    return this.#running !== undefined && this.#stopping === undefined;
  }

  stopListening(): readonly AddressText[] {
    return this.#running?.internals.stopListening() ?? [];
  }

  stop(done: () => void): void {
    this.#stopping ??= this.#stop();
    this.#stopping.then(done, done);
  }

  async #stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.yield(resolve)); // the closes of this turn begin first
    await this.#starting;
    await this.#end();
  }

  /** Ends what there is. Connections that are closing gently have their grace. */
  async #end(): Promise<void> {
    const { libp2p, connections } = this.#running ?? {};
    if (libp2p === undefined || connections === undefined) return;
    for (const dial of [...this.#dials]) dial.abort(new Error("the node stops"));
    await libp2p.stop();
    for (const connection of [...connections.all()]) {
      if (!connection.isClosing) connection.close("now", "the node stops");
    }
    await new Promise<void>((resolve) => connections.whenNone(resolve));
  }

  #node(): Running {
    if (this.#running === undefined) throw new Error("Cannot use a wire before its start has ended");
    return this.#running;
  }

  // ── Addresses ──

  #addresses(): AddressText[] {
    return this.#running?.libp2p.getMultiaddrs().map((address) => address.toString()) ?? [];
  }

  #lookAtAddresses(): void {
    const running = this.#running;
    if (running === undefined || this.#stopping !== undefined) return;
    const addresses = this.#addresses();
    const announced = addresses.join(" ");
    if (announced === this.#announced) return;
    this.#announced = announced;
    running.listener.addresses(addresses);
  }

  reserve(connection: WireConnection, done: (reserved: boolean) => void): void {
    this.#reserve(connection).then(() => done(true), () => done(false));
  }

  async #reserve(connection: WireConnection): Promise<void> {
    const { internals } = this.#node();
    const relay = (connection as Libp2pConnection).connection?.remotePeer;
    if (relay === undefined) throw new Error("the connection is not open");
    const kept = internals.reservations?.getReservation(relay);
    if (kept !== undefined) kept.expire = 0n; // libp2p renews only what ends soon, by a wall clock that may differ from the relay's
    internals.reservations?.relayFilter.remove(relay.toMultihash().bytes);
    const name = relay.toString();
    if (this.#listening.has(name)) {
      await internals.reservations?.addRelay(relay, "configured");
      return;
    }
    this.#listening.add(name);
    await internals.listenThrough(relay, multiaddr(`${withoutPeer(connection.address)}/p2p/${relay}/p2p-circuit`));
    this.#lookAtAddresses();
  }

  unreserve(peer: PeerText): void {
    this.#node().internals.granted?.removeReservation(peerIdFromString(peer));
  }

  // ── Dials ──

  dial(target: WireTarget, done: (outcome: Result.Result<WireConnection, Refusal>) => void): GiveUp {
    const controller = new AbortController();
    this.#dials.add(controller);
    let isGivenUp = false;
    const began = this.#clock.monotonic();
    const end = (outcome: Result.Result<WireConnection, Refusal>) => {
      this.#dials.delete(controller);
      if (!isGivenUp) done(outcome);
    };
    dialTarget(() => this.#node(), target, controller.signal).then((connection) => {
      const known = this.#running?.connections.of(connection);
      if (known?.isOpen === true) return end(Result.succeed(known));
      end(Result.fail(new HungUp({ detail: "the connection ended as soon as it was open" })));
    }, (error) => end(Result.fail(refusalOfDialError(error, Math.round(this.#clock.monotonic() - began)))));
    return () => {
      isGivenUp = true;
      controller.abort(new Error("the dial was given up"));
    };
  }

  addressesOf(peer: PeerText, done: (addresses: readonly AddressText[]) => void): void {
    const look = async () => {
      const { addresses } = await this.#node().libp2p.peerStore.get(peerIdFromString(peer));
      return addresses.map((known) => known.multiaddr.toString());
    };
    look().then(done, () => done([]));
  }

  findPeer(peer: PeerText, found: (addresses: readonly AddressText[]) => void, done: () => void): GiveUp {
    const { dht } = this.#node().libp2p.services;
    return searchPeer({ dht, peer: peerIdFromString(peer) }, found, done);
  }

  // ── Streams ──

  serve(protocol: string): void {
    if (this.#served.has(protocol)) return;
    this.#served.add(protocol);
    if (this.#running !== undefined) this.#handle(this.#running.libp2p, protocol);
  }

  #handle(libp2p: Node, protocol: string): void {
    const handled = libp2p.handle(
      protocol,
      (stream, connection) => this.#receive(stream, connection, protocol),
      {
        runOnLimitedConnection: true,
        maxInboundStreams: libp2pStreamsMax,
        maxOutboundStreams: libp2pStreamsMax,
        force: true,
      },
    );
    handled.catch(() => {}); // what may fail is the note in the peer store; the handler is in place
  }

  unserve(protocol: string): void {
    if (!this.#served.delete(protocol)) return;
    this.#node().libp2p.unhandle(protocol).catch(() => {}); // as above: the handler is gone
  }

  #receive(stream: Stream, connection: Connection, protocol: string): void {
    const running = this.#running;
    const known = running?.connections.of(connection);
    if (running === undefined || known === undefined) return stream.abort(new Error("the connection is not open"));
    running.listener.charge(connection.remotePeer.toString(), priceOf("stream"));
    known.receive(stream, protocol, (over, received) => running.listener.stream(over, received));
  }

  // ── Gossip and DHT ──

  subscribe(topic: string): void {
    this.#node().gossip.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#node().gossip.unsubscribe(topic);
  }

  publish(topic: string, bytes: Uint8Array, done: (outcome: Result.Result<void, TransportError>) => void): void {
    this.#node().gossip.publish(topic, bytes, done);
  }

  closestPeers(key: Uint8Array, done: (peers: readonly PeerText[]) => void): GiveUp {
    const { libp2p } = this.#node();
    return searchClosest({ dht: libp2p.services.dht, self: libp2p.peerId.toString(), key }, done);
  }

  kadAnswer(connection: WireConnection, message: KadMessage, done: (answer: KadAnswer) => void): void {
    const peer = (connection as Libp2pConnection).connection?.remotePeer;
    if (peer !== undefined) return answerKad({ kad: this.#node().internals.kad, peer, message }, done);
    const error = new TransportError({ code: "not-connected", detail: "the connection is not open" });
    this.#clock.soon(() => done(Result.fail(error)));
  }

  serveDht(serves: boolean): void {
    this.#node().libp2p.services.dht.setMode(serves ? "server" : "client").catch(() => {}); // as for handlers
  }
}

/** libp2p's connection gater: an inbound connection begins here, before a byte was read. */
function gaterOf(connections: Libp2pConnections, listener: WireListener): ConnectionGater {
  return {
    denyDialMultiaddr: (address) => !listener.mayDial(address.toString()),
    filterMultiaddrForPeer: (peer, address) => Promise.resolve(listener.mayKnow(peer.toString(), address.toString())),
    denyInboundConnection: (raw: MultiaddrConnection) =>
      connections.begin(raw, "inbound", { expectedPeer: undefined, read: "nothing" }).isRefused,
  };
}

/** libp2p's connection protector, which sees a dialled connection before its first byte: it begins here. */
function protectorOf(connections: Libp2pConnections): ConnectionProtector {
  return {
    protect: (stream) => {
      const raw = stream as MultiaddrConnection;
      if (raw.direction === "outbound" && connections.of(raw) === undefined) {
        const named = raw.remoteAddr.getComponents().at(-1);
        const expectedPeer = named?.name === "p2p" ? named.value : undefined;
        connections.begin(raw, "outbound", { expectedPeer, read: "nothing" });
      }
      return Promise.resolve(stream);
    },
  };
}
