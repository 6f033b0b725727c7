/**
 * How a worker chooses the requests of one window that it makes offers to.
 *
 * @module
 */
import type { Peer, Resources, WorkerRequest } from "../../transport/protocols/messages.ts";
import type { ExecutorConfig, WorkerConfig } from "../config/config.ts";
import { chooseGpus, type GpuMemories, gpuMemory, withoutGpus } from "./gpus.ts";
import { fitsResources, pricePerUnit, subtractResources, weighResources } from "./resources.ts";

/** Requests are collected this long before they are ranked, in milliseconds (`docs/wire.md`, "Allocation"). */
export const requestWindowMs = 200;
/** Requests of one window; further ones are dropped (`docs/wire.md`, "Allocation"). */
export const requestsPerWindowMax = 100;
/** An offer that was not accepted lapses after this, in milliseconds (`docs/wire.md`, "Allocation"). */
export const offerLifeMs = 500;

/**
 * A request waits this long for the end of open offers, in milliseconds: the existing schedulers take offers for five seconds
 * (`docs/wire.md`, "Allocation").
 */
export const requestWaitMs = 4_500;

/** A request and the scheduler that made it. */
export interface ReceivedRequest {
  readonly from: Peer;
  readonly request: WorkerRequest;
  /** When it arrived, by the monotonic clock (`monotonicNow`), in milliseconds. */
  readonly at: number;
}

/** An offer to one scheduler, before it is sent. */
export interface PlannedOffer {
  readonly to: Peer;
  readonly request: WorkerRequest;
  readonly resources: Resources;
  readonly price: number;
  /** Whole GPUs for it; empty where GPU memory is an amount. */
  readonly gpus: readonly number[];
  /** Whether its resources are kept for this scheduler until the offer lapses. */
  readonly reserves: boolean;
}

/** The configuration that a worker weighs requests by. */
export type OfferTerms = Pick<WorkerConfig, "offer" | "resources" | "executors">;

/** What is free to be offered. */
export interface Free {
  readonly resources: Resources;
  /** How many more leases can be given. */
  readonly leases: number;
  /** Undefined where GPU memory is an amount. */
  readonly gpus?: GpuMemories | undefined;
}

/**
 * Chooses offers for the requests of a window: drops those that name an executor this worker lacks, bid under its floor or
 * do not fit; ranks the rest by bid per weighted unit of what they would get, highest first, those for nothing last; and offers while
 * resources last. Resources offered to one request are not available to the next. Schedulers that left an offer unaccepted come last, and their offers reserve nothing: of
 * several such offers the first to be accepted counts.
 *
 * @param window Requests in order of arrival; of two equally good ones the earlier is served first.
 * @param free What is neither leased nor reserved.
 * @param isLeaving Whether a scheduler left an offer unaccepted.
 */
export function planOffers(
  window: readonly ReceivedRequest[],
  free: Free,
  terms: OfferTerms,
  isLeaving: (peer: Peer) => boolean = () => false,
): readonly PlannedOffer[] {
  const ranked = window
    .filter(({ request }) => canServe(request, terms))
    .map((received) => ({
      received,
      reserves: !isLeaving(received.from),
      score: scoreOf(received.request, terms),
    }))
    .sort((left, right) =>
      left.reserves === right.reserves
        ? (right.score === left.score ? 0 : right.score - left.score)
        : Number(right.reserves) - Number(left.reserves)
    );
  const planned: PlannedOffer[] = [];
  let left = free;
  for (const { received, reserves } of ranked) {
    const offer = offerFor(received, left, terms);
    if (offer === undefined) continue;
    planned.push({ ...offer, reserves });
    if (!reserves) continue;
    const resources = subtractResources(left.resources, offer.resources);
    left = { resources, leases: left.leases - 1, gpus: left.gpus && withoutGpus(left.gpus, offer.gpus) };
  }
  return planned;
}

/**
 * The requests that wait for the end of open offers: those that could be served without them, of each scheduler the newest, of the
 * newest so many schedulers. A scheduler that has an open offer waits for nothing.
 *
 * @param requests Requests in order of arrival.
 * @param init The open offers, the resources that are not leased, and the time by the monotonic clock.
 */
export function waitingRequests(
  requests: readonly ReceivedRequest[],
  { offers, unleased, now }: {
    readonly offers: Iterable<{ readonly to: Peer }>;
    readonly unleased: Free;
    readonly now: number;
  },
  terms: OfferTerms,
): readonly ReceivedRequest[] {
  const newest = new Map(requests.map((received) => [received.from, received]));
  for (const { to } of offers) newest.delete(to);
  return [...newest.values()].filter((received) =>
    now - received.at < requestWaitMs && canServe(received.request, terms) &&
    offerFor(received, unleased, terms) !== undefined
  ).slice(-requestsPerWindowMax);
}

/** Whether this worker has every executor named, and the bid reaches the floor. */
function canServe(request: WorkerRequest, { offer, executors }: OfferTerms): boolean {
  return request.bid >= offer.floor && request.spec.executor.length > 0 &&
    request.spec.executor.every((descriptor) => findExecutor(executors, descriptor) !== undefined);
}

/** The bid per weighted unit of what would be offered. A request for nothing comes after every other, whatever it bids. */
function scoreOf({ bid, spec }: WorkerRequest, terms: OfferTerms): number {
  return weighResources(spec.resources) > 0
    ? pricePerUnit(bid, wantedBy(spec.resources, terms))
    : Number.NEGATIVE_INFINITY;
}

function wantedBy(asked: Resources, { offer, resources }: OfferTerms): Resources {
  return offer.strategy === "whole" ? resources : asked;
}

/**
 * `whole` offers all resources of this worker, at the better of bid and price; `flexible` those asked for, at the bid. GPU memory is
 * that of whole GPUs: a job that asked for less gets all of it.
 */
function offerFor(
  { from, request }: ReceivedRequest,
  free: Free,
  terms: OfferTerms,
): Omit<PlannedOffer, "reserves"> | undefined {
  const asked = request.spec.resources;
  const wanted = wantedBy(asked, terms);
  if (free.leases < 1) return undefined;
  if (!fitsResources(asked, wanted) || !fitsResources(wanted, free.resources)) return undefined;
  const gpus = free.gpus === undefined ? [] : chooseGpus(free.gpus, wanted.gpu);
  if (gpus === undefined) return undefined;
  const gpu = free.gpus === undefined || gpus.length === 0
    ? wanted.gpu
    : Math.min(gpuMemory(free.gpus, gpus), free.resources.gpu);
  const offered = { ...wanted, gpu };
  const { offer } = terms;
  const price = offer.strategy === "whole" ? Math.max(request.bid, offer.price) : request.bid;
  return { to: from, request, resources: offered, price, gpus };
}

/** The executor of that class and name, where this worker has one. */
export function findExecutor(
  executors: readonly ExecutorConfig[],
  wanted: { readonly class: string; readonly name: string },
): ExecutorConfig | undefined {
  return executors.find((executor) => executor.class === wanted.class && executor.name === wanted.name);
}
