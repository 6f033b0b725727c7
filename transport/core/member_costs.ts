/**
 * What each member costs this node: the bytes that it makes the node hold, the work that it makes it do, and which members cost
 * too much.
 *
 * @module
 */
import type { TooExpensive } from "../../pki/refusal.ts";
import type { PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import { ReadBudgets } from "./held_bytes.ts";
import { Outcasts } from "./outcasts.ts";
import { defaultWorkLimits, WorkBudgets, type WorkLimits } from "./work_budget.ts";

/** What it is made with. */
export interface MemberCostsInit {
  readonly clock: Clock;
  readonly limits?: WorkLimits;
  /** Ends every connection of a peer. */
  expel(peer: PeerText, refusal: TooExpensive): void;
}

/** The costs of all members of a session. */
export class MemberCosts {
  readonly held = new ReadBudgets();
  readonly work: WorkBudgets;
  readonly #clock: Clock;
  readonly #outcasts = new Outcasts();

  /** Nobody has cost anything yet. */
  constructor({ clock, limits = defaultWorkLimits, expel }: MemberCostsInit) {
    this.#clock = clock;
    this.work = new WorkBudgets({
      clock,
      limits,
      tooExpensive: (peer) => expel(peer, this.#outcasts.add(peer, limits.delayMaxMs, clock.monotonic())),
    });
  }

  /** Why a peer is not let in now: it cost too much. Undefined where it did not. */
  refusalOf(peer: PeerText): TooExpensive | undefined {
    return this.#outcasts.refusalOf(peer, this.#clock.monotonic());
  }
}
