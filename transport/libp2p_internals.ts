/**
 * What this transport uses of libp2p beyond its published types, in one place. Each accessor looks whether what it
 * needs is there, so that a new libp2p that moved it fails at start with its name and not somewhere later.
 *
 * @module
 */
import type { Libp2pEvents, PeerId, TypedEventTarget } from "@libp2p/interface";
import type { Multiaddr } from "@multiformats/multiaddr";

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

/** A listener of `@libp2p/tcp`. */
interface Listener {
  readonly server: { address(): { readonly port: number } | null };
  readonly status?: { readonly listeningAddr?: { toString(): string } };
  pause(permanent: boolean): void;
}

function need<T>(value: T | undefined | null, name: string): T {
  if (value === undefined || value === null) throw new Error(`Cannot find ${name} in libp2p: it was moved`);
  return value;
}

/** Finds them in a node that was created, started or not. */
export function internalsOf(libp2p: { readonly services: object }): NodeInternals {
  // deno-lint-ignore no-explicit-any -- the point of this file
  const { components, services } = libp2p as any;
  const { transportManager, events } = need(components, "components");
  need(events?.addEventListener, "components.events");
  need(transportManager?.listen, "components.transportManager.listen");
  const dht = need(services.dht, "services.dht");
  const handlers: Record<string, KadHandler> = need(dht.rpc?.handlers, "dht.rpc.handlers");
  need(handlers["PUT_VALUE"], "dht.rpc.handlers.PUT_VALUE");
  need(handlers["GET_VALUE"], "dht.rpc.handlers.GET_VALUE");
  const routing = need(dht.peerRouting, "dht.peerRouting");
  need(routing.getClosestPeersOffline, "dht.peerRouting.getClosestPeersOffline");
  const host = need(services.identify?.host, "services.identify.host");
  const pushHost = need(services.identifyPush?.host, "services.identifyPush.host");
  const relayed = transportManager.getTransports().find((transport: object) => "reservationStore" in transport);
  const stopListening = () =>
    transportManager.getListeners().filter((listener: object) => "server" in listener).flatMap((listener: Listener) => {
      const listened = listener.status?.listeningAddr?.toString();
      const port = listener.server.address()?.port;
      need(listener.pause, "a TCP listener's pause").call(listener, true);
      return listened === undefined || port === undefined ? [] : [listened.replace(/\/tcp\/0$/, `/tcp/${port}`)];
    });
  return {
    events,
    stopListening,
    listen: (addresses) => transportManager.listen(addresses),
    reservations: relayed?.reservationStore,
    kad: {
      handlers,
      closestPeersOffline: (key) => routing.getClosestPeersOffline(key),
      routingTable: need(dht.routingTable, "dht.routingTable"),
    },
    setProtocolVersion: (version) => {
      host.protocolVersion = version;
      pushHost.protocolVersion = version;
    },
  };
}
