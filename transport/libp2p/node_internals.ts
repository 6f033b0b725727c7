/**
 * What this transport uses of a libp2p node beyond its published types. Each accessor looks whether what it needs is there,
 * so that a new libp2p that moved it fails at start with its name and not somewhere later. Connections, listeners and
 * multiplexers: `connection_internals.ts`.
 *
 * @module
 */
import type {
  Connection,
  Libp2p,
  Libp2pEvents,
  PeerId,
  Stream,
  StreamHandler,
  TypedEventTarget,
} from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import type { Multiaddr } from "@multiformats/multiaddr";
import { type JoinsCircuits, joinWithBackPressure } from "./circuit_streams.ts";
import { tcpListenerOf } from "./connection_internals.ts";
import type { ReadsStreams } from "./gossip_reading.ts";
import { type OpensStreams, openStreamsApart } from "./gossip_streams.ts";
import { need, needMethods } from "./moved_internal.ts";
import type { TakesRpc } from "./priced_gossip.ts";
import { repeatIdentify } from "./repeated_identify.ts";
import { expireInTime, type ReservationStore } from "./reservation_expiry.ts";

/** A Kademlia message as `@libp2p/kad-dht` decodes it; `record` is the raw record. */
export interface KadDhtMessage {
  type: string;
  clusterLevel?: number;
  key?: Uint8Array;
  record?: Uint8Array;
  closer: { id: Uint8Array; multiaddrs: Uint8Array[] }[];
  providers: { id: Uint8Array; multiaddrs: Uint8Array[] }[];
}

/** Answers one type of Kademlia message. */
export interface KadHandler {
  handle(peer: PeerId, message: KadDhtMessage): Promise<KadDhtMessage | undefined>;
}

/** Takes a stream that a peer opened. */
export type TakesStream = (stream: Stream, connection: Connection) => void;

/** The inside of the DHT service. */
export interface KadInternals {
  /** By type of message. */
  readonly handlers: Record<string, KadHandler>;
  /** Replaces what takes Kademlia's streams. The DHT binds it when it begins to serve: before the start. */
  takeStreams(takes: TakesStream): void;
  /**
   * Keeps peers out of the routing table that do not serve the DHT. The library takes each peer that an answer names, dials it and
   * pings it; so every client would be linked with every other.
   */
  tableOnly(serves: (peer: PeerId) => Promise<boolean>): void;
  /** Peers of the routing table that are closest to a key, without a search. */
  closestPeersOffline(key: Uint8Array): Promise<{ id: PeerId; multiaddrs: Multiaddr[] }[]>;
}

/** The inside of gossipsub. It keeps one outbound stream for each peer. */
export interface GossipInternals extends ReadsStreams {
  /** Opens the outbound stream to a peer, over this connection, where there is none. */
  onPeerConnected(peer: PeerId, connection: Connection): void;
  /** Takes what a peer sent. */
  handleReceivedRpc: TakesRpc;
}

/** The relay client's reservations. */
export interface Reservations {
  /** `expire`: its end, in seconds since the epoch, by the relay's clock. */
  getReservation(relay: PeerId): { expire: bigint } | undefined;
  addRelay(relay: PeerId, type: "configured"): Promise<unknown>;
  /** Relays that could not be dialled, or had no relay service: they are not tried again, as long as the node runs. */
  readonly relayFilter: { remove(relay: Uint8Array): boolean };
  addEventListener(type: "relay:removed", listener: (event: CustomEvent<{ relay: PeerId }>) => void): void;
}

/** The reservations that a relay's server granted. */
export type GrantedReservations = Pick<ReservationStore, "removeReservation">;

/** How a node dials. */
export interface DialInternals {
  /** Whether a transport dials such addresses. */
  isReachable(address: Multiaddr): boolean;
  /** Whether there is a connection to the peer that the address names, it is this node, or the queue has a dial for it. */
  isKnown(address: Multiaddr): boolean;
  /** Dials by the transport alone. */
  direct(address: Multiaddr, signal: AbortSignal): Promise<Connection>;
  /** Dials by libp2p's queue. */
  queued(address: Multiaddr, signal: AbortSignal): Promise<Connection>;
  /** Notes the address of a connection for its peer. */
  remember(connection: Connection): Promise<unknown>;
}

/** The inside of a libp2p node. */
export interface NodeInternals {
  readonly events: TypedEventTarget<
    Libp2pEvents & { "kad-dht:query:self": CustomEvent; "transport:listening": CustomEvent }
  >;
  /**
   * Requests a reservation at a relay of a started node, and makes a listener for it. Call it once for each relay: the listener stays
   * where the relay refuses, since a close would end all reservations, and has the addresses of later ones (`addRelay`).
   */
  listenThrough(relay: PeerId, address: Multiaddr): Promise<void>;
  /**
   * Takes no more connections on sockets of its own; those there are stay. Closing a listener would end them.
   *
   * @returns What was listened on, with the ports that there were.
   */
  stopListening(): string[];
  /** Undefined where the node has no relay client. */
  readonly reservations: Reservations | undefined;
  /** Undefined where the node does not relay. */
  readonly granted: GrantedReservations | undefined;
  /** Replaces each handler that is registered from now on. Services register theirs when they start: before the start. */
  replaceHandlers(replace: (protocol: string, handler: StreamHandler) => StreamHandler): void;
  readonly kad: KadInternals;
  readonly gossip: GossipInternals;
  /** Drops addresses above this number from a peer's answer to identify before they are read. */
  limitIdentified(addressesMax: number): void;
  /** Sets the protocol's version in identify. */
  setProtocolVersion(version: string): void;
}

