/**
 * What each member costs this node: the streams that it has open, the bytes that it makes the node hold, the work that it makes it
 * do, and which members cost too much.
 *
 * @module
 */
import type { TooExpensive } from "../../pki/refusal.ts";
import type { PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { ConnectionTable } from "./connection_table.ts";
import { ReadBudgets } from "./held_bytes.ts";
import type { Outbox } from "./outbox.ts";
import { Outcasts } from "./outcasts.ts";
import type { Reachability } from "./reachability.ts";
import { StreamPlaces } from "./stream_places.ts";
import { WorkBudgets, type WorkLimits } from "./work_budget.ts";

/** What it is made with. */
export interface MemberCostsInit {
  readonly clock: Clock;
  readonly limits: WorkLimits;
  readonly table: Pick<ConnectionTable, "identityOf" | "of" | "closeOne">;
  readonly outbox: Pick<Outbox, "tell">;
  readonly reachability: Pick<Reachability, "isRelay">;
}

/** The costs of all members of a session. */
export class MemberCosts {
  readonly places: StreamPlaces;
  readonly held = new ReadBudgets();
  readonly work: WorkBudgets;
  readonly #init: MemberCostsInit;
  readonly #outcasts = new Outcasts();

  /** No member has cost anything yet. */
  constructor(init: MemberCostsInit) {
    const { clock, table, limits } = init;
    this.#init = init;
    this.places = new StreamPlaces(clock, (connection) => table.identityOf(connection)?.peer);
    this.work = new WorkBudgets({ clock, limits, tooExpensive: (peer) => this.#expel(peer, limits.delayMaxMs) });
  }

  /** Why a peer is not let in now: it cost too much. Undefined where it did not. */
  refusalOf(peer: PeerText): TooExpensive | undefined {
    return this.#outcasts.refusalOf(peer, this.#init.clock.monotonic());
  }

  /**
   * Ends all connections of a peer at once, and refuses it for a while. A relay of this node is only delayed: it forwards the traffic of
   * other members, and this node may be unreachable without it.
   */
  #expel(peer: PeerText, delayedMs: number): void {
    const { clock, table, outbox, reachability } = this.#init;
    if (reachability.isRelay(peer)) return;
    const refusal = this.#outcasts.add(peer, delayedMs, clock.monotonic());
    const connections = [...table.of(peer)];
    const [first] = connections;
    const identity = first && table.identityOf(first);
    if (first !== undefined && identity !== undefined) {
      const { address, direction } = first;
      outbox.tell({ type: "peer.refused", address, direction, peer: { name: identity.name, id: peer }, refusal });
    }
    for (const connection of connections) {
      table.closeOne(connection, refusal.message);
      clock.soon(() => connection.close("now", refusal.code));
    }
  }
}
