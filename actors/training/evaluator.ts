/**
 * The port through which a scheduler evaluates a training. Actors know no model: the program hands in an evaluator that knows
 * the models of its executors.
 *
 * @module
 */
import { Data, type Effect, type Result } from "effect";
import type { HuggingfaceModel } from "../config/config.ts";
import type { Services } from "../runtime/ports.ts";
import type { NamedTensors, TensorMismatch } from "../learning/mod.ts";

/** The evaluation cannot start, or cannot continue. */
export class EvaluationFailed extends Data.TaggedError("EvaluationFailed")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot evaluate the model: ${this.detail}`;
  }
}

/** The model reference of a job. */
export type ModelReference = Pick<HuggingfaceModel, "repository" | "revision">;

/** The file of held-out rows. */
export interface HeldOutFile {
  readonly path: string;
  readonly text: string;
}

/** A model and the rows that measure it. Values of this type do not change. */
export interface EvaluatedModel {
  /** The number of held-out rows. */
  readonly rows: number;
  /**
   * Applies the outer update of a round.
   *
   * @returns The model after the update and its accuracy, 0 … 1.
   */
  apply(update: NamedTensors): Result.Result<Evaluated, TensorMismatch>;
  /** The same with other parameters in place of the model's. */
  replace(parameters: NamedTensors): Result.Result<Evaluated, EvaluationFailed>;
}

/** The model after a round. */
export interface Evaluated {
  readonly model: EvaluatedModel;
  readonly accuracy: number;
}

/** Parameters that a program of the operator evaluates. */
export interface MeasuredParameters {
  /** The name of the program: an executor of class `evaluate`. */
  readonly executor: string;
  /** Paths of the parameters, and of the held-out rows. */
  readonly parameters: string;
  readonly heldOut: string;
  readonly training: { readonly id: string; readonly run: number; readonly round: number };
}

/** Metrics by their names; `accuracy` is 0 … 1. */
export type Metrics = Readonly<Record<string, number>>;

/** Evaluates models. */
export interface Evaluator {
  /** Names of the programs that {@linkcode Evaluator.measure} knows; none where undefined. */
  readonly programs?: readonly string[];
  /** Whether a program of the operator's can be started. */
  check?(executor: string): Effect.Effect<void, EvaluationFailed, Services>;
  /**
   * Runs a program of the operator's when no other one runs.
   *
   * @param began Called when it begins.
   */
  measure?(measured: MeasuredParameters, began: () => void): Effect.Effect<Metrics, EvaluationFailed, Services>;
  /** The longest time of one such run, in milliseconds. */
  readonly measureMs?: number;
  /** Builds the model that trainers start from, or of parameters, and reads the held-out rows. Fails where the file has no rows. */
  load(heldOut: HeldOutFile, model: ModelReference | NamedTensors): Result.Result<EvaluatedModel, EvaluationFailed>;
}
