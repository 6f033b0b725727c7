/**
 * The state of a training and the answer to each progress message: plain data and pure functions. `training_machine.ts` holds the state.
 *
 * @module
 */
import { type Member, nodeOf } from "../../pki/member.ts";
import type {
  Peer,
  Progress,
  ProgressResponse,
  Receipt,
  RoundReport,
  Uuid,
} from "../../transport/protocols/messages.ts";
import { type Divergence, noDivergence, withDiverged, withMaker } from "./divergence.ts";
import type { NotedMetrics } from "./metrics.ts";
import {
  answerRepeatedReceipt,
  answerStatus,
  answerUpdateReceived,
  freshPace,
  type PacedAnswer,
  type RoundPlan,
  type TrainerPace,
} from "./rounds.ts";

/** A worker that was leased for this training. */
export interface Participant {
  readonly peer: Peer;
  /** What its certificate proved when it offered: only its connections speak for it. */
  readonly member: Member;
  readonly leaseId: Uuid;
  readonly taskId: Uuid;
  readonly jobId: Uuid;
  /** `leased`: has no job yet. `done`: its last round is over. */
  readonly state: "leased" | "running" | "done";
  /** Whether its worker reported the end of the job. */
  readonly ended: boolean;
  /** Its node took another key: it leaves after a round, and may be leased again under the new PeerID. */
  readonly isLeaving: boolean;
  /** How long the round under way has waited for it, in milliseconds: what others do does not shorten it. */
  readonly waitedMs: number;
  /** Undefined until it sends some. */
  readonly metrics?: NotedMetrics;
}

/** A participant that trains. */
export interface Trainer extends Participant {
  readonly pace: TrainerPace;
  /** It sent its update: it sends no progress until the aggregator reports the round. */
  readonly waiting: boolean;
  /** Time of its last message, in milliseconds since the epoch. */
  readonly lastMessageAt: number;
  /** Whether rounds wait for its updates. A newcomer gets results first. */
  readonly isCounted: boolean;
  /** It is not counted, and a result was kept after all the time that a newcomer has. */
  readonly isOverdue: boolean;
  /** GPU memory of its lease, in GB. */
  readonly gpu: number;
  /** The aggregator's job that its worker was last sent, with its own job or after it. The same worker may aggregate again. */
  readonly told: Uuid | undefined;
  /** SHA-256 of its parameters, as it reported them last. */
  readonly parameters: string | undefined;
  /** The first round whose parameters were others than the scheduler's. */
  readonly divergedAt: number | undefined;
}

/** The trainers that an aggregator waits for, and those that it sends results to. */
export interface Roster {
  readonly updates: readonly Peer[];
  readonly results: readonly Peer[];
}

const emptyRoster: Roster = { updates: [], results: [] };

/** The participant that aggregates. */
export interface Aggregator extends Participant {
  /** The trainers in the newest job that was sent to it, which dispatch that was, and how many in a row it has refused. */
  readonly sent: Roster;
  readonly dispatch: number;
  readonly refusals: number;
  /** The trainers in the newest job that it acknowledged. */
  readonly knows: Roster;
  /** Its reports name no training: its worker is of the existing network, where a result is sent before it is reported. */
  readonly isForeign: boolean;
  /** Trainers whose updates of this round it misses, as it claims. */
  readonly missing: readonly Peer[];
}

/** A training. */
export interface Training {
  readonly trainers: Readonly<Record<Peer, Trainer>>;
  readonly aggregator: Aggregator | undefined;
  /** Rounds that the aggregator reported. */
  readonly roundsDone: number;
  /** SHA-256 of the parameters after the newest rounds, where the scheduler keeps the model. */
  readonly digests: Readonly<Record<number, string | undefined>>;
  /** The nodes whose parameters were others, and under which aggregators. */
  readonly divergence: Divergence;
}

/** A training without participants. */
export const emptyTraining: Training = {
  trainers: {},
  aggregator: undefined,
  roundsDone: 0,
  digests: {},
  divergence: noDivergence,
};

