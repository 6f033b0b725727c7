/**
 * Peers that cost too much, and for how long each is refused.
 *
 * @module
 */
import { TooExpensive } from "../../pki/refusal.ts";
import type { PeerText } from "../port.ts";

/** How long a peer is refused at first, and at most: each time twice as long, in milliseconds. */
export const refusedFirstMs = 60_000;
export const refusedMaxMs = 600_000;
/** A peer that has come to no such end for so long after its last one is forgotten, in milliseconds. */
export const outcastForgottenMs = 600_000;
/** Peers that are remembered; above it the one that was refused first is forgotten. */
export const outcastsMax = 4_096;

interface Outcast {
  readonly until: number;
  readonly forMs: number;
}

/** The peers that are refused because they cost too much. */
export class Outcasts {
  readonly #outcasts = new Map<PeerText, Outcast>();

  /** Peers that are remembered. */
  get size(): number {
    return this.#outcasts.size;
  }

  /**
   * Refuses a peer from now on.
   *
   * @param delayedMs How long its work had been delayed.
   * @param now Milliseconds that never go back.
   */
  add(peer: PeerText, delayedMs: number, now: number): TooExpensive {
    const last = this.#outcasts.get(peer);
    const isRemembered = last !== undefined && now - last.until < outcastForgottenMs;
    const forMs = isRemembered ? Math.min(refusedMaxMs, last.forMs * 2) : refusedFirstMs;
    this.#outcasts.delete(peer);
    this.#outcasts.set(peer, { until: now + forMs, forMs });
    if (this.#outcasts.size > outcastsMax) this.#outcasts.delete(this.#outcasts.keys().next().value as PeerText);
    return new TooExpensive({ delayedMs, refusedMs: forMs });
  }

  /** Why a peer is refused now; undefined where it is not. */
  refusalOf(peer: PeerText, now: number): TooExpensive | undefined {
    const outcast = this.#outcasts.get(peer);
    if (outcast === undefined) return undefined;
    if (now < outcast.until) return new TooExpensive({ delayedMs: 0, refusedMs: Math.ceil(outcast.until - now) });
    if (now - outcast.until >= outcastForgottenMs) this.#outcasts.delete(peer);
    return undefined;
  }
}
