/**
 * Links between members that nobody uses. They end after a minute, so that a member keeps links to its gateways and to those it
 * works with, however many others it has met.
 *
 * Use is what both ends see: streams of this network's own protocols. Therefore both ends count the same minute, and neither dials
 * again what the other ended. An end that needs a silent link holds its peer: it asks it for its health from time to time. Links of the
 * existing network stay, and those of members whose gateways are of it: gossip travels over them.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, TransportInput } from "../port.ts";
import type { Clock, Timer } from "./clock.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Gateways } from "./gateways.ts";
import type { Reachability } from "./reachability.ts";
import type { Requests } from "./requests.ts";
import type { StreamPlaces } from "./stream_places.ts";
import type { WireConnection } from "./wire.ts";

/** A link that was not used for so long ends, in milliseconds. */
export const idleLinkMs = 60_000;
/** A held peer whose link was not used for so long is asked for its health, in milliseconds: twice before the link would end. */
export const keepUpMs = 25_000;
/** How often links are looked at, in milliseconds. */
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

/** Ends a session's idle links. A gateway ends none: its links are how others find each other. */
export class IdleLinks {
  readonly #init: IdleLinksInit;
  /** Peers that are held, and how often. */
  readonly #held = new Map<PeerText, number>();
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

  /** Someone needs the links to these peers. Each call is taken back by one {@linkcode release} of the same peers. */
  hold(peers: readonly PeerText[]): void {
    for (const peer of peers) this.#held.set(peer, (this.#held.get(peer) ?? 0) + 1);
  }

  /** Takes one `hold` back. */
  release(peers: readonly PeerText[]): void {
    for (const peer of peers) {
      const left = (this.#held.get(peer) ?? 0) - 1;
      if (left > 0) this.#held.set(peer, left);
      else this.#held.delete(peer);
    }
  }

  #look(): void {
    const { table, clock, gateways } = this.#init;
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
    if (idleMs >= idleLinkMs) return table.closeOne(connection, "nobody used it for a minute");
    if (idleMs >= keepUpMs && this.#held.has(peer) && table.best(peer) === connection) requests.keepUp(peer);
  }
}
