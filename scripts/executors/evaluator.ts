/**
 * Evaluates the models that the training executor trains ({@linkcode builtinModel}) on held-out digits.
 *
 * @module
 */
import * as Result from "effect/Result";
import {
  type EvaluatedModel,
  EvaluationFailed,
  type Evaluator,
  type ModelReference,
} from "../../actors/training/evaluator.ts";
import { type DigitRow, parseDigits } from "./digits.ts";
import { accuracy, applyUpdate, builtinModel, type Model, modelOf } from "./model.ts";

/** The evaluator that `hypha-scheduler` hands to its node. */
export const digitsEvaluator: Evaluator = {
  load: ({ path, text }, start) =>
    Result.gen(function* () {
      const rows = yield* Result.mapError(
        parseDigits(text),
        ({ message }) => new EvaluationFailed({ detail: `${path}: ${message}` }),
      );
      if (rows.length === 0) return yield* Result.fail(new EvaluationFailed({ detail: `${path} has no rows` }));
      const built: Result.Result<Model, Error> = start instanceof Map
        ? modelOf(start)
        : builtinModel((start as ModelReference).repository, (start as ModelReference).revision ?? null);
      const model = yield* Result.mapError(built, ({ message }) => new EvaluationFailed({ detail: message }));
      return evaluated(model, rows);
    }),
};

function evaluated(model: Model, rows: readonly DigitRow[]): EvaluatedModel {
  return {
    rows: rows.length,
    apply: (update) =>
      Result.map(
        applyUpdate(model, update),
        (next) => ({ model: evaluated(next, rows), accuracy: accuracy(next, rows) }),
      ),
    replace: (parameters) =>
      Result.mapBoth(modelOf(parameters), {
        onSuccess: (next) => ({ model: evaluated(next, rows), accuracy: accuracy(next, rows) }),
        onFailure: ({ message }) => new EvaluationFailed({ detail: message }),
      }),
  };
}
