/**
 * What a simulation observes of the executors of its workers.
 *
 * @module
 */
import type { JobSpec, Peer } from "../../transport/protocols/messages.ts";
import type { JobInput } from "../job/messages.ts";

/** What a simulation observes of its executors. */
export interface ExecutorWatch {
  /** A slice was handed out to a trainer by the scheduler. */
  sliceGiven(job: JobInput, index: number): void;
  /** A trainer wrote the update of a round, to push it. */
  pushed(job: JobInput, values: readonly number[]): void;
  /** A mean is about to be computed. */
  collected(round: CollectedRound): void;
  /** A mean was computed from these updates, and the result written. */
  averaged(round: AveragedRound): void;
  /** A trainer added the result of a round to its parameters. */
  resultTaken(job: JobInput, round: number): void;
  processStarted(job: JobInput): void;
  processEnded(job: JobInput): void;
}

/** The peers whose updates make a mean. */
export interface CollectedRound {
  readonly spec: JobSpec;
  /** The name of its training; undefined where its scheduler names none. */
  readonly training: string | undefined;
  /** The scheduler of the training. */
  readonly scheduler: Peer;
  readonly peers: readonly Peer[];
}

/** One aggregation: updates by sender, and the result. */
export interface AveragedRound {
  readonly spec: JobSpec;
  /** The scheduler of the training. */
  readonly scheduler: Peer;
  /** The training and the run that the aggregation belongs to. */
  readonly training: string | undefined;
  readonly run: number | undefined;
  /** Counted from 1. */
  readonly round: number;
  readonly updates: ReadonlyMap<Peer, readonly number[]>;
  readonly learningRate: number;
  readonly momentum: number;
  readonly out: readonly number[];
  /** The same of integer tensors, where the model has one. */
  readonly integers: {
    readonly updates: readonly (Int32Array | undefined)[];
    readonly out: Int32Array | undefined;
  };
}
