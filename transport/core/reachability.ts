/**
 * How others can reach this node: its addresses, its reservation at a relay, and its place in the DHT. Nodes of this
 * network count themselves as started once these stand.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { addressFilter } from "./address_filter.ts";
import { leadsToGateway, withoutPeer } from "./connections.ts";
import type { NodeInternals } from "../libp2p/node_internals.ts";
import type { Node } from "../libp2p/node.ts";
import type { Outbox } from "./outbox.ts";
import type { AddressText, PeerText, TransportInput } from "../port.ts";

/** First and longest wait before a relay is asked again for a reservation, in milliseconds. */
const reserveAgainMs = 1_000;
const reserveAgainMaxMs = 60_000;

/** Watches and mends a session's reachability. */
export class Reachability {
  readonly #libp2p: Node;
  readonly #internals: NodeInternals;
  readonly #input: TransportInput;
  readonly #outbox: Outbox;
  readonly #listening = new Set<PeerText>();
  readonly #timers = new Map<PeerText, ReturnType<typeof setTimeout>>();
  readonly #reserving = new Set<PeerText>();
  #announced = "";
  #ready = false;
  #stopped = false;

  constructor(libp2p: Node, internals: NodeInternals, input: TransportInput, outbox: Outbox) {
    this.#libp2p = libp2p;
    this.#internals = internals;
    this.#input = input;
    this.#outbox = outbox;
    internals.events.addEventListener("self:peer:update", () => this.#look());
    internals.events.addEventListener("transport:listening", () => this.#look());
    internals.events.addEventListener("kad-dht:query:self", () => this.#dhtReady());
    internals.reservations?.addEventListener("relay:removed", ({ detail: { relay } }) => this.#lost(relay.toString()));
  }

  /** libp2p has started. A gateway's DHT waits for nobody. */
  started(): void {
    this.#look();
    if (this.#input.role === "gateway") this.#dhtReady();
  }

  /** A connection was established: where it leads to a gateway of ours, a relayed address is asked for. */
  opened(connection: Connection): void {
    if (this.#input.relay !== "client") return;
    if (leadsToGateway(connection, this.#input.gatewayAddresses)) this.#reserve(connection, 0);
  }

  #reserve(connection: Connection, failures: number): void {
    const relay = connection.remotePeer.toString();
    if (this.#stopped || connection.status !== "open" || this.#reserving.has(relay)) return;
    if (this.#internals.reservations?.hasReservation(connection.remotePeer) === true) return;
    this.#reserving.add(relay);
    this.#listenThrough(connection, relay).then(() => true, () => false).then((reserved) => {
      this.#reserving.delete(relay);
      if (reserved || this.#stopped) return this.#look();
      const waitMs = Math.min(reserveAgainMaxMs, reserveAgainMs * 2 ** failures) * (0.75 + this.#input.random() / 2);
      this.#again(relay, () => this.#reserve(connection, failures + 1), waitMs);
    });
  }

  /** The first time a listener is made; it takes up every later reservation at the same relay by itself. */
  async #listenThrough(connection: Connection, relay: PeerText): Promise<void> {
    if (this.#listening.has(relay)) {
      await this.#internals.reservations?.addRelay(connection.remotePeer, "configured");
      return;
    }
    const address: Multiaddr = multiaddr(`${withoutPeer(connection.remoteAddr.toString())}/p2p/${relay}/p2p-circuit`);
    await this.#internals.listen([address]);
    this.#listening.add(relay);
  }

  #lost(relay: PeerText): void {
    if (this.#stopped) return;
    this.#outbox.tell({ type: "reservation.lost", relay });
    this.#look();
    const connection = this.#libp2p.getConnections().find((open) =>
      open.direct && open.remotePeer.toString() === relay
    );
    if (connection !== undefined) this.#again(relay, () => this.#reserve(connection, 1), reserveAgainMs);
  }

  #again(relay: PeerText, run: () => void, waitMs: number): void {
    clearTimeout(this.#timers.get(relay));
    this.#timers.set(relay, setTimeout(run, waitMs));
  }

  /** Tells the addresses when they changed. A node with an address serves the DHT, one without only asks it. */
  #look(): void {
    if (this.#stopped) return;
    const addresses: AddressText[] = this.#libp2p.getMultiaddrs().map((address) => address.toString());
    const now = addresses.join(" ");
    if (now === this.#announced) return;
    this.#announced = now;
    const isReachable = addresses.length > 0 && (this.#input.relay !== "client" || this.#leadsHere(addresses));
    const mode = isReachable || this.#input.role === "gateway" ? "server" : "client";
    this.#libp2p.services.dht.setMode(mode).catch(() => {});
    if (isReachable) this.#outbox.tell({ type: "reachable", addresses });
  }

  /** Who waits for a relay is not reachable yet by an address that only its own configuration lets through. */
  #leadsHere(addresses: readonly AddressText[]): boolean {
    const isOutside = addressFilter(this.#input.excludeCidr);
    return addresses.some((address) => address.includes("/p2p-circuit") || isOutside(multiaddr(address)));
  }

  #dhtReady(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#outbox.tell({ type: "dht.ready" });
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}
