/**
 * What this transport uses of a libp2p node beyond its published types. Each accessor looks whether what it needs is there,
 * so that a new libp2p that moved it fails at start with its name and not somewhere later. Connections, listeners and
 * multiplexers: `connection_internals.ts`.
 *
 * @module
 */
import type { Connection, Libp2pEvents, PeerId, Stream, StreamHandler, TypedEventTarget } from "@libp2p/interface";
import type { Multiaddr } from "@multiformats/multiaddr";
import { tcpListenerOf } from "./connection_internals.ts";
import { need, needMethods } from "./moved_internal.ts";
import type { TakesRpc } from "./priced_gossip.ts";

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
  /** Peers of the routing table that are closest to a key, without a search. */
  closestPeersOffline(key: Uint8Array): Promise<{ id: PeerId; multiaddrs: Multiaddr[] }[]>;
}

/** The inside of gossipsub. It keeps one outbound stream for each peer. */
export interface GossipInternals {
  /** Opens the outbound stream to a peer, over this connection, where there is none. */
  onPeerConnected(peer: PeerId, connection: Connection): void;
  /** Takes what a peer sent. Its stream is read on once that is done (`awaitRpcHandler`). */
  handleReceivedRpc: TakesRpc;
}

/** The relay client's reservations. */
export interface Reservations {
  hasReservation(relay: PeerId): boolean;
  addRelay(relay: PeerId, type: "configured"): Promise<unknown>;
  addEventListener(type: "relay:removed", listener: (event: CustomEvent<{ relay: PeerId }>) => void): void;
}

/** The reservations that a relay's server granted. */
export interface GrantedReservations {
  removeReservation(peer: PeerId): void;
}

/** The inside of a libp2p node. */
export interface NodeInternals {
  readonly events: TypedEventTarget<
    Libp2pEvents & { "kad-dht:query:self": CustomEvent; "transport:listening": CustomEvent }
  >;
  /** Listens on further addresses of a started node. */
  listen(addresses: Multiaddr[]): Promise<void>;
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

/** The types of messages that the DHT's own handlers answer: those that bring nothing to be kept. */
export const answeredTypes = ["FIND_NODE", "GET_PROVIDERS"] as const;

/** The relay's transport has this tag. */
const relayTag = "@libp2p/circuit-relay-v2-transport";

/**
 * Finds them in a node that was created, started or not.
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
  needMethods(services.pubsub, "@libp2p/gossipsub", "service", ["onPeerConnected", "handleReceivedRpc"]);
  const routing = need(dht.peerRouting, "@libp2p/kad-dht", "peerRouting");
  needMethods(routing, "@libp2p/kad-dht", "peerRouting", ["getClosestPeersOffline"]);
  const relay = relayTransportOf(manager.getTransports());
  const host = need(services.identify?.host, "@libp2p/identify", "host in identify");
  needMethods(services.identify, "@libp2p/identify", "identify", ["_identify"]);
  const pushHost = need(services.identifyPush?.host, "@libp2p/identify", "host in identifyPush");
  return {
    events,
    stopListening: () => stopListening(manager.getListeners()),
    listen: (addresses) => manager.listen(addresses),
    reservations: relay?.reservationStore,
    granted: grantedOf(services.relay),
    replaceHandlers: (replace) => {
      const handle = registrar.handle.bind(registrar);
      registrar.handle = async (protocol: string, handler: StreamHandler, options: unknown) =>
        await handle(protocol, replace(protocol, handler), options);
    },
    kad: {
      handlers,
      closestPeersOffline: (key) => routing.getClosestPeersOffline(key),
      takeStreams: (takes) => {
        dht.rpc.onIncomingStream = takes;
      },
    },
    gossip: services.pubsub,
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
    "hasReservation",
    "addRelay",
    "addEventListener",
  ]);
  return relay;
}

/** A relay's server keeps a reservation for its time, also of a peer that has left. */
function grantedOf(relay: { readonly reservationStore?: GrantedReservations } | undefined) {
  if (relay === undefined) return undefined;
  const store = need(relay.reservationStore, "@libp2p/circuit-relay-v2", "reservationStore in the relay's server");
  needMethods(store, "@libp2p/circuit-relay-v2", "reservationStore", ["removeReservation"]);
  return store;
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
