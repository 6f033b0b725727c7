/**
 * What an evaluation does with a model: the evaluator holds it in memory, or a program of the operator's measures its file.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { TrainingKey } from "../../transport/protocols/messages.ts";
import { isThere } from "../files/is_there.ts";
import { decodeTensors } from "../learning/mod.ts";
import type { Ports, Services } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import {
  type Evaluated,
  type EvaluatedModel,
  EvaluationFailed,
  type Evaluator,
  type Metrics,
  type ModelReference,
} from "./evaluator.ts";

/** The largest update or model that the evaluator holds in memory, in bytes. */
export const updateBytesMax = 256 * 1024 * 1024;

/** What is evaluated, and how. */
export interface MeasuredTraining {
  /** Path of the held-out rows. */
  readonly heldOut: string;
  /** The model that trainers begin with, to which the aggregator's results are added; or parameters that the scheduler keeps. */
  readonly model: ModelReference | { readonly parameters: string };
  /** Knows the models of this program's jobs. Without one, the evaluation fails at its start. */
  readonly evaluator: Evaluator | undefined;
  /** The program that evaluates kept parameters; the evaluator does it itself where undefined. */
  readonly executor?: string | undefined;
  /** The training whose labelled updates are evaluated; an update without a label is evaluated too. */
  readonly training?: TrainingKey | undefined;
  /** After the parameters of this round no newer ones come. */
  readonly lastRound: number;
}

/** Parameters after a round. */
export interface KeptParameters {
  readonly round: number;
  readonly path: string;
}

/** A round's metrics, and the model where the evaluator holds it itself. */
export interface RoundMetrics {
  readonly model: EvaluatedModel | undefined;
  readonly metrics: Metrics;
}

/** The metrics of a model that the evaluator holds. */
export const roundMetrics = ({ model, accuracy }: Evaluated): RoundMetrics => ({ model, metrics: { accuracy } });

/** Metrics in words. */
export const metricsText = (metrics: Metrics): string =>
  Object.entries(metrics)
    .map(([name, value]) => name === "accuracy" ? `accuracy ${(value * 100).toFixed(1)} %` : `${name} ${value}`)
    .join(", ");

/** Loads model and rows; undefined where a program reads them itself, in its cell. */
export function loadModel(
  { heldOut, model, evaluator, executor }: { readonly ports: Ports } & Omit<MeasuredTraining, "training" | "lastRound">,
) {
  return Effect.gen(function* () {
    if (evaluator === undefined) return yield* new EvaluationFailed({ detail: "this node was given no evaluator" });
    if (executor !== undefined) return yield* checkProgram(evaluator, executor, "parameters" in model);
    const fs = yield* FileSystem;
    const text = yield* fs.readFileString(heldOut);
    const start = "parameters" in model ? yield* readParameters(model.parameters) : model;
    return yield* Effect.fromResult(evaluator.load({ path: heldOut, text }, start));
  });
}

/** Parameters that are to be measured. */
export interface Measured {
  readonly ports: Ports;
  readonly measured: MeasuredTraining;
  /** The model where the evaluator holds it. */
  readonly loaded: EvaluatedModel | undefined;
  readonly kept: KeptParameters;
  /** Called when a program of the operator's begins to measure. */
  readonly began: () => void;
}

/** Measures parameters that the scheduler keeps; undefined where the scheduler has removed them meanwhile, for newer ones. */
export function measureKept(input: Measured) {
  const { kept: { round, path }, measured: { lastRound } } = input;
  const gone = new EvaluationFailed({ detail: `the parameters of round ${round} are gone` });
  const evaluated: Effect.Effect<RoundMetrics | undefined, Error, Services> = measure(input).pipe(
    Effect.catch((error) =>
      Effect.flatMap(isThere(path), (there) => {
        if (there) return Effect.fail(error);
        return round < lastRound ? Effect.undefined : Effect.fail(gone);
      })
    ),
  );
  return Effect.map(evaluated, (metrics) => ({ round, evaluated: metrics }));
}

function measure({ measured, loaded, kept: { path, round }, began }: Measured) {
  const { evaluator, executor, heldOut, training } = measured;
  return Effect.gen(function* () {
    if (executor === undefined) {
      return roundMetrics(yield* orFail(present(loaded, "the model").replace(yield* readParameters(path))));
    }
    if (evaluator?.measure === undefined) return yield* noProgram(executor);
    const { id, run } = present(training, "the training");
    const files = { executor, parameters: path, heldOut, training: { id, run, round } };
    return { model: undefined, metrics: yield* evaluator.measure(files, began) };
  });
}

const noProgram = (executor: string) =>
  new EvaluationFailed({ detail: `[[executors]] has none of class evaluate named ${executor}` });

/** A program reads model and rows itself, in its cell. */
function checkProgram(evaluator: Evaluator, executor: string, isKept: boolean) {
  if (evaluator.programs?.includes(executor) !== true) return Effect.fail(noProgram(executor));
  if (isKept) return Effect.as(evaluator.check?.(executor) ?? Effect.void, undefined);
  return Effect.fail(
    new EvaluationFailed({ detail: "evaluation.executor needs a model with weights, which the scheduler keeps" }),
  );
}

/** Reads parameters whole: a larger model is not evaluated here. */
function readParameters(path: string) {
  return Effect.gen(function* () {
    const fs = yield* FileSystem;
    const { size } = yield* fs.stat(path);
    if (Number(size) > updateBytesMax) {
      return yield* new EvaluationFailed({ detail: `${path} is over ${updateBytesMax} bytes` });
    }
    return yield* orFail(decodeTensors(yield* fs.readFile(path)));
  });
}

/** An evaluation fails with the reason that something else failed. */
export function orFail<A, E extends Error>(result: Result.Result<A, E>): Effect.Effect<A, EvaluationFailed> {
  return Effect.fromResult(Result.mapError(result, ({ message }) => new EvaluationFailed({ detail: message })));
}
