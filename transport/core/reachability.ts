/**
 * How peers can reach this node: its addresses, its reservation at a relay, and its place in the DHT. Nodes of this network
 * count themselves as started once they have these.
 *
 * @module
 */
import { multiaddr } from "@multiformats/multiaddr";
import type { AddressText, PeerText, TransportInput } from "../port.ts";
import { addressFilter } from "./address_filter.ts";
import { reservationTtlMs } from "./admission.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { leadsToGateway } from "./addresses.ts";
import type { Clock, Timer } from "./clock.ts";
import type { Outbox } from "./outbox.ts";
import type { Established } from "./parts.ts";
import type { Wire, WireConnection } from "./wire.ts";

/** First and longest wait before a relay is asked again for a reservation, in milliseconds. */
const reserveAgainMs = 1_000;
const reserveAgainMaxMs = 60_000;
/** How long after its grant a reservation is renewed, in milliseconds. A relay names its end by wall time, and clocks differ. */
const renewAfterMs = reservationTtlMs / 2;

/** The input of a {@linkcode Reachability}. */
export interface ReachabilityInit {
  readonly input: Pick<TransportInput, "role" | "relay" | "gatewayAddresses" | "excludeCidr" | "random">;
  readonly wire: Pick<Wire, "reserve" | "serveDht">;
  readonly clock: Clock;
  readonly outbox: Pick<Outbox, "tell">;
  readonly established: Pick<Established, "best" | "areRolesRequired">;
}

/** Watches and mends a session's reachability. */
export class Reachability {
  readonly #init: ReachabilityInit;
  readonly #reserved = new Set<PeerText>();
  readonly #reserving = new Set<PeerText>();
  readonly #timers = new Map<PeerText, Timer>();
  #addresses: readonly AddressText[] = [];
  #announced = "";
  #ready = false;
  #stopped = false;

  /** Nothing is known yet. */
  constructor(init: ReachabilityInit) {
    this.#init = init;
  }

  /** The wire has started. A gateway's DHT waits for no other node. */
  started(): void {
    this.#look();
    if (this.#init.input.role === "gateway") this.dhtReady();
  }

  /** This node's announced addresses, now. */
  addresses(own: readonly AddressText[]): void {
    this.#addresses = own;
    this.#look();
  }

  /** A connection was established: where it leads to a configured gateway, a relayed address is asked for. */
  established(connection: WireConnection, member: Pick<PeerIdentity, "peer" | "role">): void {
    const { relay, gatewayAddresses } = this.#init.input;
    if (relay === "client" && leadsToGateway(connection, member, gatewayAddresses)) {
      this.#reserve(connection, member.peer, 0);
    }
  }

  #reserve(connection: WireConnection, relay: PeerText, failures: number): void {
    if (!this.#reserved.has(relay)) this.#ask(connection, relay, failures);
  }

  /** Asks for a reservation, or for more time for the one that there is. */
  #ask(connection: WireConnection, relay: PeerText, failures: number): void {
    if (this.#stopped || !connection.isOpen || this.#reserving.has(relay)) return;
    this.#reserving.add(relay);
    this.#init.wire.reserve(connection, (reserved) => {
      this.#reserving.delete(relay);
      if (this.#stopped) return;
      if (reserved) {
        this.#reserved.add(relay);
        this.#later(relay, renewAfterMs, (over) => this.#ask(over, relay, 0));
        return this.#look();
      }
      this.#reserved.delete(relay);
      const spread = 0.75 + this.#init.input.random() / 2;
      const waitMs = Math.min(reserveAgainMaxMs, reserveAgainMs * 2 ** failures) * spread;
      this.#reserveLater(relay, failures + 1, waitMs);
    });
  }

  /** Whether a peer relays for this node, or is being asked to: circuits may come before its answer does. */
  isRelay(peer: PeerText): boolean {
    return this.#reserved.has(peer) || this.#reserving.has(peer);
  }

  /** A reservation ended. */
  reservationLost(relay: PeerText): void {
    this.#reserved.delete(relay);
    if (this.#stopped) return;
    this.#init.outbox.tell({ type: "reservation.lost", relay });
    this.#look();
    this.#reserveLater(relay, 1, reserveAgainMs);
  }

  #reserveLater(relay: PeerText, failures: number, waitMs: number): void {
    this.#later(relay, waitMs, (over) => this.#reserve(over, relay, failures));
  }

  /** Asks a relay later, over the connection that there is then: the one before may have ended with what was asked over it. */
  #later(relay: PeerText, waitMs: number, ask: (over: WireConnection) => void): void {
    const { clock, established } = this.#init;
    clock.cancel(this.#timers.get(relay));
    const task = () => {
      this.#timers.delete(relay);
      const connection = established.best(relay);
      if (connection !== undefined && connection.relay === undefined) ask(connection);
    };
    this.#timers.set(relay, clock.after(waitMs, task));
  }

  /**
   * Reports the addresses when they changed. Gateways serve the DHT. Where certificates need no role, so does each node with an
   * address: the existing network's gateways find no other. A node that does not serve it only asks.
   */
  #look(): void {
    if (this.#stopped) return;
    const { input: { relay, role }, wire, outbox, established } = this.#init;
    const addresses = this.#addresses;
    const now = addresses.join(" ");
    if (now === this.#announced) return;
    this.#announced = now;
    const isReachable = addresses.length > 0 && (relay !== "client" || this.#leadsHere(addresses));
    wire.serveDht(role === "gateway" || (isReachable && !established.areRolesRequired));
    if (isReachable) outbox.tell({ type: "reachable", addresses });
  }

  /** A node that waits for a relay is not reachable yet by an address that only its own configuration lets through. */
  #leadsHere(addresses: readonly AddressText[]): boolean {
    const isOutside = addressFilter(this.#init.input.excludeCidr);
    return addresses.some((address) => address.includes("/p2p-circuit") || isOutside(multiaddr(address)));
  }

  /** The DHT knows this node. */
  dhtReady(): void {
    if (this.#ready || this.#stopped) return;
    this.#ready = true;
    this.#init.outbox.tell({ type: "dht.ready" });
  }

  /** Nothing is asked again. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers.values()) this.#init.clock.cancel(timer);
    this.#timers.clear();
  }
}
