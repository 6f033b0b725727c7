/**
 * A training as its scheduler keeps it: who takes part, how far everyone is, and what each progress message is answered.
 * Plain data and pure functions; the machine in `scheduler.ts` moves it.
 *
 * @module
 */
import type { Peer, Progress, ProgressResponse, Uuid } from "../../transport/protocols/messages.ts";
import {
  answerStatus,
  answerUpdateReceived,
  freshPace,
  type PacedAnswer,
  type RoundPlan,
  type TrainerPace,
} from "./rounds.ts";

/** What a lease was granted for. */
export interface Member {
  readonly peer: Peer;
  readonly leaseId: Uuid;
  readonly taskId: Uuid;
  readonly jobId: Uuid;
  /** `leased`: not dispatched yet. `done`: its last round is over, it may go. */
  readonly state: "leased" | "running" | "done";
  /** Whether its worker said that the job ended. */
  readonly ended: boolean;
}

/** A member that trains. */
export interface Trainer extends Member {
  readonly pace: TrainerPace;
  /** Its update is on the way: until the aggregator says that the round is over there is nothing to hear of it. */
  readonly waiting: boolean;
  /** When it was last heard of, in milliseconds since the epoch. */
  readonly heardAt: number;
}

/** The member that aggregates. */
export interface Aggregator extends Member {
  /** Trainers that it was last told of. */
  readonly knows: readonly Peer[];
}

/** A training under way. */
export interface Training {
  readonly trainers: Readonly<Record<Peer, Trainer>>;
  readonly aggregator: Aggregator | undefined;
  /** Rounds that the aggregator reported. */
  readonly roundsDone: number;
}

/** Before anybody takes part. */
export const emptyTraining: Training = { trainers: {}, aggregator: undefined, roundsDone: 0 };

