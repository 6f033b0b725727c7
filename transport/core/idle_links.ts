/**
 * Closes unused connections between members after a minute. A member stays connected to its gateways and to the peers of its current
 * work, however many others it met before.
 *
 * A connection is used while a stream of this network's own protocols is open on it. Both ends see these streams, so both measure the
 * same minute, and neither reconnects what the other closed. A node that needs an unused connection holds its peer: it sends a health
 * request every half minute, and dials the peer when the connection is lost. Connections to nodes of the existing network stay open, and all connections do while a gateway of this
 * node is one of them: its gossip needs them.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { CloseReason, PeerText, TransportInput } from "../port.ts";
import type { Clock, Timer } from "./clock.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Gateways } from "./gateways.ts";
import type { Reachability } from "./reachability.ts";
import type { Requests } from "./requests.ts";
import type { StreamPlaces } from "./stream_places.ts";
import type { WireConnection } from "./wire.ts";

/** An unused connection is closed after this, in milliseconds. */
export const idleLinkMs = 60_000;
/** A held peer gets a health request after this time without use, in milliseconds: two before its connection would be closed. */
export const keepUpMs = 25_000;
/** How often all connections are checked, in milliseconds. */
const lookEveryMs = 10_000;

/** What it is made with. */
export interface IdleLinksInit {
  readonly input: Pick<TransportInput, "role">;
  readonly clock: Pick<Clock, "after" | "cancel" | "monotonic">;
  readonly table: Pick<ConnectionTable, "open" | "best" | "identityOf" | "closeOne">;
  readonly places: Pick<StreamPlaces, "isUsed" | "usedAt">;
  readonly gateways: Pick<Gateways, "isGateway" | "areExisting">;
  readonly reachability: Pick<Reachability, "isRelay">;
  readonly requests: Pick<Requests, "keepUp">;
}

/** Closes the unused connections of a session. A gateway closes none: other nodes find each other through it. */
export class IdleLinks {
  readonly #init: IdleLinksInit;
  /** Peers that are held, each with its number of holds. */
  readonly #held = new Map<PeerText, number>();
  /** Held peers whose last connections were lost. */
  readonly #lost = new Set<PeerText>();
  /** When held peers were dialled last, on the monotonic clock: one that accepts and resets is not dialled in a loop. */
  readonly #dialledAt = new Map<PeerText, number>();
  #timer: Timer | undefined;

  constructor(init: IdleLinksInit) {
    this.#init = init;
  }

  /** The wire has started. */
  started(): void {
    if (this.#init.input.role === "gateway") return;
    this.#timer = this.#init.clock.after(lookEveryMs, () => {
      this.started();
      this.#look();
    });
  }

  stop(): void {
    this.#init.clock.cancel(this.#timer);
  }

  /** A member is connected. */
  established(peer: PeerText): void {
    this.#lost.delete(peer);
  }

  /**
   * The last connection of a member ended. A held peer that was lost, or whose certificate or ours ended, is dialled at once, and again
   * until it is connected or released, but no more than every {@linkcode lookEveryMs}.
   */
  left(peer: PeerText, reason: CloseReason): void {
    if ((reason.type !== "lost" && reason.type !== "expired") || !this.#held.has(peer)) return;
    this.#lost.add(peer);
    const sinceMs = this.#init.clock.monotonic() - (this.#dialledAt.get(peer) ?? Number.NEGATIVE_INFINITY);
    if (sinceMs >= lookEveryMs) this.#dial(peer);
  }

  #dial(peer: PeerText): void {
    this.#dialledAt.set(peer, this.#init.clock.monotonic());
    this.#init.requests.keepUp(peer);
  }

  /** Keeps the connections to these peers open. One {@linkcode release} of the same peers ends one `hold`. */
  hold(peers: readonly PeerText[]): void {
    for (const peer of peers) this.#held.set(peer, (this.#held.get(peer) ?? 0) + 1);
  }

  /** Ends one `hold`. */
  release(peers: readonly PeerText[]): void {
    for (const peer of peers) {
      const left = (this.#held.get(peer) ?? 0) - 1;
      if (left > 0) this.#held.set(peer, left);
      else {
        this.#held.delete(peer);
        this.#lost.delete(peer);
        this.#dialledAt.delete(peer);
      }
    }
  }

  #look(): void {
    const { table, clock, gateways } = this.#init;
    for (const peer of this.#lost) this.#dial(peer);
    if (gateways.areExisting) return;
    const now = clock.monotonic();
    for (const connection of [...table.open()]) {
      const identity = table.identityOf(connection);
      if (identity !== undefined) this.#lookAt(connection, identity, now);
    }
  }

  #lookAt(connection: WireConnection, { peer, role }: PeerIdentity, now: number): void {
    const { table, places, gateways, reachability, requests } = this.#init;
    if (role === undefined || role === "gateway" || gateways.isGateway(peer) || reachability.isRelay(peer)) return;
    if (places.isUsed(connection)) return;
    const idleMs = now - places.usedAt(connection);
    if (idleMs >= idleLinkMs) return table.closeOne(connection, "it was unused for a minute");
    if (idleMs >= keepUpMs && this.#held.has(peer) && table.best(peer) === connection) requests.keepUp(peer);
  }
}
