/**
 * Schedulers that left an offer unaccepted. For a while their offers reserve nothing: a scheduler that bids highest and never accepts
 * would otherwise hold every resource in open offers, and no other would get one. Plain data and pure functions.
 *
 * @module
 */
import type { Peer } from "../../transport/protocols/messages.ts";

/**
 * Offers to a scheduler reserve nothing for so long after one that it left unaccepted, in milliseconds: each scheduler blocks others for
 * one life of an offer in this time, which is less than a hundredth.
 */
export const unacceptedMs = 60_000;
/** Schedulers that are remembered; one more makes the one that left an offer unaccepted longest ago forgotten. */
export const unacceptedMax = 1_024;

/** When each scheduler last left an offer unaccepted, by the monotonic clock (`monotonicNow`), in milliseconds; the newest last. */
export type Unaccepted = ReadonlyMap<Peer, number>;

/** A scheduler left an offer unaccepted. */
export function withUnaccepted(unaccepted: Unaccepted, peer: Peer, now: number): Unaccepted {
  const others = [...unaccepted].filter(([other, at]) => other !== peer && now - at < unacceptedMs);
  return new Map([...others.slice(1 - unacceptedMax), [peer, now]]);
}

/** Whether a scheduler left an offer unaccepted lately. */
export function leftUnaccepted(unaccepted: Unaccepted, peer: Peer, now: number): boolean {
  const at = unaccepted.get(peer);
  return at !== undefined && now - at < unacceptedMs;
}
