/**
 * Messages about trainings: extensions of ours, which the existing nodes ignore (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import type { Peer, Uuid } from "./messages.ts";

/** Where a training stands when a job of it begins: a part of the job's specification, which the executor sees. */
export interface TrainingState extends TrainingRun {
  /** Rounds that are finished. */
  readonly round: number;
  /** Samples of all members in those rounds. */
  readonly samples: number;
  /** Rounds of the whole training. */
  readonly rounds: number;
}

/** What an aggregator judges a training's updates by: beside `training` in its job. */
export interface AggregationRules {
  /** SHA-256 of the layout of the training's weights, in hexadecimal (`docs/wire.md`, "Judged updates"). */
  readonly layout?: string;
  /** How updates are joined; their mean where this is absent. */
  readonly method?: "mean" | "trimmed-mean";
  /** Part of the values that the trimmed mean drops at each end. */
  readonly trim?: number;
  /** Bounds of an update's length, as multiples of the round's median. */
  readonly clip_norm_ratio?: number;
  readonly max_norm_ratio?: number;
  /** Part of the trainers whose updates are enough when a round is `deadline_s` old; all where this is absent. */
  readonly quorum?: number;
  /** In seconds. */
  readonly deadline_s?: number;
  /** Trainers that may have missed the newest result, which an aggregator that takes over sends to them. */
  readonly late?: readonly Peer[];
}

/** One run of a training, as its scheduler names it. Each start of the scheduler takes the next run. */
export interface TrainingRun {
  readonly id: string;
  readonly run: number;
}

/** A training's run and the scheduler that named it: the names of two schedulers may be equal. */
export interface TrainingKey extends TrainingRun {
  readonly scheduler: Peer;
}

/** What a pushed file belongs to. The worker of its sender writes it, never the executor. */
export interface PushLabel {
  readonly scheduler: Peer;
  readonly training: string;
  readonly run: number;
  /** The sender's job. */
  readonly job: Uuid;
  /** Counted from 1. */
  readonly round: number;
  /** Samples that the sender processed for the update. */
  readonly samples?: number;
}

/** What became of one member's update. */
export type MemberOutcome = "counted" | "clipped" | "rejected" | "missing";

/** One member of a round, as the aggregator claims. */
export interface MemberReport {
  readonly peer: Peer;
  readonly outcome: MemberOutcome;
  /** Length of the update as it arrived; absent where none was measured. */
  readonly norm?: number;
  /** Why it was rejected. */
  readonly code?: string;
  readonly detail?: string;
}

/** A finished round, as the aggregator claims. */
export interface RoundReport {
  readonly round: number;
  readonly members: readonly MemberReport[];
}

/** What a trainer has, beside its progress `update-received`. */
export interface Receipt {
  /** The round of its parameters: the last result that it applied. */
  readonly round: number;
  /** SHA-256 of the parameters as the scheduler would serve them, in hexadecimal; absent where the executor gives none. */
  readonly parameters?: string;
}

/** The place in a trace of its sender, as `traceparent` text (W3C Trace Context); absent where its sender traces nothing. */
interface Traced {
  readonly traceparent?: string;
}

/** Requests on `/hypha-training/1`. A variant that is not known here reads as `Unknown`. */
export type TrainingRequest =
  /** The holder no longer needs the lease. */
  | { readonly Release: { readonly lease: Uuid } & Traced }
  /** Work of this run ends: one job, or with `job` null all of it; work of lower runs ends in any case. */
  | {
    readonly End: {
      readonly training: string;
      readonly run: number;
      readonly job: Uuid | null;
      readonly reason: string;
    } & Traced;
  }
  /** The scheduler's verdict about a job of the worker. */
  | { readonly Notice: { readonly job: Uuid; readonly code: string; readonly detail: string } & Traced }
  /** Another member aggregates for a job of the worker: updates go to it, and results come from `results`. */
  | {
    readonly Change: {
      readonly training: string;
      readonly run: number;
      readonly job: Uuid;
      readonly aggregator: Peer;
      readonly results: readonly Peer[];
      /** As `JobDispatch.dispatch`. */
      readonly dispatch?: number;
    } & Traced;
  }
  | { readonly Unknown: Readonly<Record<never, never>> };

/** The answer on `/hypha-training/1`: on the wire the bare word. */
export interface TrainingResponse {
  readonly answer: "Ok" | "Refused" | "Unsupported";
}
