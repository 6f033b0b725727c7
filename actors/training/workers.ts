/**
 * What a scheduler knows of workers, whatever training they serve. Those that may not know `/hypha-training/1` know no release, and do
 * not tell which lease a job runs under: they are left alone for a while. Which worker is foreign shows at its first answer or report;
 * until then it may be.
 *
 * @module
 */
import type { Peer, Uuid } from "../../transport/protocols/messages.ts";
import { offersOfPeerMax } from "./offers.ts";

/** An executor ends within this after its lease, in milliseconds (`docs/wire.md`, "The job bridge": SIGKILL after five seconds). */
export const executorEndMs = 6_000;
/** A worker whose lease is not known is left alone for this long, in milliseconds: a lease lives for ten seconds. */
export const foreignWaitMs = 10_000 + executorEndMs;
/** An offer that was not accepted is over at its worker after this, in milliseconds; a job could be taken for one under it. */
export const offerOverMs = 600;
/** Offers that are remembered, of each worker the newest few; one more makes the oldest forgotten. */
const offersRememberedMax = 1_024;

/** Workers of which it is remembered; with more, the one of which it was learned first may be foreign again. */
export const speakersMax = 1_024;

/** An offer of a worker that may be foreign. */
export interface UnacceptedOffer {
  readonly peer: Peer;
  readonly id: Uuid;
  /** The training that it was made to. */
  readonly training: string;
  /** When it arrived, in milliseconds since the epoch. */
  readonly at: number;
}

/** What is known of workers. */
export interface Workers {
  /** Which workers answer on `/hypha-training/1`; those that got no such question are missing. */
  readonly speakers: Readonly<Record<Peer, "ours" | "foreign">>;
  /** Until when each worker that left is left alone where it is foreign, in milliseconds since the epoch. */
  readonly heldUntil: Readonly<Record<Peer, number>>;
  /** Offers of a moment ago that were not accepted, of workers that may be foreign. */
  readonly unaccepted: readonly UnacceptedOffer[];
}

/** Nothing is known. */
export const unknownWorkers: Workers = { speakers: {}, heldUntil: {}, unaccepted: [] };

/** Whether a worker may not know `/hypha-training/1`. */
export const mayBeForeign = ({ speakers }: Workers, peer: Peer): boolean => speakers[peer] !== "ours";

/** A worker showed whether it is foreign. */
export function withSpeaker(workers: Workers, peer: Peer, as: "ours" | "foreign"): Workers {
  if (workers.speakers[peer] === as) return workers;
  const others = Object.entries(workers.speakers).filter(([other]) => other !== peer).slice(1 - speakersMax);
  return { ...workers, speakers: Object.fromEntries([...others, [peer, as]]) };
}

/** Whether a worker that may be foreign has an open offer for another training: the two leases could not be told apart. */
export function isOfferedElsewhere(
  workers: Workers,
  { peer, training, now }: { readonly peer: Peer; readonly training: string; readonly now: number },
): boolean {
  return workers.unaccepted.some((offer) =>
    offer.peer === peer && offer.training !== training && now - offer.at < offerOverMs
  );
}

/** A worker leaves a training. */
export function withHeld(
  workers: Workers,
  peer: Peer,
  time: { readonly until: number; readonly now: number },
): Workers {
  const held = Object.entries(workers.heldUntil).filter(([, until]) => until > time.now);
  const until = Math.max(time.until, workers.heldUntil[peer] ?? 0);
  return { ...workers, heldUntil: Object.fromEntries([...held, [peer, until]]) };
}

/** A worker made an offer. */
export function withOffer(workers: Workers, offer: UnacceptedOffer): Workers {
  if (!mayBeForeign(workers, offer.peer)) return workers;
  const others = workers.unaccepted.filter(({ id, at }) => id !== offer.id && offer.at - at < offerOverMs);
  const [oldest, ...newer] = others.filter(({ peer }) => peer === offer.peer);
  const kept = newer.length + 1 < offersOfPeerMax ? others : others.filter((other) => other !== oldest);
  return { ...workers, unaccepted: [...kept, offer].slice(-offersRememberedMax) };
}

/**
 * An offer became a lease. A node that took another key answers as a foreign one does until its worker has started again: whether this
 * one is foreign shows at its next answer.
 */
export function withLease(workers: Workers, { peer, id }: { readonly peer: Peer; readonly id: Uuid }): Workers {
  const { [peer]: speaker, ...others } = workers.speakers;
  return {
    ...workers,
    speakers: speaker === "foreign" ? others : workers.speakers,
    unaccepted: workers.unaccepted.filter((offer) => offer.id !== id),
  };
}

/** How long a dispatch waits for the end of unaccepted offers of its worker, in milliseconds. */
export function dispatchDelayMs(
  workers: Workers,
  { peer, now }: { readonly peer: Peer; readonly now: number },
): number {
  if (!mayBeForeign(workers, peer)) return 0;
  const arrivals = workers.unaccepted.filter((offer) => offer.peer === peer).map(({ at }) => at);
  return Math.max(0, Math.max(...arrivals) + offerOverMs - now);
}
