/**
 * Runs of trainings at a worker: which one of a scheduler's training is the newest, and what is left of lower ones. Plain data and
 * pure functions.
 *
 * @module
 */
import type { Member } from "../../pki/member.ts";
import type { JobSpec, Peer, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import { type Commitments, type GivenLease, jobsOfLease, type RunningJob } from "./commitments.ts";

/** The newest run that each scheduler named, by the name of its training. */
export type NewestRuns = Readonly<Record<Member, Readonly<Record<string, number>>>>;

/** Schedulers, and trainings of one scheduler, that are remembered; one more makes the oldest forgotten. */
export const schedulersRememberedMax = 256;
export const trainingsRememberedMax = 16;

/** Whether a higher run of the training was named by the same scheduler. */
export function isStale(runs: NewestRuns, holder: Member, { id, run }: TrainingRun): boolean {
  const newest = own(own(runs, holder) ?? {}, id);
  return newest !== undefined && newest > run;
}

/** Remembers a run, unless a higher one is known. */
export function noteRun(runs: NewestRuns, holder: Member, training: TrainingRun): NewestRuns {
  if (isStale(runs, holder, training)) return runs;
  const ofHolder = newestLast(own(runs, holder) ?? {}, training.id, training.run, trainingsRememberedMax);
  return newestLast(runs, holder, ofHolder, schedulersRememberedMax);
}

function own<A>(record: Readonly<Record<string, A>>, key: string): A | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

function newestLast<A>(record: Readonly<Record<string, A>>, key: string, value: A, max: number): Record<string, A> {
  const others = Object.entries(record).filter(([other]) => other !== key);
  return Object.fromEntries([...others.slice(Math.max(0, others.length - max + 1)), [key, value]]);
}

/** What belongs to a training: all of its runs up to one, or the lower ones only. */
export interface Bygone {
  readonly holder: Member;
  readonly training: TrainingRun;
  readonly runs: "lower" | "lower-and-this";
}

function isOf(work: Pick<GivenLease | RunningJob, "holder" | "training">, { holder, training, runs }: Bygone): boolean {
  if (work.holder !== holder || work.training?.id !== training.id) return false;
  return work.training.run < training.run || (runs === "lower-and-this" && work.training.run === training.run);
}

/** The leases of a training's bygone runs that are not over. */
export function bygoneLeases(book: Commitments, bygone: Bygone): readonly GivenLease[] {
  return Object.values(book.leases).filter((lease) => !lease.over && isOf(lease, bygone));
}

/** Whether jobs of a training's lower runs have not ended yet. */
export function hasBygoneJobs(book: Commitments, bygone: Omit<Bygone, "runs">): boolean {
  return Object.values(book.jobs).some((job) => isOf(job, { ...bygone, runs: "lower" }));
}

/**
 * A sender whose pushes could not be told apart: another member's running aggregation names it too, and pushes for one of the two
 * name no training.
 */
export function ambiguousSender(
  book: Commitments,
  wanted: Pick<RunningJob, "holder" | "spec" | "training">,
): Peer | undefined {
  const senders = sendersOf(wanted.spec);
  for (const other of Object.values(book.jobs)) {
    if (other.holder === wanted.holder || (other.training !== undefined && wanted.training !== undefined)) continue;
    const named = new Set(sendersOf(other.spec));
    const shared = senders.find((peer) => named.has(peer));
    if (shared !== undefined) return shared;
  }
  return undefined;
}

function sendersOf({ executor }: JobSpec): readonly Peer[] {
  return executor.class === "aggregate" ? executor.config.updates.peers : [];
}

/** The lease of one job that a member dispatched. */
export function leaseOfJob(book: Commitments, holder: Member, jobId: Uuid): GivenLease | undefined {
  return Object.values(book.leases).find((lease) =>
    lease.holder === holder && jobsOfLease(book, lease.id).some(({ spec }) => spec.job_id === jobId)
  );
}