/** One progress message. */
export interface ReceivedProgress {
  readonly peer: Peer;
  readonly member: Member;
  readonly jobId: Uuid;
  readonly progress: Progress;
  /** Beside the progress of an aggregator. */
  readonly report?: RoundReport | undefined;
  /** Beside the receipt of a trainer of ours. */
  readonly receipt?: Receipt | undefined;
  /** Whether the message names the training, as all of our workers do. */
  readonly namesTraining: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** The training after a message, and the answer; no answer for a job that is not the sender's. */
export interface AnsweredProgress {
  readonly training: Training;
  readonly answer: ProgressResponse | undefined;
}

/** Answers a progress message (`docs/wire.md`, "Health and progress"). */
export function answerProgress(training: Training, received: ReceivedProgress, plan: RoundPlan): AnsweredProgress {
  const trainer = training.trainers[received.peer];
  if (trainer?.jobId === received.jobId && trainer.member === received.member) {
    return answerTrainer(training, trainer, received, plan);
  }
  const { aggregator } = training;
  if (aggregator?.member === received.member && aggregator.jobId === received.jobId) {
    return answerAggregator(training, aggregator, received, plan);
  }
  return { training, answer: undefined };
}

function answerTrainer(
  training: Training,
  before: Trainer,
  { progress, receipt, now }: ReceivedProgress,
  plan: RoundPlan,
): AnsweredProgress {
  if (before.state === "done") return { training, answer: { type: "Done" } };
  // The aggregator reports a round before it sends the result: where its report came first, the result is on its way.
  const waiting = progress === "update" && before.pace.roundsDone >= training.roundsDone;
  const trainer: Trainer = { ...before, lastMessageAt: now, waiting };
  const updated = withTrainer(training, trainer);
  const paced = (answered: PacedAnswer): AnsweredProgress => ({
    training: withTrainer(training, {
      ...trainer,
      pace: answered.pace,
      state: answered.answer.type === "Done" ? "done" : trainer.state,
    }),
    answer: answered.answer,
  });
  if (progress === "update") return { training: updated, answer: { type: "Ok" } };
  if (progress === "update-received" && receipt !== undefined) {
    return answerReceipt(updated, trainer, receipt, plan);
  }
  if (progress === "update-received") {
    const isRepeated = isRepeatedReceipt(before, training.roundsDone);
    return paced(isRepeated ? answerRepeatedReceipt(trainer.pace) : answerUpdateReceived(trainer.pace, plan));
  }
  if (typeof progress === "object" && "metrics" in progress) return { training: updated, answer: { type: "Ok" } };
  if (typeof progress === "object" && "status" in progress) {
    const paces = { ...pacesOf(training), [trainer.peer]: trainer.pace };
    return paced(answerStatus(paces, { peer: trainer.peer, batchSize: progress.status.batch_size, now }, plan));
  }
  return { training: updated, answer: { type: "Error" } };
}

/** A newcomer that is counted from now on: rounds have not waited for it yet. */
export const counted = { isCounted: true, isOverdue: false, waitedMs: 0 } as const;

/** Rounds whose digests are remembered: a trainer may be late. */
const digestsMax = 8;

/** Answers a receipt that names its round. A newcomer that has the newest result is counted from here on. */
function answerReceipt(
  training: Training,
  trainer: Trainer,
  { round, parameters }: Receipt,
  plan: RoundPlan,
): AnsweredProgress {
  const roundsDone = Math.max(trainer.pace.roundsDone, Math.min(round, training.roundsDone));
  const isLast = roundsDone >= plan.rounds;
  // Results that came together are named by the last of them, and may have been applied one by one.
  const known = [training.digests[round], training.digests[round - 1]];
  const isOther = parameters !== undefined && known[0] !== undefined && !known.includes(parameters);
  const after: Trainer = {
    ...trainer,
    pace: { ...freshPace, roundsDone },
    state: isLast ? "done" : trainer.state,
    ...(trainer.isCounted || roundsDone !== training.roundsDone ? {} : counted),
    parameters: parameters ?? trainer.parameters,
    divergedAt: trainer.divergedAt ?? (isOther ? round : undefined),
  };
  const divergence = isOther ? withDiverged(training.divergence, nodeOf(trainer.member), round) : training.divergence;
  return {
    training: withTrainer({ ...training, divergence }, after),
    answer: { type: isLast ? "Done" : "Continue" },
  };
}

/**
 * Whether a receipt counts no round: the trainer counts more rounds than the aggregator reported, or as many and began no other
 * since. A trainer repeats a receipt whose answer was lost; one that counted twice would leave the others, and the aggregator
 * would wait for its update of the last round.
 */
function isRepeatedReceipt({ pace, waiting }: Trainer, reported: number): boolean {
  if (pace.roundsDone !== reported) return pace.roundsDone > reported;
  return !waiting && pace.firstAt === undefined;
}

function answerAggregator(
  training: Training,
  aggregator: Aggregator,
  { progress, report, namesTraining, now }: ReceivedProgress,
  plan: RoundPlan,
): AnsweredProgress {
  if (typeof progress === "object" && "metrics" in progress) {
    const missing = report === undefined ? aggregator.missing : missingIn(training, report);
    return { training: { ...training, aggregator: { ...aggregator, missing } }, answer: { type: "Ok" } };
  }
  if (progress !== "updated") return { training, answer: { type: "Error" } };
  if (aggregator.state === "done" || training.roundsDone >= plan.rounds) return { training, answer: { type: "Done" } };
  const repeated = report === undefined ? undefined : report.round <= training.roundsDone;
  if (repeated === true) return { training, answer: { type: "Ok" } };
  // The same of a report without a round, because the answer was lost: the next round ends only after some trainer has this round's result.
  const furthest = Math.max(0, ...Object.values(training.trainers).map(({ pace }) => pace.roundsDone));
  if (repeated === undefined && training.roundsDone > furthest) return { training, answer: { type: "Ok" } };
  const roundsDone = training.roundsDone + 1;
  const trainers = Object.fromEntries(
    Object.entries(training.trainers).map(([peer, trainer]) => [peer, withResult(trainer, { roundsDone, now })]),
  );
  const isLast = roundsDone >= plan.rounds;
  const state = isLast && plan.keepsModel !== true ? "done" : aggregator.state;
  const ahead: Aggregator = { ...aggregator, state, missing: [], isForeign: !namesTraining, waitedMs: 0 };
  return {
    training: { ...training, trainers, aggregator: ahead, roundsDone },
    answer: { type: isLast ? "Done" : "Ok" },
  };
}

/**
 * The training after its newest round was kept: the trainers get the result from now on, and their silence counts from now. After the
 * last round the aggregator is done. Where it was lost a moment before, its report of the round is lost too.
 */
export function withKept(
  training: Training,
  { round, sha256, now }: { readonly round: number; readonly sha256: string | undefined; readonly now: number },
  plan: RoundPlan,
): Training {
  const { aggregator } = training;
  // Without an aggregator no report of the round comes any more. A foreign one reports it only after this.
  const isUnreported = aggregator === undefined && round > training.roundsDone;
  const roundsDone = isUnreported ? round : training.roundsDone;
  const trainers = Object.fromEntries(
    Object.entries(training.trainers).map(([peer, trainer]) => {
      const after = isUnreported ? withResult(trainer, { roundsDone, now }) : trainer;
      return [peer, { ...after, lastMessageAt: now, waitedMs: waitedFor(after) }];
    }),
  );
  const remembered = Object.entries(training.digests).filter(([at]) => Number(at) > round - digestsMax);
  const digests = { ...Object.fromEntries(remembered), [round]: sha256 };
  const divergence = withMaker(training.divergence, round, aggregator && nodeOf(aggregator.member));
  const after: Training = { ...training, trainers, roundsDone, digests, divergence };
  if (aggregator === undefined) return after;
  const state = round < plan.rounds ? aggregator.state : "done";
  return { ...after, aggregator: { ...aggregator, state, waitedMs: 0 } };
}

/** The trainers whose updates an aggregator misses in the round under way. */
function missingIn({ trainers, roundsDone }: Training, { round, members }: RoundReport): readonly Peer[] {
  if (round !== roundsDone + 1) return [];
  const missing = members.filter(({ peer, outcome }) => outcome === "missing" && trainers[peer] !== undefined);
  return [...new Set(missing.map(({ peer }) => peer))];
}

/** How long a trainer has been waited for where a round is over: the time of a newcomer goes on until it is counted. */
const waitedFor = ({ isCounted, waitedMs }: Trainer): number => isCounted ? 0 : waitedMs;

/** A trainer after the aggregator sent the round's result: its silence counts again from now until it confirms, the wait for it from 0. */
function withResult(
  trainer: Trainer,
  { roundsDone, now }: { readonly roundsDone: number; readonly now: number },
): Trainer {
  const isBehind = trainer.waiting && trainer.pace.roundsDone < roundsDone;
  return { ...trainer, waitedMs: waitedFor(trainer), ...(isBehind ? { waiting: false, lastMessageAt: now } : {}) };
}

/** Paces of the trainers that rounds wait for. */
function pacesOf(training: Training): Record<Peer, TrainerPace> {
  const running = Object.values(training.trainers).filter(({ state, isCounted }) => isCounted && state !== "done");
  return Object.fromEntries(running.map(({ peer, pace }) => [peer, pace]));
}

/** The participant with this PeerID. */
export function participantOf(training: Training, peer: Peer): Participant | undefined {
  return training.trainers[peer] ?? (training.aggregator?.peer === peer ? training.aggregator : undefined);
}

/** The sender of something. */
export interface Sender {
  readonly peer: Peer;
  /** What the certificate of its connection proved. */
  readonly member: Member;
}

/** The participant with this PeerID, if it is this member. */
export function participantBy(training: Training, { peer, member }: Sender): Participant | undefined {
  const participant = participantOf(training, peer);
  return participant?.member === member ? participant : undefined;
}

/** All participants. */
export function allParticipants(training: Training): readonly Participant[] {
  const trainers = Object.values(training.trainers);
  return training.aggregator === undefined ? trainers : [...trainers, training.aggregator];
}

/** The training with a trainer added or replaced. */
export function withTrainer(training: Training, trainer: Trainer): Training {
  return { ...training, trainers: { ...training.trainers, [trainer.peer]: trainer } };
}

/** The training after a message of a trainer. */
export function withMessage(training: Training, peer: Peer, now: number): Training {
  const trainer = training.trainers[peer];
  return trainer === undefined ? training : withTrainer(training, { ...trainer, lastMessageAt: now });
}

/** The training with fields of one participant changed. */
export function withParticipant(training: Training, peer: Peer, change: Partial<Participant>): Training {
  const trainer = training.trainers[peer];
  if (trainer !== undefined) return withTrainer(training, { ...trainer, ...change });
  const { aggregator } = training;
  return aggregator?.peer === peer ? { ...training, aggregator: { ...aggregator, ...change } } : training;
}

/** The training without one participant. */
export function withoutParticipant(training: Training, peer: Peer): Training {
  const { [peer]: _, ...trainers } = training.trainers;
  const { aggregator } = training;
  if (aggregator === undefined || aggregator.peer === peer) return { ...training, trainers, aggregator: undefined };
  const others = (peers: readonly Peer[]) => peers.filter((other) => other !== peer);
  const { updates, results } = aggregator.knows;
  const knows = { updates: others(updates), results: others(results) };
  return { ...training, trainers, aggregator: { ...aggregator, knows } };
}

/** A new trainer, leased and not dispatched. */
export function leasedTrainer(
  participant: Pick<Participant, "peer" | "member" | "leaseId" | "taskId" | "jobId">,
  { now, roundsDone, isCounted, gpu }: {
    readonly now: number;
    readonly roundsDone: number;
    readonly isCounted: boolean;
    readonly gpu: number;
  },
): Trainer {
  const pace = { ...freshPace, roundsDone };
  const news = { told: undefined, parameters: undefined, divergedAt: undefined };
  const flags = { ended: false, isLeaving: false, waiting: false, isOverdue: false };
  return { ...participant, ...news, ...flags, state: "leased", waitedMs: 0, pace, lastMessageAt: now, isCounted, gpu };
}

/** A new aggregator, leased and not dispatched. */
export function leasedAggregator(
  participant: Pick<Participant, "peer" | "member" | "leaseId" | "taskId" | "jobId">,
): Aggregator {
  const rosters = { sent: emptyRoster, knows: emptyRoster, dispatch: 0, refusals: 0 };
  const flags = { ended: false, isLeaving: false, isForeign: false };
  return { ...participant, ...rosters, ...flags, state: "leased", missing: [], waitedMs: 0 };
}

/** PeerIDs of the trainers. */
export function trainersOf(training: Training): readonly Peer[] {
  return Object.keys(training.trainers);
}

/** Whether every trainer that is counted and the aggregator had their last round. */
export function isTrained(training: Training): boolean {
  return training.aggregator?.state === "done" &&
    Object.values(training.trainers).every(({ state, isCounted }) => state === "done" || !isCounted);
}

/** Whether every worker reported the end of its job. */
export function isAllEnded(training: Training): boolean {
  return allParticipants(training).every(({ ended }) => ended);
}
