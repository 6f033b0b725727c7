/**
 * Context, events, guards, children and times of a training's machine.
 *
 * @module
 */
import { setup } from "xstate";
import { Result } from "effect";
import type { Member } from "../../pki/member.ts";
import type { RecordAnswer, RequestAnswer, StreamHandle, TransportFact } from "../../transport/port.ts";
import type { Peer, TrainingRequest, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import { allocationMachine } from "./allocation.ts";
import type { DilocoJobConfig } from "../config/config.ts";
import { evaluationMachine } from "./evaluation.ts";
import type { Evaluator } from "./evaluator.ts";
import { heldLeaseMachine } from "./held_lease.ts";
import type { EventsOf } from "../runtime/effect_actor.ts";
import { monotonicNow, type Ports, timerMaxMs } from "../runtime/ports.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";
import { type FoundDataset, readDatasetRecord } from "../data/dataset_record.ts";
import type { Participants } from "./job_spec.ts";
import { keptWeights } from "./repository_weights.ts";
import type { RoundPlan } from "./rounds.ts";
import { takeRunActor } from "./run_number.ts";
import type { SliceCursor } from "./slices.ts";
import type { Checkpoint } from "./checkpoints.ts";
import { modelStoreMachine } from "./model_store.ts";
import { enteredTrainers, isAggregatorBehind, rosterOf, untoldTrainers } from "./roster.ts";
import { allParticipants, isAllEnded, isTrained, participantOf, trainersOf, type Training } from "./training.ts";
import type { Workers } from "./workers.ts";

/** A running trainer that neither reports nor uses its bridge for this long is lost, in seconds. */
export const silenceSecondsDefault = 900;
/** Pause between two checks for silent trainers, in milliseconds. */
export const silenceCheckMs = 10_000;
/** Pause between two look-ups of the data set, in milliseconds. */
export const findAgainMs = 1_000;
/** After this many failures in a row, one in this many is reported: a line in one to six minutes. */
export const reportedEach = 64;
/** Whether this failure in a row is reported: the first, the second, the fourth, … */
export function isReported(failures: number): boolean {
  return failures < reportedEach ? Number.isInteger(Math.log2(failures)) : failures % reportedEach === 0;
}
/** Time limit of one look-up of the data set; the deadline adds the transport's own time. In milliseconds. */
export const findTimeoutMs = 5_000;
export const findDeadlineMs = findTimeoutMs + 3_000;
/** Pause between two look-ups for another provider, in milliseconds, and their number when a data node appears. */
export const seekAgainMs = 5_000;
export const seeksAtData = 3;
/**
 * While workers are missing, the leased ones are released after this, in milliseconds; lost ones may be leased again, and the parts are
 * filled in the other order. A leased trainer may be the only worker that can aggregate, and another scheduler may hold missing ones.
 */
export const regroupMs = 20_000;
/**
 * A worker that refused or failed is not leased again for this long, in milliseconds; one that a round waited for longer than its
 * deadline, for as long as that. With each loss of the node in a run the time doubles, so many times at most.
 */
export const restMs = regroupMs;
export const restDoublingsMax = 4;
/** Nodes of which losses, or that they granted nothing, are remembered; with more, the first of them is forgotten. */
export const lossesMax = 1_024;
/** A dispatch is answered within this (`docs/wire.md`, "Protocols": 10 s), in milliseconds. */
export const dispatchTimeoutMs = 10_000;
export const dispatchDeadlineMs = dispatchTimeoutMs + 2_000;
/** A re-dispatch that got no answer is repeated after this, in milliseconds. */
export const redispatchAgainMs = 1_000;
/** The last evaluation and the trainers' receipts are waited for this long after the last round, in milliseconds. */
export const tailMs = 30_000;
/** The last result is sent within this, in milliseconds. */
export const sendingMs = 300_000;
/** Workers report the end of their jobs within this, in milliseconds; the existing ones do not report it. */
export const lingerMs = 2_000;

/** What a training is made of. */
export interface TrainingConfig {
  readonly job: DilocoJobConfig;
  /** Directory of what its scheduler remembers; it remembers nothing where undefined. */
  readonly stateDir?: string | undefined;
}

/** What a training tells its scheduler, which knows the workers of all trainings. */
export type TrainingFact =
  /** It has a run. Earlier ones may have left leases and jobs at workers. */
  | { readonly type: "training.began"; readonly run: TrainingRun; readonly isRestart: boolean }
  /** It wants workers, and leases none before its turn. */
  | { readonly type: "training.queued"; readonly id: string }
  /** It has all that it needs. */
  | { readonly type: "training.running"; readonly id: string }
  /** There are too few workers for it: it released those that it had, and wants others after a pause. */
  | { readonly type: "training.resting"; readonly id: string }
  | { readonly type: "worker.leased"; readonly peer: Peer; readonly leaseId: Uuid }
  /** It needs this lease no longer. Where the worker knows no release, it gets no request `until` then (milliseconds since the epoch). */
  | { readonly type: "worker.left"; readonly peer: Peer; readonly leaseId: Uuid; readonly until: number }
  /** A message that workers of ours understand. */
  | { readonly type: "worker.told"; readonly peer: Peer; readonly message: TrainingRequest }
  /** A report of its job named the training, as all workers of ours do, or did not. */
  | { readonly type: "worker.known"; readonly peer: Peer; readonly as: "ours" | "foreign" };

/** How a training takes turns with others in looking for workers. In milliseconds. */
export interface Patience {
  /** A turn lasts for so long: then it releases what it has. */
  readonly holdMs: number;
  /** It rests between these two. */
  readonly restMs: readonly [least: number, most: number];
}

/** The input of a training. */
export interface TrainingInput extends Omit<RoleInput<TrainingConfig>, "parent">, HasParent<TrainingFact> {
  /** Its name, which messages, files and log lines carry. */
  readonly id: string;
  /** Measures the model after each round. A job with `evaluation` fails without one. */
  readonly evaluator?: Evaluator | undefined;
  /** The scheduler's own trust domain, where it is known. */
  readonly domain?: string | undefined;
  /** What the scheduler knows of workers now. */
  readonly workers: () => Workers;
  /** Undefined where there is no other training: it looks for workers without pauses. */
  readonly patience?: Patience | undefined;
}

/** The context of a training. */
export interface TrainingContext extends TrainingInput {
  readonly dataset: FoundDataset | undefined;
  readonly slices: SliceCursor;
  readonly training: Training;
  /** The run of the training, which every message of ours names; undefined until it is taken. */
  readonly run: TrainingRun | undefined;
  /** Whether an earlier run may have left leases and jobs at workers. */
  readonly isRestart: boolean;
  /** The part that is filled first. */
  readonly first: "trainers" | "aggregator";
  /** When its turn to look for workers is over, in milliseconds since the epoch. */
  readonly turnEndsAt: number;
  /** When it has waited for members long enough, by the clock without steps. */
  readonly waitEndsAt: number;
  /** Workers that refused or failed, and until when they are not leased again, in milliseconds since the epoch. */
  readonly excluded: Readonly<Record<Peer, number>>;
  /** Members whose updates or results were rejected: not leased again in this run, under no key. */
  readonly barred: readonly Member[];
  /** How often each node was lost in this run. */
  readonly losses: Readonly<Record<string, number>>;
  /** Nodes that granted nothing when an offer of them was accepted last: others are taken before them. */
  readonly unreliable: readonly string[];
  readonly evaluation: "none" | "on" | "broken";
  readonly roundsEvaluated: number;
  readonly accuracy: number | undefined;
  /** The model; undefined where the scheduler does not keep it. */
  readonly model: KeptModel | undefined;
  /** The model could not be opened yet: the disk has no room, or the hub does not give the weights. */
  readonly isUnopened: boolean;
  /** Samples that the trainers reported, earlier runs included. */
  readonly samples: number;
  readonly lookups: number;
  /** Remaining look-ups of the data set's record. */
  readonly seeks: number;
  /** When the last connection to the data set's provider was lost, by the clock without steps; undefined while none is known to be lost. */
  readonly dataGoneAt: number | undefined;
  /** How long a round has stood because trainers that are behind cannot go on without the data node, in milliseconds. */
  readonly dataWait: { readonly round: number; readonly ms: number };
  readonly dispatches: number;
  /** The newest round when its scheduler took another key; undefined while it has its own. */
  readonly retiredAt: number | undefined;
  readonly outcome: RoleOutcome;
}

/** The newest round of the model on disk. */
export interface KeptModel {
  readonly checkpoint: Checkpoint;
  /** The disk has no room for the next round. */
  readonly isPaused: boolean;
  /** The aggregator is gone, and a result of it may still be on its way to the disk: another one would make that round again. */
  readonly isSettling: boolean;
}

const actors = {
  takeRun: takeRunActor,
  allocation: allocationMachine,
  evaluation: evaluationMachine,
  heldLease: heldLeaseMachine,
  modelStore: modelStoreMachine,
};

/** A stream that a peer opened. Its scheduler has accepted it already where only its head tells which training it is for. */
export type ReceivedStream = Extract<TransportFact, { type: "stream.received" }> & {
  readonly opened?: StreamHandle | undefined;
};

/** The events that a training receives. */
export type TrainingEvent =
  | Exclude<RoleEvent, { type: "stream.received" }>
  | ReceivedStream
  | EventsOf<typeof actors>
  | { readonly type: "dataset.answered"; readonly lookup: number; readonly answer: RecordAnswer }
  | {
    readonly type: "dispatch.answered";
    readonly peer: Peer;
    readonly taskId: Uuid;
    readonly dispatch: number;
    readonly answer: RequestAnswer;
  }
  | ChangeAnswered
  | { readonly type: "change.again"; readonly peer: Peer }
  /** It may look for workers now. */
  | { readonly type: "turn.granted" }
  | { readonly type: "dataset.seek" }
  | { readonly type: "redispatch" }
  | { readonly type: "absence.over"; readonly peer: Peer }
  | LostParticipant & { readonly type: "participant.lost" };

/** Which participant is lost, and why. */
export interface LostParticipant {
  readonly peer: Peer;
  readonly reason: string;
  /** What it sent was rejected: it is not leased again. */
  readonly isRejected?: boolean;
}

/** The worker of a trainer answered that it has another aggregator. */
export interface ChangeAnswered {
  readonly type: "change.answered";
  readonly peer: Peer;
  readonly jobId: Uuid;
  /** The aggregator's job that the message named. */
  readonly told: Uuid;
  readonly answer: RequestAnswer;
}

/** The newest round that the training can go on from. */
export function keptRoundOf({ model, training }: Pick<TrainingContext, "model" | "training">): number {
  return model?.checkpoint.record.round ?? training.roundsDone;
}

/** The rounds that the configuration asks for. */
export function planOf({ config }: TrainingContext): RoundPlan {
  const { updateRounds, avgSamplesBetweenUpdates } = config.job.rounds;
  return {
    rounds: updateRounds,
    samplesPerRound: avgSamplesBetweenUpdates,
    ...(keptWeights(config.job) === undefined ? {} : { keepsModel: true }),
  };
}

/** The current participants. */
export function participantsOf(context: TrainingContext): Participants {
  const { self, training, model, run, samples, config } = context;
  const state = model === undefined || run === undefined
    ? undefined
    : { ...run, round: keptRoundOf(context), samples, rounds: config.job.rounds.updateRounds };
  return {
    scheduler: self,
    aggregator: training.aggregator?.peer ?? self,
    ...rosterOf(training),
    training: state,
  };
}

/** Whether the newest round was reported and is not on disk yet: the trainers have no result of it. */
export function isKeeping({ model, training }: TrainingContext): boolean {
  return model !== undefined && model.checkpoint.record.round < training.roundsDone;
}

/** Workers that may not be allocated: participants, and those that rest. */
export function takenPeers({ training, excluded, ports }: TrainingContext): readonly Peer[] {
  const resting = Object.entries(excluded).flatMap(([peer, until]) => until > monotonicNow(ports) ? [peer] : []);
  return [...resting, ...allParticipants(training).map(({ peer }) => peer)];
}

/** A participant that is disconnected for longer than this is lost, in seconds. */
export const absenceSecondsDefault = 10;
/** Fewest trainers that a training goes on with, and how long it waits for them, in seconds. */
export const minTrainersDefault = 1;
export const waitSecondsDefault = 86_400;

/** Whether the last round is kept. */
export function isAllDone({ model, config }: TrainingContext): boolean {
  return model !== undefined && model.checkpoint.record.round >= config.job.rounds.updateRounds;
}

/** Whether the last round is on disk, and not measured yet. */
function isMeasuring(context: TrainingContext): boolean {
  const { evaluation, roundsEvaluated, config } = context;
  return evaluation === "on" && isAllDone(context) && roundsEvaluated < config.job.rounds.updateRounds;
}

/** Whether another aggregator has to be found. */
function needsAggregator(context: TrainingContext): boolean {
  const { model, training } = context;
  return model?.isSettling === false && training.aggregator === undefined && !isAllDone(context);
}

/**
 * Whether another trainer may be of use: it would be counted in a later round. An aggregator of the existing network takes none, and
 * one whose node took another key is not reached by others.
 */
function needsTrainer(context: TrainingContext): boolean {
  const { model, training, config: { job } } = context;
  const { aggregator } = training;
  if (model === undefined || aggregator?.state !== "running" || aggregator.isLeaving) return false;
  const isForeign = aggregator.isForeign || context.workers().speakers[aggregator.peer] === "foreign";
  const trainers = trainersOf(training).length;
  const isLate = trainers > 0 && keptRoundOf(context) >= job.rounds.updateRounds - 1;
  return !isForeign && !isLate && !isAllDone(context) && trainers < job.resources.numWorkers;
}

/** Trainers without which a training does not begin. Others join one whose model is kept in its middle, so `min_trainers` are enough. */
export function leastAtStart({ model, config }: TrainingContext): number {
  const { numWorkers, minTrainers = numWorkers } = config.job.resources;
  return model === undefined ? numWorkers : Math.min(numWorkers, minTrainers);
}

/** Whether the training has to wait for members. */
export function isTooFew(context: TrainingContext): boolean {
  const { model, training, config } = context;
  const { minTrainers = minTrainersDefault } = config.job.resources;
  if (model === undefined || isAllDone(context)) return false;
  return training.aggregator === undefined || trainersOf(training).length < minTrainers;
}

/** A time up to half longer: two schedulers that hold what the other needs would otherwise release and take again in step. */
const aboutMs = (ms: number, { random }: Pick<Ports, "random">): number => Math.round(ms * (1 + random() / 2));

/** Types, guards, delays and children of a training's machine. `training_actions.ts` adds the actions. */
export const trainingSetup = setup({
  types: {
    input: {} as TrainingInput,
    context: {} as TrainingContext,
    events: {} as TrainingEvent,
    output: {} as RoleOutcome,
  },
  actors,
  guards: {
    hasRun: ({ context }) => context.run !== undefined,
    keepsNoModel: ({ context }) => keptWeights(context.config.job) === undefined,
    isAllDone: ({ context }) => isAllDone(context),
    /** A training that has begun goes on without its evaluation, as it does where the evaluation breaks later. */
    hasRounds: ({ context: { model } }) => (model?.checkpoint.record.round ?? 0) > 0,
    doesNotEvaluate: ({ context }) => context.config.job.evaluation === undefined,
    isStaleLookup: ({ context }, params: { readonly lookup: number }) => params.lookup !== context.lookups,
    isFound: (_, params: { readonly answer: RecordAnswer }) => Result.isSuccess(readDatasetRecord(params.answer)),
    isParticipant: ({ context }, params: { readonly peer: Peer }) => {
      const participant = participantOf(context.training, params.peer);
      return participant !== undefined && participant.state !== "done";
    },
    isAggregator: ({ context }, { peer }: { readonly peer: Peer }) => context.training.aggregator?.peer === peer,
    canRegroup: ({ context }) => allParticipants(context.training).length + Object.keys(context.excluded).length > 0,
    takesTurns: ({ context }) => context.patience !== undefined,
    wantsAggregatorFirst: ({ context }) => context.first === "aggregator" && context.training.aggregator === undefined,
    lacksTrainers: ({ context }) => trainersOf(context.training).length < leastAtStart(context),
    hasNoTrainers: ({ context }) => trainersOf(context.training).length === 0,
    hasToQueue: ({ context }) => context.patience !== undefined && context.training.aggregator === undefined,
    hasNoAggregator: ({ context }) => context.training.aggregator === undefined,
    isAggregatorRunning: ({ context }) => context.training.aggregator?.state === "running",
    keepsModel: ({ context }) => context.model !== undefined,
    isEveryTrainerDispatched: ({ context }) =>
      Object.values(context.training.trainers).every(({ state }) => state !== "leased"),
    isWithoutTrainers: ({ context }) => context.model === undefined && trainersOf(context.training).length === 0,
    isWithoutAggregator: ({ context }) => context.model === undefined && context.training.aggregator === undefined,
    /** The last round is kept, and no aggregator is left to send it, or no trainer to take it. */
    isLeftWithModel: ({ context }) =>
      isAllDone(context) &&
      (context.training.aggregator === undefined || trainersOf(context.training).length === 0),
    needsAggregator: ({ context }) => needsAggregator(context),
    needsNoAggregator: ({ context }) => !needsAggregator(context),
    hasLeasedAggregator: ({ context }) => context.training.aggregator?.state === "leased",
    needsTrainer: ({ context }) => needsTrainer(context),
    needsNoTrainer: ({ context }) => !needsTrainer(context),
    hasEntered: ({ context: { training } }) =>
      training.aggregator?.state === "running" && enteredTrainers(training).length > 0,
    hasUntold: ({ context }) => untoldTrainers(context.training).length > 0,
    isTooFew: ({ context }) => isTooFew(context),
    isStrong: ({ context }) => !isTooFew(context),
    hasWaited: ({ context: { ports, waitEndsAt } }) => monotonicNow(ports) >= waitEndsAt,
    isAggregatorBehind: ({ context }) => isAggregatorBehind(context.training),
    isAggregated: ({ context }) => context.training.aggregator?.state === "done",
    isResultSent: ({ context: { training: { aggregator } } }) =>
      aggregator?.ended === true || aggregator?.isForeign === true,
    isConcluded: ({ context }) =>
      isTrained(context.training) &&
      (isMeasuring(context) || context.evaluation !== "on" ||
        context.roundsEvaluated >= context.config.job.rounds.updateRounds),
    isMeasured: ({ context }) => !isMeasuring(context),
    isAllEnded: ({ context }) => isAllEnded(context.training),
  },
  delays: {
    /** The evaluation itself limits a program's run: the round before and other trainings may be measured first. */
    measuring: ({ context: { config: { job } } }) => job.evaluation?.executor === undefined ? tailMs : timerMaxMs,
    regroup: ({ context: { ports, patience, turnEndsAt } }) =>
      patience === undefined ? aboutMs(regroupMs, ports) : Math.max(0, turnEndsAt - monotonicNow(ports)),
    seekAgain: ({ context: { ports } }) => aboutMs(regroupMs, ports),
    rest: ({ context: { ports, patience } }) => {
      const [least, most] = patience?.restMs ?? [0, 0];
      return Math.round(least + (most - least) * ports.random());
    },
    wait: ({ context: { ports, waitEndsAt } }) => Math.min(timerMaxMs, Math.max(0, waitEndsAt - monotonicNow(ports))),
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type TrainingArgs = Omit<Parameters<Parameters<typeof trainingSetup.enqueueActions>[0]>[0], "event">;
