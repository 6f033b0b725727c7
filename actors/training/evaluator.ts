/**
 * The port through which a scheduler evaluates a training. Actors know no model: the program hands in an evaluator that knows
 * the models of its executors.
 *
 * @module
 */
import { Data, type Result } from "effect";
import type { HuggingfaceModel } from "../config/config.ts";
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

/** Makes models that a scheduler can evaluate. */
export interface Evaluator {
  /** Builds the model that trainers start from, or of parameters, and reads the held-out rows. Fails where the file has no rows. */
  load(heldOut: HeldOutFile, model: ModelReference | NamedTensors): Result.Result<EvaluatedModel, EvaluationFailed>;
}
