/**
 * The toy model: a perceptron on digits with weights and biases, ReLU between the layers and softmax at the end. Without a
 * hidden layer it is a softmax regression.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import type { DigitRow } from "./digits.ts";
import { seededRandom } from "../../actors/runtime/random.ts";
import { addTensors, type NamedTensors, type Tensor, type TensorMismatch } from "../../actors/learning/tensors.ts";

/** A model: sizes from the input to the classes, and its parameters `layers.<i>.weight` (out × in) and `.bias`. */
export interface Model {
  readonly sizes: readonly number[];
  readonly parameters: NamedTensors;
}

/** The model reference names no built-in model. */
export class UnknownModel extends Data.TaggedError("UnknownModel")<{
  readonly repository: string;
  readonly revision: string | null;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot build model ${JSON.stringify(this.repository)} at ${JSON.stringify(this.revision)}: ${this.detail}`;
  }
}

const inputSize = 64;
const classCount = 10;
/** Limits of a built-in architecture: the name comes from a job specification. */
const layersMax = 8;
const hiddenMax = 4096;

/**
 * Builds the model that a model reference names: `builtin/mlp-64-32-10` at `seed-7` is an architecture and the seed of its
 * initial weights. Trainers and the evaluator build the same model on every runtime and fetch nothing.
 */
export function builtinModel(repository: string, revision: string | null): Result.Result<Model, UnknownModel> {
  const fail = (detail: string) => Result.fail(new UnknownModel({ repository, revision, detail }));
  const architecture = /^builtin\/mlp((?:-\d{1,4})+)$/.exec(repository)?.[1];
  const sizes = architecture?.slice(1).split("-").map(Number);
  if (sizes === undefined) return fail('expected "builtin/mlp-64-32-10" or another list of sizes');
  if (sizes[0] !== inputSize || sizes.at(-1) !== classCount || sizes.length < 2) {
    return fail(`expected sizes from ${inputSize} to ${classCount}`);
  }
  if (sizes.length - 1 > layersMax || sizes.some((size) => size < 1 || size > hiddenMax)) {
    return fail(`expected at most ${layersMax} layers of at most ${hiddenMax}`);
  }
  const seed = /^seed-(\d{1,9})$/.exec(revision ?? "seed-0")?.[1];
  if (seed === undefined) return fail('expected a revision like "seed-7"');
  return Result.succeed({ sizes, parameters: initialParameters(sizes, seededRandom(Number(seed))) });
}

/** The parameters are not those of a perceptron on digits. */
export class NoPerceptron extends Data.TaggedError("NoPerceptron")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot build a model of these parameters: ${this.detail}`;
  }
}

/** Builds the model of parameters: `layers.<i>.weight` (out × in) and `.bias`, from 64 inputs to 10 classes. */
export function modelOf(parameters: NamedTensors): Result.Result<Model, NoPerceptron> {
  const fail = (detail: string) => Result.fail(new NoPerceptron({ detail }));
  const layers = parameters.size / 2;
  if (!Number.isInteger(layers) || layers < 1 || layers > layersMax) return fail(`${parameters.size} tensors`);
  const sizes = [inputSize];
  for (let layer = 0; layer < layers; layer++) {
    const [weight, bias] = [parameters.get(`layers.${layer}.weight`), parameters.get(`layers.${layer}.bias`)];
    const [outputs = 0, inputs] = weight?.shape ?? [];
    if (inputs !== sizes.at(-1) || outputs < 1 || bias?.shape.join() !== `${outputs}`) {
      return fail(`layer ${layer} has other shapes`);
    }
    sizes.push(outputs);
  }
  return sizes.at(-1) === classCount ? Result.succeed({ sizes, parameters }) : fail(`${sizes.at(-1)} classes`);
}

/** Draws weights uniformly within √(6 / (in + out)) of zero (Glorot and Bengio 2010). Biases are zero. */
function initialParameters(sizes: readonly number[], random: () => number): NamedTensors {
  const parameters = new Map<string, Tensor>();
  for (const [layer, outputs] of sizes.slice(1).entries()) {
    const inputs = sizes[layer] as number;
    const limit = Math.sqrt(6 / (inputs + outputs));
    const values = Float32Array.from({ length: outputs * inputs }, () => (random() * 2 - 1) * limit);
    parameters.set(`layers.${layer}.weight`, { shape: [outputs, inputs], values });
    parameters.set(`layers.${layer}.bias`, { shape: [outputs], values: new Float32Array(outputs) });
  }
  return parameters;
}

