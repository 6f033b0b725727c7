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
import { Outcasts } from "./outcasts.ts";
import { StreamPlaces } from "./stream_places.ts";
import { defaultWorkLimits, WorkBudgets, type WorkLimits } from "./work_budget.ts";

/** What it is made with. */
export interface MemberCostsInit {
  readonly clock: Clock;
  readonly limits?: WorkLimits;
  readonly table: Pick<ConnectionTable, "identityOf" | "expel">;
}

/** The costs of all members of a session. */
export class MemberCosts {
  readonly places: StreamPlaces;
  readonly held = new ReadBudgets();
  readonly work: WorkBudgets;
  readonly #clock: Clock;
  readonly #outcasts = new Outcasts();

  /** Nobody has cost anything yet. */
  constructor({ clock, limits = defaultWorkLimits, table }: MemberCostsInit) {
    this.#clock = clock;
    this.places = new StreamPlaces(clock, (connection) => table.identityOf(connection)?.peer);
    this.work = new WorkBudgets({
      clock,
      limits,
      tooExpensive: (peer) => table.expel(peer, this.#outcasts.add(peer, limits.delayMaxMs, clock.monotonic())),
    });
  }

  /** Why a peer is not let in now: it cost too much. Undefined where it did not. */
  refusalOf(peer: PeerText): TooExpensive | undefined {
    return this.#outcasts.refusalOf(peer, this.#clock.monotonic());
  }
}
