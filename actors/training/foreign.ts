/**
 * Waiting times for workers that may not know `/hypha-training/1`: they know no release, and do not tell which lease a job runs under.
 * Which worker is foreign shows at its first answer or report; until then it may be.
 *
 * @module
 */
import type { Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { SchedulerArgs, SchedulerContext } from "./training_setup.ts";
import type { Participant } from "./training.ts";

/** An executor ends within this after its lease, in milliseconds (`docs/wire.md`, "The job bridge": SIGKILL after five seconds). */
export const executorEndMs = 6_000;
/** A worker whose lease is not known is left alone for this long, in milliseconds: a lease lives for ten seconds. */
export const foreignWaitMs = 10_000 + executorEndMs;
/** An offer that was not accepted is over at its worker after this, in milliseconds; a job could be taken for one under it. */
export const offerOverMs = 600;
/** Offers that are remembered; one more makes the oldest forgotten. */
const offersRememberedMax = 1_024;

/** An offer of a worker that may be foreign. */
export interface UnacceptedOffer {
  readonly peer: Peer;
  readonly id: Uuid;
  /** When it arrived, in milliseconds since the epoch. */
  readonly at: number;
}

const mayBeForeign = ({ speakers }: Pick<SchedulerContext, "speakers">, peer: Peer) => speakers[peer] !== "ours";

/** Whether a worker's offers are left alone: its leftovers of an earlier run or lease could be taken for the new work. */
export function isHeldBack(context: SchedulerContext, peer: Peer): boolean {
  const { isRestart, startedAt, heldUntil, ports } = context;
  const until = Math.max(isRestart ? startedAt + foreignWaitMs : 0, heldUntil[peer] ?? 0);
  return mayBeForeign(context, peer) && ports.now() < until;
}

/** Until when the workers of participants that leave are left alone: the ends of their leases, and of what runs under them. */
export function heldAfter(
  { context, self }: Pick<SchedulerArgs, "context" | "self">,
  leaving: readonly Participant[],
): SchedulerContext["heldUntil"] {
  const now = context.ports.now();
  const { children } = self.getSnapshot();
  const held = Object.entries(context.heldUntil).filter(([, until]) => until > now);
  const added = leaving.map(({ peer, leaseId }): [Peer, number] => {
    const lease = children[`lease/${leaseId}`]?.getSnapshot() as { readonly context?: { readonly endsAt?: number } };
    const endsAt = lease?.context?.endsAt;
    return [peer, endsAt === undefined ? now + foreignWaitMs : endsAt + executorEndMs];
  });
  return Object.fromEntries([...held, ...added]);
}

/** An offer arrived, or became a lease. */
export function withOffer(
  context: SchedulerContext,
  offer: UnacceptedOffer,
  change: "arrived" | "accepted",
): readonly UnacceptedOffer[] {
  const others = context.unaccepted.filter(({ id, at }) => id !== offer.id && offer.at - at < offerOverMs);
  return change === "accepted" || !mayBeForeign(context, offer.peer)
    ? others
    : [...others, offer].slice(-offersRememberedMax);
}

/** How long a dispatch waits for the end of unaccepted offers of its worker, in milliseconds. */
export function dispatchDelayMs(context: SchedulerContext, peer: Peer): number {
  if (!mayBeForeign(context, peer)) return 0;
  const arrivals = context.unaccepted.filter((offer) => offer.peer === peer).map(({ at }) => at);
  return Math.max(0, Math.max(...arrivals) + offerOverMs - context.ports.now());
}
