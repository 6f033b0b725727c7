/**
 * What each peer's work may cost this node, over all its connections and relays, and who comes next.
 *
 * Work is charged by its price before it is done. A peer that is over its budget waits, like a sender whose receiver reads slowly;
 * its work then is done in its turn, one peer after the other, and other peers are not delayed. A peer that has been delayed for
 * long on end is too expensive.
 *
 * @module
 */
import type { PeerText } from "../port.ts";
import type { Clock, Timer } from "./clock.ts";

/** What a peer may cost. */
export interface WorkLimits {
  /** In the long run, in microseconds a second. */
  readonly perSecondUs: number;
  /** At once, in microseconds. It may be overdrawn as far again. */
  readonly burstUs: number;
  /** A peer that has been delayed on end for so long is too expensive, in milliseconds. */
  readonly delayMaxMs: number;
}

/** A tenth of a core over ten seconds. */
export const defaultWorkLimits: WorkLimits = { perSecondUs: 100_000, burstUs: 1_000_000, delayMaxMs: 30_000 };
/** Work after which input and output get their turn, in microseconds: little more than one message, which may cost more than its price. */
export const workSliceUs = 100;
/** Peers whose budgets are remembered. Above it, those that have filled up again are forgotten first. */
export const accountsMax = 8_192;
/** Budgets that are looked at to find one that can be forgotten. */
const forgetScanMax = 64;
/** Delays that follow each other within this time are one delay, in milliseconds. */
const delayGapMs = 2_000;
/** How long a peer's work waits before its budget is looked at again, at most, in milliseconds. */
const lookAgainMs = 1_000;

/** Work that waits. */
interface Waiting {
  readonly us: number;
  readonly task: () => void;
}

/** The budget of one peer. */
class Account {
  readonly peer: PeerText;
  /** By owner, in the order in which they came: an owner has one piece of work at a time. */
  readonly waiting = new Map<object, Waiting>();
  timer: Timer | undefined;
  leftUs: number;
  /** What it was charged in all, less what was given back. */
  chargedUs = 0;
  filledAt: number;
  /** When the present delay began, and when it was last seen. */
  delayedSince = 0;
  delayedAt = Number.NEGATIVE_INFINITY;

  constructor(peer: PeerText, leftUs: number, now: number) {
    this.peer = peer;
    this.leftUs = leftUs;
    this.filledAt = now;
  }
}

/** What it is made with. */
export interface WorkBudgetsInit {
  readonly clock: Clock;
  readonly limits?: WorkLimits;
  /** A peer was delayed for too long. Called later, never inside a call that charged. */
  tooExpensive(peer: PeerText): void;
}

/** The budgets of all peers, and the work that waits. */
export class WorkBudgets {
  readonly #init: WorkBudgetsInit;
  readonly #limits: WorkLimits;
  readonly #accounts = new Map<PeerText, Account>();
  /** Peers whose work waits for nothing but its turn, in their order. */
  readonly #ready = new Map<PeerText, Account>();
  readonly #next = () => this.#takeTurn();
  /** What was done in this turn, in microseconds. */
  #turnUs = 0;
  #isTurnAsked = false;

  /** No member has spent anything yet. */
  constructor(init: WorkBudgetsInit) {
    this.#init = init;
    this.#limits = init.limits ?? defaultWorkLimits;
  }