/**
 * Applies the outer update of an aggregator: θ ← θ + update. Like every update on the network, it has the direction of descent
 * (`trainer.ts`).
 */
export function applyUpdate(model: Model, update: NamedTensors): Result.Result<Model, TensorMismatch> {
  return Result.map(addTensors(model.parameters, update), (parameters) => ({ ...model, parameters }));
}

/** Returns the share of rows whose digit the model predicts, 0 … 1; 0 without rows. */
export function accuracy(model: Model, rows: readonly DigitRow[]): number {
  if (rows.length === 0) return 0;
  let right = 0;
  for (const { pixels, label } of rows) {
    const scores = activations(model, pixels).at(-1) as Float32Array;
    if (scores.indexOf(scores.reduce((a, b) => Math.max(a, b), -Infinity)) === label) right++;
  }
  return right / rows.length;
}

/** The mean cross-entropy of a batch, and its gradient for every parameter. */
interface Gradient {
  readonly loss: number;
  readonly gradients: NamedTensors;
}

/** Runs one batch forward and backward. The batch must not be empty. */
export function gradientOf(model: Model, batch: readonly DigitRow[]): Gradient {
  const gradients = new Map<string, Tensor>();
  for (const [name, { shape, values }] of model.parameters) {
    gradients.set(name, { shape, values: new Float32Array(values.length) });
  }
  let loss = 0;
  for (const row of batch) loss += accumulate(model, row, gradients, 1 / batch.length);
  return { loss: loss / batch.length, gradients };
}

/** Returns the outputs of every layer: the input first, the scores before softmax last. */
function activations({ sizes, parameters }: Model, pixels: Float32Array): Float32Array[] {
  const outputs = [pixels];
  const last = sizes.length - 2;
  for (let layer = 0; layer <= last; layer++) {
    const input = outputs[layer] as Float32Array;
    const { weight, bias } = layerOf(parameters, layer);
    const output = Float32Array.from(bias);
    for (let i = 0; i < output.length; i++) {
      let sum = output[i] as number;
      for (let j = 0, at = i * input.length; j < input.length; j++, at++) {
        sum += (weight[at] as number) * (input[j] as number);
      }
      output[i] = layer < last ? Math.max(0, sum) : sum;
    }
    outputs.push(output);
  }
  return outputs;
}

function layerOf(tensors: NamedTensors, layer: number): { weight: Float32Array; bias: Float32Array } {
  const weight = tensors.get(`layers.${layer}.weight`)?.values;
  const bias = tensors.get(`layers.${layer}.bias`)?.values;
  if (weight === undefined || bias === undefined) throw new TypeError(`Cannot run model: layer ${layer} is missing`);
  return { weight, bias };
}

/** Adds the gradient of one row and returns its loss. */
function accumulate(model: Model, { pixels, label }: DigitRow, into: NamedTensors, scale: number): number {
  const outputs = activations(model, pixels);
  const probabilities = softmax(outputs.at(-1) as Float32Array);
  const loss = -Math.log(Math.max(probabilities[label] as number, Number.MIN_VALUE));
  let error = probabilities.map((probability, i) => (probability - (i === label ? 1 : 0)) * scale);
  for (let layer = outputs.length - 2; layer >= 0; layer--) {
    const input = outputs[layer] as Float32Array;
    const gradient = layerOf(into, layer);
    const { weight } = layerOf(model.parameters, layer);
    const before = new Float64Array(input.length);
    for (let i = 0; i < error.length; i++) {
      const at = error[i] as number;
      gradient.bias[i] = (gradient.bias[i] as number) + at;
      for (let j = 0, k = i * input.length; j < input.length; j++, k++) {
        gradient.weight[k] = (gradient.weight[k] as number) + at * (input[j] as number);
        before[j] = (before[j] as number) + at * (weight[k] as number);
      }
    }
    // ReLU passes the error where it passed the value. The error of the input layer is not used.
    error = before.map((value, j) => ((input[j] as number) > 0 ? value : 0));
  }
  return loss;
}

/** Subtracts the largest score first, so that no power overflows. */
function softmax(scores: Float32Array): Float64Array {
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(scores, (score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