/** One progress message. */
export interface ReceivedProgress {
  readonly peer: Peer;
  readonly jobId: Uuid;
  readonly progress: Progress;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The training after a message and the answer to it; no answer at all for a job that the sender doesn't do. */
export interface AnsweredProgress {
  readonly training: Training;
  readonly answer: ProgressResponse | undefined;
}

/** Answers a progress message (`docs/wire.md`, "Health and progress"). */
export function answerProgress(training: Training, received: ReceivedProgress, plan: RoundPlan): AnsweredProgress {
  const trainer = training.trainers[received.peer];
  if (trainer?.jobId === received.jobId) return answerTrainer(training, trainer, received, plan);
  const { aggregator } = training;
  if (aggregator?.peer === received.peer && aggregator.jobId === received.jobId) {
    return answerAggregator(training, aggregator, received, plan);
  }
  return { training, answer: undefined };
}

function answerTrainer(
  training: Training,
  before: Trainer,
  { progress, now }: ReceivedProgress,
  plan: RoundPlan,
): AnsweredProgress {
  if (before.state === "done") return { training, answer: { type: "Done" } };
  const trainer: Trainer = { ...before, heardAt: now, waiting: progress === "update" };
  const heard = withTrainer(training, trainer);
  const paced = (answered: PacedAnswer): AnsweredProgress => ({
    training: withTrainer(training, {
      ...trainer,
      pace: answered.pace,
      state: answered.answer.type === "Done" ? "done" : trainer.state,
    }),
    answer: answered.answer,
  });
  if (progress === "update") return { training: heard, answer: { type: "Ok" } };
  if (progress === "update-received") return paced(answerUpdateReceived(trainer.pace, plan));
  if (typeof progress === "object" && "metrics" in progress) return { training: heard, answer: { type: "Ok" } };
  if (typeof progress === "object" && "status" in progress) {
    const paces = pacesOf(training);
    return paced(answerStatus(paces, { peer: trainer.peer, batchSize: progress.status.batch_size, now }, plan));
  }
  return { training: heard, answer: { type: "Error" } };
}

function answerAggregator(
  training: Training,
  aggregator: Aggregator,
  { progress, now }: ReceivedProgress,
  plan: RoundPlan,
): AnsweredProgress {
  if (typeof progress === "object" && "metrics" in progress) return { training, answer: { type: "Ok" } };
  if (progress !== "updated") return { training, answer: { type: "Error" } };
  if (aggregator.state === "done") return { training, answer: { type: "Done" } };
  // Said again because the answer was lost: the next round's updates follow only after some trainer has this one's result.
  const furthest = Math.max(0, ...Object.values(training.trainers).map(({ pace }) => pace.roundsDone));
  if (training.roundsDone > furthest) return { training, answer: { type: "Ok" } };
  const roundsDone = training.roundsDone + 1;
  const trainers = Object.fromEntries(
    Object.entries(training.trainers).map(([peer, trainer]) => [peer, withResult(trainer, { roundsDone, now })]),
  );
  const after: Training = { ...training, trainers, roundsDone };
  if (roundsDone < plan.rounds) return { training: after, answer: { type: "Ok" } };
  return { training: { ...after, aggregator: { ...aggregator, state: "done" } }, answer: { type: "Done" } };
}

/** A trainer once the aggregator sent this round's result to all: one that did not say so yet has to be heard of again. */
function withResult(
  trainer: Trainer,
  { roundsDone, now }: { readonly roundsDone: number; readonly now: number },
): Trainer {
  const isBehind = trainer.waiting && trainer.pace.roundsDone < roundsDone;
  return isBehind ? { ...trainer, waiting: false, heardAt: now } : trainer;
}

/** Paces of those that still train. */
function pacesOf(training: Training): Record<Peer, TrainerPace> {
  const running = Object.values(training.trainers).filter(({ state }) => state !== "done");
  return Object.fromEntries(running.map(({ peer, pace }) => [peer, pace]));
}

/** A member of the training, whatever it does. */
export function memberOf(training: Training, peer: Peer): Member | undefined {
  return training.trainers[peer] ?? (training.aggregator?.peer === peer ? training.aggregator : undefined);
}

/** A member by the lease it gave. */
export function memberByLease(training: Training, leaseId: Uuid): Member | undefined {
  return membersOf(training).find((member) => member.leaseId === leaseId);
}

/** Everyone that takes part. */
export function membersOf(training: Training): readonly Member[] {
  const trainers = Object.values(training.trainers);
  return training.aggregator === undefined ? trainers : [...trainers, training.aggregator];
}

/** The training with a trainer added or replaced. */
export function withTrainer(training: Training, trainer: Trainer): Training {
  return { ...training, trainers: { ...training.trainers, [trainer.peer]: trainer } };
}

/** The training with whatever is said of one member changed. */
export function withMember(training: Training, peer: Peer, change: Partial<Member>): Training {
  const trainer = training.trainers[peer];
  if (trainer !== undefined) return withTrainer(training, { ...trainer, ...change });
  const { aggregator } = training;
  return aggregator?.peer === peer ? { ...training, aggregator: { ...aggregator, ...change } } : training;
}

/** The training without one member. */
export function withoutMember(training: Training, peer: Peer): Training {
  const { [peer]: _, ...trainers } = training.trainers;
  const aggregator = training.aggregator?.peer === peer ? undefined : training.aggregator;
  return { ...training, trainers, aggregator };
}

/** A new trainer, leased and not dispatched. */
export function leasedTrainer(member: Pick<Member, "peer" | "leaseId" | "taskId" | "jobId">, now: number): Trainer {
  return { ...member, state: "leased", ended: false, pace: freshPace, waiting: false, heardAt: now };
}

/** Trainers that should be training and were not heard of for longer than `silenceMaxMs`. */
export function silentTrainers(training: Training, now: number, silenceMaxMs: number): readonly Trainer[] {
  return Object.values(training.trainers)
    .filter(({ state, waiting, heardAt }) => state === "running" && !waiting && now - heardAt > silenceMaxMs);
}

/** A new aggregator, leased and not dispatched. */
export function leasedAggregator(member: Pick<Member, "peer" | "leaseId" | "taskId" | "jobId">): Aggregator {
  return { ...member, state: "leased", ended: false, knows: [] };
}

/** PeerIDs of the trainers. */
export function trainersOf(training: Training): readonly Peer[] {
  return Object.keys(training.trainers);
}

/** Whether the aggregator waits for a trainer that is gone: it has to be told. */
export function isAggregatorBehind({ aggregator, trainers }: Training): boolean {
  return aggregator !== undefined && aggregator.state === "running" &&
    aggregator.knows.some((peer) => trainers[peer] === undefined);
}

/** Whether every trainer and the aggregator had their last round. */
export function isTrained(training: Training): boolean {
  return training.aggregator?.state === "done" &&
    Object.values(training.trainers).every(({ state }) => state === "done");
}

/** Whether every worker said that its job ended. */
export function isAllEnded(training: Training): boolean {
  return membersOf(training).every(({ ended }) => ended);
}
