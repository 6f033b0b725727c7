/**
 * What this transport uses of a libp2p node beyond its published types. Each accessor looks whether what it needs is there,
 * so that a new libp2p that moved it fails at start with its name and not somewhere later. Connections, listeners and
 * multiplexers: `connection_internals.ts`.
 *
 * @module
 */
import type { Libp2pEvents, PeerId, TypedEventTarget } from "@libp2p/interface";
import type { Multiaddr } from "@multiformats/multiaddr";
import { tcpListenerOf } from "./connection_internals.ts";
import { need, needMethods } from "./moved_internal.ts";

/** A Kademlia message as `@libp2p/kad-dht` decodes it; `record` is the raw record. */
export interface KadMessage {
  type: string;
  clusterLevel?: number;
  key?: Uint8Array;
  record?: Uint8Array;
  closer: { id: Uint8Array; multiaddrs: Uint8Array[] }[];
  providers: { id: Uint8Array; multiaddrs: Uint8Array[] }[];
}

/** Answers one type of Kademlia message. */
export interface KadHandler {
  handle(peer: PeerId, message: KadMessage): Promise<KadMessage | undefined>;
}

/** The inside of the DHT service. */
export interface KadInternals {
  readonly handlers: Record<string, KadHandler>;
  /** Peers of the routing table that are closest to a key, without asking anybody. */
  closestPeersOffline(key: Uint8Array): Promise<{ id: PeerId; multiaddrs: Multiaddr[] }[]>;
  readonly routingTable: { readonly size: number };
}

/** The relay client's reservations. */
export interface Reservations {
  hasReservation(relay: PeerId): boolean;
  addRelay(relay: PeerId, type: "configured"): Promise<unknown>;
  addEventListener(type: "relay:removed", listener: (event: CustomEvent<{ relay: PeerId }>) => void): void;
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
  readonly kad: KadInternals;
  /** Sets what identify says of the protocol's version. */
  setProtocolVersion(version: string): void;
}

/** What tells the relay's transport from others. */
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
  const dht = need(services.dht, "@libp2p/kad-dht", "service in a node that has one");
  const handlers: Record<string, KadHandler> = need(dht.rpc?.handlers, "@libp2p/kad-dht", "rpc.handlers");
  for (const type of ["PUT_VALUE", "GET_VALUE"]) {
    needMethods(need(handlers[type], "@libp2p/kad-dht", `rpc.handlers.${type}`), "@libp2p/kad-dht", type, ["handle"]);
  }
  const routing = need(dht.peerRouting, "@libp2p/kad-dht", "peerRouting");
  needMethods(routing, "@libp2p/kad-dht", "peerRouting", ["getClosestPeersOffline"]);
  const host = need(services.identify?.host, "@libp2p/identify", "host in identify");
  const pushHost = need(services.identifyPush?.host, "@libp2p/identify", "host in identifyPush");
  return {
    events,
    stopListening: () => stopListening(manager.getListeners()),
    listen: (addresses) => manager.listen(addresses),
    reservations: reservationsOf(manager.getTransports()),
    kad: {
      handlers,
      closestPeersOffline: (key) => routing.getClosestPeersOffline(key),
      routingTable: need(dht.routingTable, "@libp2p/kad-dht", "routingTable"),
    },
    setProtocolVersion: (version) => {
      host.protocolVersion = version;
      pushHost.protocolVersion = version;
    },
  };
}

function reservationsOf(transports: readonly object[]): Reservations | undefined {
  const relay = transports.find((transport) =>
    (transport as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] === relayTag
  );
  if (relay === undefined) return undefined;
  const { reservationStore } = relay as { readonly reservationStore?: Reservations };
  const store = need(reservationStore, "@libp2p/circuit-relay-v2", "reservationStore in the relay's transport");
  needMethods(store, "@libp2p/circuit-relay-v2", "reservationStore", [
    "hasReservation",
    "addRelay",
    "addEventListener",
  ]);
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
