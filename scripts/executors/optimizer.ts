import type { NamedTensors, Tensor } from "../../actors/learning/mod.ts";

/** An inner optimizer. It keeps its state from step to step, across the rounds of a training. */
interface Optimizer {
  /** Returns the parameters after one step against the gradient. */
  step(parameters: NamedTensors, gradients: NamedTensors, learningRate: number): NamedTensors;
}

/** The options of Adam in a job specification; null means the default. */
interface AdamOptions {
  readonly betas: readonly [number, number] | null;
  readonly epsilon: number | null;
}

/** The defaults of the paper. */
const defaultBetas: readonly [number, number] = [0.9, 0.999];
const defaultEpsilon = 1e-8;

/** Makes an optimizer by Adam (Kingma and Ba 2015, algorithm 1). */
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
      const next = new Map<string, Tensor>();
      for (const [name, { shape, values }] of parameters) {
        const gradient = gradients.get(name)?.values;
        if (gradient === undefined) throw new TypeError(`Cannot step: no gradient of ${name}`);
        const m = moment(first, name, values.length);
        const v = moment(second, name, values.length);
        const stepped = values.map((value, i) => {
          const g = gradient[i] as number;
          const mean = m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
          const square = v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
          return value - learningRate * (mean / correct1) / (Math.sqrt(square / correct2) + floor);
        });
        next.set(name, { shape, values: stepped });
      }
      return next;
    },
  };
}