/**
 * Finds how a node dials.
 *
 * @throws {MovedInternal} naming what is missing.
 */
export function dialInternalsOf(
  libp2p: Pick<Libp2p, "dial" | "peerId" | "peerStore" | "getConnections">,
): DialInternals {
  // deno-lint-ignore no-explicit-any -- the point of this file
  const { components } = libp2p as any;
  const transports = need(components?.transportManager, "libp2p", "components.transportManager");
  needMethods(transports, "libp2p", "components.transportManager", ["dial", "dialTransportForMultiaddr"]);
  const manager: { getDialQueue(): readonly QueuedDial[] } = need(
    components.connectionManager,
    "libp2p",
    "components.connectionManager",
  );
  needMethods(manager, "libp2p", "components.connectionManager", ["getDialQueue"]);
  return {
    isReachable: (address) => transports.dialTransportForMultiaddr(address) !== undefined,
    isKnown: (address) => {
      const named = namedPeer(address);
      if (named === libp2p.peerId.toString()) return true;
      if (named !== undefined && libp2p.getConnections(peerIdFromString(named)).length > 0) return true;
      return manager.getDialQueue().some(({ peerId, multiaddrs }) =>
        (named !== undefined && peerId?.toString() === named) || multiaddrs.some((other) => other.equals(address))
      );
    },
    direct: (address, signal) => transports.dial(address, { signal }),
    queued: (address, signal) => libp2p.dial(address, { signal }),
    remember: ({ remotePeer, remoteAddr }) => libp2p.peerStore.merge(remotePeer, { multiaddrs: [remoteAddr] }),
  };
}

/** A dial in libp2p's queue. */
interface QueuedDial {
  readonly peerId?: PeerId;
  readonly multiaddrs: readonly Multiaddr[];
}

/** The peer that an address names last. */
export function namedPeer(address: Multiaddr): string | undefined {
  return address.getComponents().findLast(({ name }) => name === "p2p")?.value;
}

/** The types of messages that the DHT's own handlers answer: those that bring nothing to be kept. */
export const answeredTypes = ["FIND_NODE", "GET_PROVIDERS"] as const;

/** The relay's transport has this tag. */
const relayTag = "@libp2p/circuit-relay-v2-transport";

/**
 * Finds them in a node that was created and not yet started, and mends the libraries' defects there.
 *
 * @throws {MovedInternal} naming what is missing.
 */
export function internalsOf(libp2p: { readonly services: object }): NodeInternals {
  // deno-lint-ignore no-explicit-any -- the point of this file
  const { components, services } = libp2p as any;
  const { transportManager, events } = need(components, "libp2p", "components");
  needMethods(need(events, "libp2p", "components.events"), "libp2p", "components.events", ["addEventListener"]);
  const manager = need(transportManager, "libp2p", "components.transportManager");
  needMethods(manager, "libp2p", "components.transportManager", ["listen", "getTransports", "getListeners"]);
  const registrar = need(components.registrar, "libp2p", "components.registrar");
  needMethods(registrar, "libp2p", "components.registrar", ["handle"]);
  const dht = need(services.dht, "@libp2p/kad-dht", "service in a node that has one");
  const handlers: Record<string, KadHandler> = need(dht.rpc?.handlers, "@libp2p/kad-dht", "rpc.handlers");
  for (const type of answeredTypes) {
    needMethods(need(handlers[type], "@libp2p/kad-dht", `rpc.handlers.${type}`), "@libp2p/kad-dht", type, ["handle"]);
  }
  needMethods(dht.rpc, "@libp2p/kad-dht", "rpc", ["onIncomingStream"]);
  needMethods(dht, "@libp2p/kad-dht", "service", ["onPeerConnect"]);
  const gossip = gossipOf(services.pubsub);
  const routing = need(dht.peerRouting, "@libp2p/kad-dht", "peerRouting");
  needMethods(routing, "@libp2p/kad-dht", "peerRouting", ["getClosestPeersOffline"]);
  const relay = relayTransportOf(manager.getTransports());
  const host = need(services.identify?.host, "@libp2p/identify", "host in identify");
  needMethods(services.identify, "@libp2p/identify", "identify", ["_identify", "identify"]);
  const pushHost = need(services.identifyPush?.host, "@libp2p/identify", "host in identifyPush");
  const granted = grantedOf(services.relay);
  openStreamsApart(gossip);
  repeatIdentify(services.identify);
  return {
    events,
    stopListening: () => stopListening(manager.getListeners()),
    listenThrough: (relay, address) => listenThrough(manager, relay, address),
    reservations: relay?.reservationStore,
    granted,
    replaceHandlers: (replace) => {
      const handle = registrar.handle.bind(registrar);
      registrar.handle = async (protocol: string, handler: StreamHandler, options: unknown) =>
        await handle(protocol, replace(protocol, handler), options);
    },
    kad: {
      handlers,
      tableOnly: (serves) => {
        const add = dht.onPeerConnect.bind(dht);
        dht.onPeerConnect = async (peer: { readonly id: PeerId }) => {
          if (await serves(peer.id)) await add(peer);
        };
      },
      closestPeersOffline: (key) => routing.getClosestPeersOffline(key),
      takeStreams: (takes) => {
        dht.rpc.onIncomingStream = takes;
      },
    },
    gossip,
    limitIdentified: (addressesMax) => {
      const { identify } = services;
      const ask = identify._identify.bind(identify);
      identify._identify = async (...how: unknown[]) => {
        const answer = await ask(...how);
        return { ...answer, listenAddrs: answer.listenAddrs.slice(0, addressesMax) };
      };
    },
    setProtocolVersion: (version) => {
      host.protocolVersion = version;
      pushHost.protocolVersion = version;
    },
  };
}

