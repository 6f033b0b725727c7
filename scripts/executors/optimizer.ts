/**
 * The trainers' inner optimizers: Adam (Kingma and Ba 2015, algorithm 1) and plain gradient descent.
 *
 * @module
 */
import type { NamedTensors, Tensor } from "../../actors/learning/tensors.ts";

/** Keeps its state from step to step, over the rounds of a training too. */
export interface Optimizer {
  /** The parameters after one step against the gradient. */
  step(parameters: NamedTensors, gradients: NamedTensors, learningRate: number): NamedTensors;
}

/** What a job specification says of Adam; null for the defaults. */
export interface AdamOptions {
  readonly betas: readonly [number, number] | null;
  readonly epsilon: number | null;
}

/** The paper's. */
const defaultBetas: readonly [number, number] = [0.9, 0.999];
const defaultEpsilon = 1e-8;

export function adam({ betas, epsilon }: AdamOptions): Optimizer {
  const [beta1, beta2] = betas ?? defaultBetas;
  const floor = epsilon ?? defaultEpsilon;
  const first = new Map<string, Float64Array>();
  const second = new Map<string, Float64Array>();
  let steps = 0;
  const moment = (moments: Map<string, Float64Array>, name: string, size: number): Float64Array => {
    const found = moments.get(name) ?? new Float64Array(size);
    moments.set(name, found);
    return found;
  };
  return {
    step(parameters, gradients, learningRate) {
      steps++;
      const [correct1, correct2] = [1 - beta1 ** steps, 1 - beta2 ** steps];
      return mapParameters(parameters, gradients, (name, values, gradient) => {
        const m = moment(first, name, values.length);
        const v = moment(second, name, values.length);
        return values.map((value, i) => {
          const g = gradient[i] as number;
          const mean = m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
          const square = v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
          return value - learningRate * (mean / correct1) / (Math.sqrt(square / correct2) + floor);
        });
      });
    },
  };
}

export function gradientDescent(): Optimizer {
  return {
    step: (parameters, gradients, learningRate) =>
      mapParameters(
        parameters,
        gradients,
        (_, values, gradient) => values.map((value, i) => value - learningRate * (gradient[i] as number)),
      ),
  };
}

function mapParameters(
  parameters: NamedTensors,
  gradients: NamedTensors,
  each: (name: string, values: Float32Array, gradient: Float32Array) => Float32Array,
): NamedTensors {
  const next = new Map<string, Tensor>();
  for (const [name, { shape, values }] of parameters) {
    const gradient = gradients.get(name)?.values;
    if (gradient === undefined) throw new TypeError(`Cannot step: no gradient of ${name}`);
    next.set(name, { shape, values: each(name, values, gradient) });
  }
  return next;
}
