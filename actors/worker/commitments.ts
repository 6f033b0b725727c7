/**
 * A worker's commitments: open offers, leases, and the jobs under them. Plain data and pure functions. They keep one rule: no
 * resource is promised twice.
 *
 * @module
 */
import type { Member } from "../../pki/member.ts";
import type { Descriptor, JobSpec, Peer, Resources, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import { jobsMax } from "../job/cell/bounds.ts";
import { addResources, noResources, subtractResources } from "./resources.ts";

/** An open offer. */
export interface OpenOffer {
  readonly id: Uuid;
  readonly to: Peer;
  readonly resources: Resources;
  readonly descriptors: readonly Descriptor[];
  readonly price: number;
  /** Whole GPUs, by index of `[[cell.gpu]]`; empty where the worker has no such tables. */
  readonly gpus: readonly number[];
  /** Whether its resources are reserved until it is accepted or lapses; else it is accepted if they are available then. */
  readonly reserves: boolean;
}

/** A given lease. Its resources are free again when it is over and its last job has ended. */
export interface GivenLease {
  readonly id: Uuid;
  /** Where its holder is asked and told. */
  readonly peer: Peer;
  /** The member that accepted the offer: only its connections renew, and dispatch under, the lease. */
  readonly holder: Member;
  readonly resources: Resources;
  readonly descriptors: readonly Descriptor[];
  /** The GPUs that its jobs use, by index of `[[cell.gpu]]`. */
  readonly gpus: readonly number[];
  /** Milliseconds since the epoch. */
  readonly endsAt: number;
  readonly over: boolean;
  /** The task of its job that ended last; undefined before one ended. */
  readonly lastTask: Uuid | undefined;
  /** The run that it was accepted for; undefined where its holder names none. */
  readonly training: TrainingRun | undefined;
}

/** A job under a lease. */
export interface RunningJob {
  readonly taskId: Uuid;
  readonly leaseId: Uuid;
  readonly scheduler: Peer;
  /** The member that dispatched it: the holder of the lease. */
  readonly holder: Member;
  readonly spec: JobSpec;
  /** The run that it belongs to; undefined where its scheduler names none. */
  readonly training: TrainingRun | undefined;
  /** The number of the newest dispatch or change; 0 where its scheduler numbers none. */
  readonly dispatch: number;
  /** By the monotonic clock (`monotonicNow`), in milliseconds. */
  readonly dispatchedAt: number;
}

/** All commitments of a worker, by id. */
export interface Commitments {
  readonly offers: Readonly<Record<Uuid, OpenOffer>>;
  readonly leases: Readonly<Record<Uuid, GivenLease>>;
  readonly jobs: Readonly<Record<Uuid, RunningJob>>;
}

/** No commitments. */
export const noCommitments: Commitments = { offers: {}, leases: {}, jobs: {} };

/** The resources that are not leased. */
export function unleasedResources({ leases }: Commitments, total: Resources): Resources {
  return without(total, Object.values(leases));
}

/** The resources that are neither reserved nor leased. */
export function availableResources(commitments: Commitments, total: Resources): Resources {
  const promised = Object.values(commitments.offers).filter(({ reserves }) => reserves);
  return without(unleasedResources(commitments, total), promised);
}

/**
 * How many more leases can be given. A job gets a least amount of memory even if its lease is of none, so leases and offers that reserve
 * are counted, too.
 */
export function leasesLeft({ leases, offers }: Pick<Commitments, "leases" | "offers">, total: Resources): number {
  const reserving = Object.values(offers).filter(({ reserves }) => reserves);
  return jobsMax(total) - Object.keys(leases).length - reserving.length;
}

function without(total: Resources, promised: readonly { readonly resources: Resources }[]): Resources {
  return subtractResources(total, promised.reduce((sum, { resources }) => addResources(sum, resources), noResources));
}

/** Adds an open offer. */
export function addOffer(commitments: Commitments, offer: OpenOffer): Commitments {
  return { ...commitments, offers: { ...commitments.offers, [offer.id]: offer } };
}

/** Removes an offer that lapsed, or could not be delivered. */
export function dropOffer(commitments: Commitments, id: Uuid): Commitments {
  const { [id]: _, ...offers } = commitments.offers;
  return { ...commitments, offers };
}

/** Turns an offer into a lease of the same id, which keeps the resources. */
export function acceptOffer(
  commitments: Commitments,
  id: Uuid,
  { gpus, holder, endsAt, training }: Pick<GivenLease, "gpus" | "holder" | "endsAt" | "training">,
): Commitments {
  const offer = commitments.offers[id];
  if (offer === undefined) return commitments;
  const { to, resources, descriptors } = offer;
  const given = { id, peer: to, holder, resources, descriptors, gpus, endsAt, training };
  const lease: GivenLease = { ...given, over: false, lastTask: undefined };
  return { ...dropOffer(commitments, id), leases: { ...commitments.leases, [id]: lease } };
}

/** Moves the end of a lease. */
export function renewLease(commitments: Commitments, id: Uuid, endsAt: number): Commitments {
  const lease = commitments.leases[id];
  return lease === undefined
    ? commitments
    : { ...commitments, leases: { ...commitments.leases, [id]: { ...lease, endsAt } } };
}

/** Ends a lease: it is removed at once where no job runs under it, else with the last of them. */
export function endLease(commitments: Commitments, id: Uuid): Commitments {
  const lease = commitments.leases[id];
  if (lease === undefined) return commitments;
  return settleLease({ ...commitments, leases: { ...commitments.leases, [id]: { ...lease, over: true } } }, id);
}

/** Adds a job. */
export function addJob(commitments: Commitments, job: RunningJob): Commitments {
  return { ...commitments, jobs: { ...commitments.jobs, [job.taskId]: job } };
}

/** Removes a job. */
export function endJob(commitments: Commitments, taskId: Uuid): Commitments {
  const { [taskId]: ended, ...jobs } = commitments.jobs;
  if (ended === undefined) return commitments;
  const lease = commitments.leases[ended.leaseId];
  const leases = lease === undefined
    ? commitments.leases
    : { ...commitments.leases, [lease.id]: { ...lease, lastTask: taskId } };
  return settleLease({ ...commitments, jobs, leases }, ended.leaseId);
}

/** Whether a task was the last to end under a lease that the member holds: a dispatch of it comes too late. */
export function hasEnded(commitments: Commitments, holder: Member, taskId: Uuid): boolean {
  return leasesOf(commitments, holder).some(({ lastTask }) => lastTask === taskId);
}

function settleLease(commitments: Commitments, id: Uuid): Commitments {
  if (commitments.leases[id]?.over !== true || jobsOfLease(commitments, id).length > 0) return commitments;
  const { [id]: _, ...leases } = commitments.leases;
  return { ...commitments, leases };
}

/** The jobs under a lease. */
export function jobsOfLease(commitments: Commitments, leaseId: Uuid): readonly RunningJob[] {
  return Object.values(commitments.jobs).filter((job) => job.leaseId === leaseId);
}

/** The leases that a member holds. */
export function leasesOf(commitments: Commitments, holder: Member): readonly GivenLease[] {
  return Object.values(commitments.leases).filter((lease) => lease.holder === holder && !lease.over);
}

/**
 * The lease that a job is dispatched under. The message does not name it: it is a lease of the sender that was offered for
 * such a job, is of no other run, and has no running job. Of several it is the newest: a scheduler that restarted does not renew the
 * older ones.
 */
export function leaseForJob(
  commitments: Commitments,
  sender: Member,
  wanted: Descriptor,
  training?: TrainingRun,
): GivenLease | undefined {
  const isOfRun = (lease: GivenLease) =>
    lease.training === undefined || training === undefined ||
    (lease.training.id === training.id && lease.training.run === training.run);
  return leasesOf(commitments, sender).findLast((lease) =>
    isOfRun(lease) && jobsOfLease(commitments, lease.id).length === 0 &&
    lease.descriptors.some((descriptor) => descriptor.class === wanted.class && descriptor.name === wanted.name)
  );
}

/** The running job that a dispatch repeats: the same job, of the same class, by the same member. */
export function sameJob(commitments: Commitments, sender: Member, spec: JobSpec): RunningJob | undefined {
  return Object.values(commitments.jobs).find((job) =>
    job.holder === sender && job.spec.job_id === spec.job_id && job.spec.executor.class === spec.executor.class
  );
}

/** Changes a job that was dispatched again, lost a peer, or has another aggregator. */
export function changeJob(
  commitments: Commitments,
  taskId: Uuid,
  change: Partial<Pick<RunningJob, "spec" | "dispatch">>,
): Commitments {
  const job = commitments.jobs[taskId];
  return job === undefined
    ? commitments
    : { ...commitments, jobs: { ...commitments.jobs, [taskId]: { ...job, ...change } } };
}

/** An aggregation without one peer, in both directions; undefined where the job does not name the peer. */
export function specWithout(spec: JobSpec, peer: Peer): JobSpec | undefined {
  const { executor } = spec;
  if (executor.class !== "aggregate" || !executor.config.updates.peers.includes(peer)) return undefined;
  const leaveOut = <R extends { readonly peers: readonly Peer[] }>(reference: R): R => ({
    ...reference,
    peers: reference.peers.filter((other) => other !== peer),
  });
  const { updates, results, optimizer } = executor.config;
  const config = { updates: leaveOut(updates), results: leaveOut(results), optimizer };
  return { ...spec, executor: { ...executor, config } };
}