function gossipOf(pubsub: GossipInternals & OpensStreams): GossipInternals & OpensStreams {
  needMethods(pubsub, "@libp2p/gossipsub", "service", [
    "onPeerConnected",
    "handleReceivedRpc",
    "createOutboundStream",
    "createInboundStream",
    "decodeRpc",
    "isStarted",
  ]);
  need(pubsub.peers, "@libp2p/gossipsub", "service.peers");
  need(pubsub.streamsInbound, "@libp2p/gossipsub", "service.streamsInbound");
  return pubsub;
}

/** The inside of the relay's transport. */
interface RelayTransport {
  readonly reservationStore: Reservations;
}

function relayTransportOf(transports: readonly object[]): RelayTransport | undefined {
  const relay = transports.find((transport) =>
    (transport as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] === relayTag
  ) as RelayTransport | undefined;
  if (relay === undefined) return undefined;
  const store = need(relay.reservationStore, "@libp2p/circuit-relay-v2", "reservationStore in the relay's transport");
  needMethods(store, "@libp2p/circuit-relay-v2", "reservationStore", [
    "getReservation",
    "addRelay",
    "addEventListener",
  ]);
  const filter = need(store.relayFilter, "@libp2p/circuit-relay-v2", "reservationStore.relayFilter");
  needMethods(filter, "@libp2p/circuit-relay-v2", "reservationStore.relayFilter", ["remove"]);
  return relay;
}

/** A relay's server keeps a reservation for its time, also of a peer that has left. */
function grantedOf(relay: JoinsCircuits & { readonly reservationStore?: ReservationStore } | undefined) {
  if (relay === undefined) return undefined;
  const store = need(relay.reservationStore, "@libp2p/circuit-relay-v2", "reservationStore in the relay's server");
  needMethods(store, "@libp2p/circuit-relay-v2", "reservationStore", ["get", "reserve", "removeReservation"]);
  need(store.reservationTtl, "@libp2p/circuit-relay-v2", "reservationStore.reservationTtl");
  needMethods(relay, "@libp2p/circuit-relay-v2", "server", ["handleConnect", "stopHop"]);
  const manager = "server.components.connectionManager";
  const connections = need(relay.components?.connectionManager, "@libp2p/circuit-relay-v2", manager);
  needMethods(connections, "@libp2p/circuit-relay-v2", manager, ["getConnections"]);
  expireInTime(store);
  joinWithBackPressure(relay);
  return store;
}

/** What is used of the transport manager. */
interface Listeners {
  listen(addresses: readonly Multiaddr[]): Promise<void>;
  getListeners(): readonly { relay?: PeerId }[];
}

/** A listener knows its relay by itself only after its first reservation, and no later one where that was refused. */
async function listenThrough(manager: Listeners, relay: PeerId, address: Multiaddr): Promise<void> {
  const before = manager.getListeners();
  const listening = manager.listen([address]);
  for (const listener of manager.getListeners()) {
    if (!before.includes(listener)) listener.relay = relay;
  }
  await listening;
}

function stopListening(listeners: readonly object[]): string[] {
  return listeners.filter((listener) => "server" in listener).flatMap((listener) => {
    const tcp = tcpListenerOf(listener);
    const listened = tcp.status.listeningAddr?.toString();
    const port = tcp.server.address()?.port;
    tcp.pause(true);
    return listened === undefined || port === undefined ? [] : [listened.replace(/\/tcp\/0$/, `/tcp/${port}`)];
  });
}
