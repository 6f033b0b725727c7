/**
 * How much of a worker may be out in offers to one scheduler while others ask. A scheduler that bids highest and never accepts
 * would otherwise hold every resource in open offers, and no other would get one.
 *
 * @module
 */
import type { Peer, Resources } from "../../transport/protocols/messages.ts";
import { weighResources } from "./resources.ts";

/** The share of the worker's resources, by weight, that is in offers to one scheduler while others ask. */
export const offerShareMax = 1 / 4;
/** A scheduler counts as asking for so long after its last request, in milliseconds: the existing schedulers' window for offers. */
export const askingMs = 5_000;
/**
 * An offer of more than the share takes its time of it in turn: so long after such an offer was left unaccepted, in lives of an
 * offer, its scheduler gets none while others ask.
 */
export const restLives = 1 / offerShareMax - 1;
/** Schedulers that are remembered; beyond that, the one that asked longest ago is forgotten. */
export const askersMax = 1_024;

/** A scheduler that asked; times in milliseconds since the epoch. */
export interface Asker {
  readonly askedAt: number;
  /** When an offer to it was last left unaccepted. */
  readonly unacceptedAt: number;
}

/** Schedulers that asked lately, the newest last. */
export type Askers = ReadonlyMap<Peer, Asker>;

/** A scheduler asked for workers. */
export function withAsked(askers: Askers, peer: Peer, now: number): Askers {
  const others = [...askers].filter(([other, { askedAt }]) => other !== peer && now - askedAt < askingMs);
  const unacceptedAt = askers.get(peer)?.unacceptedAt ?? Number.NEGATIVE_INFINITY;
  return new Map([...others.slice(1 - askersMax), [peer, { askedAt: now, unacceptedAt }]]);
}

/** An offer to a scheduler was left unaccepted. */
export function withUnaccepted(askers: Askers, peer: Peer, now: number): Askers {
  const asker = askers.get(peer);
  return asker === undefined ? askers : new Map([...askers, [peer, { ...asker, unacceptedAt: now }]]);
}

/** What the shares of one window are measured by. */
export interface OfferSharesInit {
  readonly askers: Askers;
  /** The open offers. */
  readonly out: Iterable<{ readonly to: Peer; readonly resources: Resources }>;
  /** All resources of the worker. */
  readonly total: Resources;
  readonly now: number;
  /** How long an offer lives, in milliseconds. */
  readonly lifeMs: number;
}

/** The shares of schedulers in the offers that are out. */
export class OfferShares {
  readonly #init: OfferSharesInit;
  readonly #out = new Map<Peer, number>();

  constructor(init: OfferSharesInit) {
    this.#init = init;
    for (const { to, resources } of init.out) this.#add(to, resources);
  }

  /** Takes an offer into its scheduler's share; false where it has no more. */
  take(to: Peer, resources: Resources): boolean {
    if (this.#othersAsk(to) && !this.#hasRoom(to, resources)) return false;
    this.#add(to, resources);
    return true;
  }

  #hasRoom(to: Peer, resources: Resources): boolean {
    const { askers, total, now, lifeMs } = this.#init;
    const out = this.#out.get(to) ?? 0;
    if (out + weighResources(resources) <= weighResources(total) * offerShareMax) return true;
    // More than the share at once: alone, and seldom.
    return out === 0 && now - (askers.get(to)?.unacceptedAt ?? Number.NEGATIVE_INFINITY) >= restLives * lifeMs;
  }

  #othersAsk(to: Peer): boolean {
    const { askers, now } = this.#init;
    for (const [peer, { askedAt }] of askers) if (peer !== to && now - askedAt < askingMs) return true;
    return false;
  }

  #add(to: Peer, resources: Resources): void {
    this.#out.set(to, (this.#out.get(to) ?? 0) + weighResources(resources));
  }
}
