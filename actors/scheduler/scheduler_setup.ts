/**
 * What a scheduler's machine is made of beside its states: context, events, guards, and its times.
 *
 * @module
 */
import { setup } from "xstate";
import { Result } from "effect";
import type { RecordAnswer, RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { MessageProtocol, Peer, Uuid } from "../../transport/protocols/messages.ts";
import { allocationMachine, type AllocationSaid } from "./allocation.ts";
import type { SchedulerConfig } from "../config/config.ts";
import { evaluationMachine, type EvaluationSaid } from "./evaluation.ts";
import type { Evaluator } from "./evaluator.ts";
import { heldLeaseMachine, type HeldLeaseSaid } from "./held_lease.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";
import { type FoundDataset, readDatasetRecord } from "../data/dataset_record.ts";
import type { Cast } from "./job_spec.ts";
import type { RoundPlan } from "./rounds.ts";
import type { SliceCursor } from "./slices.ts";
import {
  isAggregatorBehind,
  isAllEnded,
  isTrained,
  memberOf,
  membersOf,
  trainersOf,
  type Training,
} from "./training.ts";

/** A member whose connection is away for longer than this is lost, in milliseconds. */
export const absenceMs = 10_000;
/** A trainer that should be training and says nothing for this long is lost, in milliseconds. */
export const trainerSilenceMs = 300_000;
/** How often silence is looked for, in milliseconds. */
export const silenceCheckMs = 10_000;
/** Between two looks for the data set, in milliseconds. */
export const findAgainMs = 1_000;
/** Looks for the data set after which each further one in so many is reported: one line in one to six minutes. */
export const reportedEach = 64;
/** Which looks for the data set are reported where they find nothing: the first, the second, the fourth, … */
export function isReported(lookups: number): boolean {
  return lookups < reportedEach ? Number.isInteger(Math.log2(lookups)) : lookups % reportedEach === 0;
}
/** One look for the data set, and what the transport may take beyond it, in milliseconds. */
export const findTimeoutMs = 5_000;
export const findDeadlineMs = findTimeoutMs + 3_000;
/** Between two looks whether another provides the data set now, and how often when a data node appears. */
export const seekAgainMs = 5_000;
export const seeksAtData = 3;
/**
 * Who is leased while others are still missing is let go after this, in milliseconds, those that were lost are asked again, and
 * the parts are filled the other way round: a worker that trains may be the only one that can aggregate, and another
 * scheduler may hold who is missing here.
 */
export const regroupMs = 20_000;
/** A dispatch is answered within this (`docs/wire.md`, "Protocols": 10 s), in milliseconds. */
export const dispatchTimeoutMs = 10_000;
export const dispatchDeadlineMs = dispatchTimeoutMs + 2_000;
/** A re-dispatch that got no answer is repeated after this, in milliseconds. */
export const redispatchAgainMs = 1_000;
/** What is still to come after the aggregator's last round (evaluation, trainers' receipts) is waited for this long. */
export const tailMs = 30_000;
/** Workers say that their jobs ended within this, in milliseconds; the existing ones don't. */
export const lingerMs = 2_000;

/** The input of a scheduler. */
export interface SchedulerInput extends RoleInput<SchedulerConfig> {
  /** Measures the model after each round; a job with `evaluation` fails without one. */
  readonly evaluator?: Evaluator | undefined;
}

/** A scheduler's state beside where it is. */
export interface SchedulerContext extends SchedulerInput {
  readonly dataset: FoundDataset | undefined;
  readonly slices: SliceCursor;
  readonly training: Training;
  /** Which part is filled first. */
  readonly first: "trainers" | "aggregator";
  /** Workers that refused or failed: not asked again, unless there are too few without them. */
  readonly excluded: readonly Peer[];
  readonly evaluation: "none" | "on" | "broken";
  readonly roundsEvaluated: number;
  readonly accuracy: number | undefined;
  readonly lookups: number;
  /** How often the data set's record is still to be looked up again. */
  readonly seeks: number;
  readonly dispatches: number;
  readonly outcome: RoleOutcome;
}

/** What a scheduler hears. */
export type SchedulerEvent =
  | RoleEvent
  | AllocationSaid
  | EvaluationSaid
  | HeldLeaseSaid
  | { readonly type: "dataset.answered"; readonly lookup: number; readonly answer: RecordAnswer }
  | { readonly type: "dispatch.answered"; readonly peer: Peer; readonly taskId: Uuid; readonly answer: RequestAnswer }
  | { readonly type: "dataset.seek" }
  | { readonly type: "redispatch" }
  | { readonly type: "absence.over"; readonly peer: Peer }
  | { readonly type: "member.lost"; readonly peer: Peer; readonly reason: string };

/** The rounds that the configuration asks for. */
export function planOf({ config }: SchedulerContext): RoundPlan {
  const { updateRounds, avgSamplesBetweenUpdates } = config.job.rounds;
  return { rounds: updateRounds, samplesPerRound: avgSamplesBetweenUpdates };
}

/** Who does what now. */
export function castOf({ self, training }: SchedulerContext): Cast {
  return { scheduler: self, aggregator: training.aggregator?.peer ?? self, trainers: trainersOf(training) };
}

/** Workers that may not be allocated: members, and those that refused. */
export function takenPeers({ training, excluded }: SchedulerContext): readonly Peer[] {
  return [...excluded, ...membersOf(training).map(({ peer }) => peer)];
}

/** Types, guards and children of the scheduler's machine; actions are made from it. */
export const schedulerSetup = setup({
  types: {
    input: {} as SchedulerInput,
    context: {} as SchedulerContext,
    events: {} as SchedulerEvent,
    output: {} as RoleOutcome,
  },
  actors: { allocation: allocationMachine, evaluation: evaluationMachine, heldLease: heldLeaseMachine },
  guards: {
    doesNotEvaluate: ({ context }) => context.config.job.evaluation === undefined,
    isOf: (
      _,
      { event, protocol }: {
        readonly event: Extract<TransportFact, { type: "request.received" }>;
        readonly protocol: MessageProtocol;
      },
    ) => event.protocol === protocol,
    isStaleLookup: ({ context }, params: { readonly lookup: number }) => params.lookup !== context.lookups,
    isFound: (_, params: { readonly answer: RecordAnswer }) => Result.isSuccess(readDatasetRecord(params.answer)),
    isMember: ({ context }, params: { readonly peer: Peer }) => {
      const member = memberOf(context.training, params.peer);
      return member !== undefined && member.state !== "done";
    },
    canRegroup: ({ context }) => membersOf(context.training).length + context.excluded.length > 0,
    wantsAggregatorFirst: ({ context }) => context.first === "aggregator" && context.training.aggregator === undefined,
    hasNoMembers: ({ context }) => membersOf(context.training).length === 0,
    lacksTrainers: ({ context }) => trainersOf(context.training).length < context.config.job.resources.numWorkers,
    hasNoTrainers: ({ context }) => trainersOf(context.training).length === 0,
    hasNoAggregator: ({ context }) => context.training.aggregator === undefined,
    isAggregatorRunning: ({ context }) => context.training.aggregator?.state === "running",
    isEveryTrainerDispatched: ({ context }) =>
      Object.values(context.training.trainers).every(({ state }) => state !== "leased"),
    isAggregatorBehind: ({ context }) => isAggregatorBehind(context.training),
    isAggregated: ({ context }) => context.training.aggregator?.state === "done",
    isConcluded: ({ context }) =>
      isTrained(context.training) &&
      (context.evaluation !== "on" || context.roundsEvaluated >= context.config.job.rounds.updateRounds),
    isAllEnded: ({ context }) => isAllEnded(context.training),
  },
  delays: {
    // Schedulers that hold what the other wants would otherwise let go, and take again, in step.
    regroup: ({ context }) => Math.round(regroupMs * (1 + context.ports.random() / 2)),
  },
});
