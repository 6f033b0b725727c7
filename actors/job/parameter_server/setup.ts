/**
 * Context, events and guards of the parameter server's machine.
 *
 * @module
 */
import { setup } from "xstate";
import type { PeerText } from "../../../transport/port.ts";
import type { MemberReport, ProgressResponse } from "../../../transport/protocols/messages.ts";
import { UpdateRejected } from "../../learning/mod.ts";
import type { EventsOf } from "../../runtime/effect_actor.ts";
import type { AggregatorInput, JobOutcome, JobUpdated } from "../messages.ts";
import type { PushReceiver } from "../network.ts";
import {
  aggregated,
  type AveragingSteps,
  distributed,
  firstRound,
  handed,
  keepsModel,
  missed,
  push,
  receiver,
  repeated,
  reported,
  restored,
  type ResultCopies,
  saved,
} from "./effects.ts";

/** Tries of reporting a round to the scheduler before the job fails. */
export const reportTriesMax = 5;

export interface ParameterServerContext {
  readonly job: AggregatorInput;
  readonly receiver: PushReceiver | undefined;
  /** Those of the newest result. */
  readonly copies: ResultCopies;
  readonly averaging: AveragingSteps;
  /** Its steps when it was last looked at. */
  readonly stepsSeen: number;
  readonly expected: readonly PeerText[];
  readonly results: readonly PeerText[];
  /** Peers that are out for good. */
  readonly rejected: readonly PeerText[];
  /** Whole updates for the round that is collected, by sender. */
  readonly received: Readonly<Record<PeerText, string>>;
  readonly saving: readonly PeerText[];
  /** Updates of the round that is aggregated. */
  readonly batch: Readonly<Record<PeerText, string>>;
  readonly round: number;
  readonly pushes: number;
  readonly tries: number;
  /** Tries of handing the round's result to the scheduler. */
  readonly handings: number;
  /** The round that may close with those that are in. */
  readonly due: number | undefined;
  /** Rounds in a row that each trainer was late for. */
  readonly lateness: Readonly<Record<PeerText, number>>;
  /** The scheduler answered that this round is the last. */
  readonly isLast: boolean;
  /** What became of each member in this round, to be reported with it. */
  readonly verdicts: readonly MemberReport[];
  readonly outcome: JobOutcome;
}

const actors = { receiver, restored, repeated, push, saved, aggregated, handed, distributed, reported, missed };

/** The events that a parameter server receives, besides those of its Effects. */
export type ParameterServerCommand =
  | JobUpdated
  /** The round is as old as its deadline. */
  | { readonly type: "round.due"; readonly round: number }
  /** A push of this peer broke off a while ago. */
  | { readonly type: "update.overdue"; readonly peer: PeerText };

/** The sender of the update that an error is about. */
export function culpritOf(batch: Readonly<Record<PeerText, string>>, error: unknown): PeerText | undefined {
  return error instanceof UpdateRejected ? Object.keys(batch).find((peer) => batch[peer] === error.file) : undefined;
}

/** The round that pushes count for now: while one is aggregated, sent and reported, the next one. */
export function collectedRound({ batch, round }: Pick<ParameterServerContext, "batch" | "round">): number {
  return Object.keys(batch).length > 0 ? round + 1 : round;
}

/** The peers whose pushes are accepted now. */
export function allowedNow({ expected, received, saving }: ParameterServerContext): readonly PeerText[] {
  return expected.filter((peer) => received[peer] === undefined && !saving.includes(peer));
}

/** Below 1 a round closes at its deadline without the updates that are missing. */
export const quorumOf = ({ job: { spec, network } }: Pick<ParameterServerContext, "job">): number =>
  network.training === undefined ? 1 : spec.aggregation?.quorum ?? 1;

/** Whether a round that is as old as its deadline has enough updates. */
export function hasQuorum(context: Pick<ParameterServerContext, "job" | "due" | "round" | "expected" | "received">) {
  const { due, round, expected, received } = context;
  const quorum = quorumOf(context);
  if (due !== round || quorum === 1) return false;
  const here = expected.filter((peer) => received[peer] !== undefined).length;
  // Not a product, which rounds up: 0.55 · 100 is over 55.
  return here / expected.length >= quorum;
}

/** Types, guards and children of the parameter server's machine. */
export const serverSetup = setup({
  types: {
    input: {} as AggregatorInput,
    context: {} as ParameterServerContext,
    events: {} as ParameterServerCommand | EventsOf<typeof actors>,
    output: {} as JobOutcome,
  },
  actors,
  guards: {
    isAllThere: ({ context: { expected, received } }) =>
      expected.length > 0 && expected.every((peer) => received[peer] !== undefined),
    hasQuorum: ({ context }) => hasQuorum(context),
    /** A scheduler that keeps the model finds others. */
    hasNoTrainers: ({ context }) => context.expected.length === 0 && !keepsModel(context.job),
    isDone: (_, params: { readonly answer: ProgressResponse }) => params.answer.type === "Done",
    isOk: (_, params: { readonly answer: ProgressResponse }) =>
      params.answer.type === "Ok" || params.answer.type === "Continue",
    hasCulprit: ({ context }, params: { readonly error: unknown }) =>
      culpritOf(context.batch, params.error) !== undefined,
    isOverdue: ({ context }, params: { readonly peer: PeerText }) => allowedNow(context).includes(params.peer),
    hasStepped: ({ context: { averaging, stepsSeen } }) => averaging.steps > stepsSeen,
    isLast: ({ context }) => context.isLast,
    /** The training was trained before: its velocity is at the scheduler. */
    goesOn: ({ context }) => firstRound(context.job.spec) > 1,
    keepsModel: ({ context }) => keepsModel(context.job),
    isWorthRetrying: ({ context }) => context.tries < reportTriesMax,
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type ServerArgs = Omit<Parameters<Parameters<typeof serverSetup.enqueueActions>[0]>[0], "event">;
