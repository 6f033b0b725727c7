/**
 * How a worker chooses the requests of one window that it makes offers to.
 *
 * @module
 */
import type { Peer, Resources, WorkerRequest } from "../../transport/protocols/messages.ts";
import type { ExecutorConfig, WorkerConfig } from "../config/config.ts";
import type { OfferShares } from "./offer_shares.ts";
import { fitsResources, pricePerUnit, subtractResources } from "./resources.ts";

/** Requests are collected this long before they are ranked, in milliseconds (`docs/wire.md`, "Allocation"). */
export const requestWindowMs = 200;
/** Requests of one window; further ones are dropped (`docs/wire.md`, "Allocation"). */
export const requestsPerWindowMax = 100;
/** An offer that was not accepted lapses after this, in milliseconds (`docs/wire.md`, "Allocation"). */
export const offerLifeMs = 500;

/** A request and the scheduler that made it. */
export interface ReceivedRequest {
  readonly from: Peer;
  readonly request: WorkerRequest;
}

/** An offer to one scheduler, before it is sent. */
export interface PlannedOffer {
  readonly to: Peer;
  readonly request: WorkerRequest;
  readonly resources: Resources;
  readonly price: number;
}

/** The configuration that a worker weighs requests by. */
export type OfferTerms = Pick<WorkerConfig, "offer" | "resources" | "executors">;

/**
 * Chooses offers for the requests of a window: drops those that name an executor this worker lacks, bid under its floor or
 * do not fit; ranks the rest by bid per weighted unit, highest first; and offers while resources last. Resources offered to
 * one request are not available to the next.
 *
 * @param window Requests in order of arrival; of two equally good ones the earlier is served first.
 * @param available Resources that are neither leased nor offered.
 * @param shares How much may be out in offers to one scheduler; without bounds where undefined.
 */
export function planOffers(
  window: readonly ReceivedRequest[],
  available: Resources,
  terms: OfferTerms,
  shares?: Pick<OfferShares, "take">,
): readonly PlannedOffer[] {
  const ranked = window
    .filter(({ request }) => canServe(request, terms))
    .map((received) => ({ received, score: pricePerUnit(received.request.bid, received.request.spec.resources) }))
    .sort((left, right) => right.score === left.score ? 0 : right.score - left.score);
  const planned: PlannedOffer[] = [];
  let left = available;
  for (const { received } of ranked) {
    const offer = offerFor(received, left, terms);
    if (offer === undefined || shares?.take(offer.to, offer.resources) === false) continue;
    planned.push(offer);
    left = subtractResources(left, offer.resources);
  }
  return planned;
}

/** Whether this worker has every executor named, and the bid reaches the floor. */
function canServe(request: WorkerRequest, { offer, executors }: OfferTerms): boolean {
  return request.bid >= offer.floor && request.spec.executor.length > 0 &&
    request.spec.executor.every((descriptor) => findExecutor(executors, descriptor) !== undefined);
}

/** `whole` offers all resources of this worker, at the better of bid and price; `flexible` those asked for, at the bid. */
function offerFor(
  { from, request }: ReceivedRequest,
  available: Resources,
  { offer, resources }: OfferTerms,
): PlannedOffer | undefined {
  const offered = offer.strategy === "whole" ? resources : request.spec.resources;
  if (!fitsResources(request.spec.resources, offered) || !fitsResources(offered, available)) return undefined;
  const price = offer.strategy === "whole" ? Math.max(request.bid, offer.price) : request.bid;
  return { to: from, request, resources: offered, price };
}

/** The executor of that class and name, where this worker has one. */
export function findExecutor(
  executors: readonly ExecutorConfig[],
  wanted: { readonly class: string; readonly name: string },
): ExecutorConfig | undefined {
  return executors.find((executor) => executor.class === wanted.class && executor.name === wanted.name);
}
