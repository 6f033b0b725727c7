/**
 * How a scheduler chooses among offers.
 *
 * @module
 */
import type { Member } from "../../pki/member.ts";
import type { Peer, Resources, WorkerOffer } from "../../transport/protocols/messages.ts";
import { fitsResources, pricePerUnit } from "../worker/resources.ts";

/** How long a scheduler waits for enough offers to one request, in milliseconds (`docs/wire.md`, "Allocation"). */
export const allocationWindowMs = 5_000;
/** Offers kept for one allocation; further ones are dropped. */
export const offersMax = 1_024;
/** Those of one worker: an honest one makes one to each request, and that has lapsed when the request is repeated. */
export const offersOfPeerMax = 4;

/** An offer and the worker that made it. */
export interface ReceivedOffer {
  readonly from: Peer;
  /** What the certificate of the connection proved that the offer came in on. */
  readonly member: Member;
  readonly offer: WorkerOffer;
  /** When it arrived, in milliseconds since the epoch by the clock here. */
  readonly at: number;
  /** Whether its worker granted nothing when an offer of it was accepted last. */
  readonly isUnreliable: boolean;
}

/** The criteria for choosing offers. */
export interface OfferCriteria {
  readonly wanted: Resources;
  /** The private maximum: offers with a higher price are ignored. */
  readonly priceMax: number;
  readonly count: number;
  /** Workers that must not be taken at any price. */
  readonly excluded: ReadonlySet<Peer>;
}

/**
 * The best offers, at most one a worker and `count` in all: those of unreliable workers last, then by price per weighted unit, lowest
 * first; equal ones in order of arrival. Ignores offers over the maximum, of less than is wanted, and of excluded workers.
 */
export function chooseOffers(offers: readonly ReceivedOffer[], criteria: OfferCriteria): readonly ReceivedOffer[] {
  const ranked = offers
    .filter(({ from, offer }) => !criteria.excluded.has(from) && isAcceptable(offer, criteria))
    .map((received) => ({ received, score: pricePerUnit(received.offer.price, received.offer.resources) }))
    .sort((left, right) =>
      Number(left.received.isUnreliable) - Number(right.received.isUnreliable) ||
      (left.score === right.score ? 0 : left.score - right.score)
    );
  const chosen = new Map<Peer, ReceivedOffer>();
  for (const { received } of ranked) {
    if (chosen.size >= criteria.count) break;
    if (!chosen.has(received.from)) chosen.set(received.from, received);
  }
  return [...chosen.values()];
}

function isAcceptable(offer: WorkerOffer, { wanted, priceMax }: OfferCriteria): boolean {
  return Number.isFinite(offer.price) && offer.price >= 0 && offer.price <= priceMax &&
    fitsResources(wanted, offer.resources);
}