  /** Peers whose budgets are remembered, and pieces of work that wait. */
  get counts(): { readonly peers: number; readonly waiting: number } {
    let waiting = 0;
    for (const account of this.#accounts.values()) waiting += account.waiting.size;
    return { peers: this.#accounts.size, waiting };
  }

  /**
   * Charges work that is done now.
   *
   * @returns How long to wait before more is done for this peer, in milliseconds; 0: not at all.
   */
  charge(peer: PeerText, us: number): number {
    const account = this.#accountOf(peer);
    this.#spend(account, us);
    return this.#delayMs(account);
  }

  /** Gives back what was charged: it turned out to be wanted. */
  refund(peer: PeerText, us: number): void {
    const account = this.#accounts.get(peer);
    if (account === undefined) return;
    account.leftUs = Math.min(this.#limits.burstUs, account.leftUs + us);
    account.chargedUs -= us;
  }

  /** What a peer was charged since it is remembered, less what was given back, in microseconds. */
  chargedUs(peer: PeerText): number {
    return this.#accounts.get(peer)?.chargedUs ?? 0;
  }

  /**
   * Charges work and does it: at once where the peer can afford it and this turn has room, else in its turn.
   *
   * @param owner Whose work it is: an owner has one piece at a time, and {@linkcode WorkBudgets.leave} gives it up.
   */
  run(peer: PeerText, owner: object, us: number, task: () => void): void {
    const account = this.#accountOf(peer);
    const hasRoom = this.#ready.size === 0 && this.#turnUs < workSliceUs;
    if (hasRoom && account.waiting.size === 0 && this.#delayMs(account) === 0) {
      this.#work(account, us);
      return task();
    }
    account.waiting.set(owner, { us, task });
    this.#wait(account);
  }

  /** Gives an owner's work up, if it still waits. */
  leave(peer: PeerText, owner: object): void {
    const account = this.#accounts.get(peer);
    if (account?.waiting.delete(owner) !== true || account.waiting.size > 0) return;
    this.#init.clock.cancel(account.timer);
    account.timer = undefined;
    this.#ready.delete(peer);
  }

  /** Gives all work up. */
  stop(): void {
    for (const account of this.#accounts.values()) this.#init.clock.cancel(account.timer);
    this.#accounts.clear();
    this.#ready.clear();
  }

  // ── Turns ──

  /** The account's work waits: for its budget, or for its turn. */
  #wait(account: Account): void {
    if (account.timer !== undefined || this.#ready.has(account.peer)) return;
    const delayMs = this.#delayMs(account);
    if (delayMs === 0) {
      this.#ready.set(account.peer, account);
      return this.#askTurn();
    }
    account.timer = this.#init.clock.after(delayMs, () => {
      account.timer = undefined;
      this.#wait(account); // the timer of an account without work was cancelled
    });
  }

  #askTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    this.#init.clock.yield(this.#next);
  }

  /** One piece of each peer's work after the other, until the turn is used up. */
  #takeTurn(): void {
    this.#isTurnAsked = false;
    this.#turnUs = 0;
    for (const [peer, account] of this.#ready) {
      this.#ready.delete(peer);
      const [first] = account.waiting;
      if (first === undefined) continue;
      const [owner, { us, task }] = first;
      account.waiting.delete(owner);
      this.#work(account, us);
      if (account.waiting.size > 0) this.#wait(account);
      task();
      if (this.#turnUs >= workSliceUs) break; // this work asked for the next turn
    }
  }

  #work(account: Account, us: number): void {
    this.#spend(account, us);
    this.#turnUs += us;
    this.#askTurn();
  }

  // ── Budgets ──

  #spend(account: Account, us: number): void {
    this.#fill(account, this.#init.clock.monotonic());
    account.leftUs = Math.max(-this.#limits.burstUs, account.leftUs - us);
    account.chargedUs += us;
  }

  #fill(account: Account, now: number): void {
    const { perSecondUs, burstUs } = this.#limits;
    const passedMs = Math.max(0, now - account.filledAt);
    account.filledAt = now;
    account.leftUs = Math.min(burstUs, account.leftUs + passedMs * perSecondUs / 1_000);
  }

  /** How long until there is something to spend; tells where the peer has waited for too long. */
  #delayMs(account: Account): number {
    if (account.leftUs > 0) return 0;
    const now = this.#init.clock.monotonic();
    this.#fill(account, now);
    if (account.leftUs > 0) return 0;
    if (now - account.delayedAt > delayGapMs) account.delayedSince = now;
    account.delayedAt = now;
    if (now - account.delayedSince >= this.#limits.delayMaxMs) {
      account.delayedSince = now; // told once
      this.#init.clock.soon(() => this.#init.tooExpensive(account.peer));
    }
    const waitMs = Math.ceil((workSliceUs - account.leftUs) / this.#limits.perSecondUs * 1_000);
    return Math.min(lookAgainMs, waitMs);
  }

  #accountOf(peer: PeerText): Account {
    const known = this.#accounts.get(peer);
    if (known !== undefined) return known;
    const now = this.#init.clock.monotonic();
    if (this.#accounts.size >= accountsMax) this.#forgetOne(now);
    const account = new Account(peer, this.#limits.burstUs, now);
    this.#accounts.set(peer, account);
    return account;
  }

  /** Forgets a budget that has filled up; where none of those that are looked at has, the one that was looked at first. */
  #forgetOne(now: number): void {
    let looked = 0;
    let idle: Account | undefined;
    for (const account of this.#accounts.values()) {
      if (++looked > forgetScanMax) break;
      this.#accounts.delete(account.peer);
      this.#fill(account, now);
      const isIdle = account.waiting.size === 0;
      if (isIdle && account.leftUs >= this.#limits.burstUs) return;
      if (isIdle) idle ??= account;
      this.#accounts.set(account.peer, account); // looked at: to the end of the line
    }
    if (idle !== undefined) this.#accounts.delete(idle.peer);
  }
}
