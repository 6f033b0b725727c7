/**
 * Named tensors: the parameters of a model, its gradients, and the updates that trainers and aggregator exchange.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** Values in row-major order. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Tensors by name, in the order in which they are written. */
export type NamedTensors = ReadonlyMap<string, Tensor>;

/** Two sets of tensors have different names or shapes, or a result is not a finite number. */
export class TensorMismatch extends Data.TaggedError("TensorMismatch")<{
  readonly name: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot combine tensor ${JSON.stringify(this.name)}: ${this.detail}`;
  }
}

/** Returns the number of values in a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, dimension) => size * dimension, 1);
}

/** Computes `a + b` for each tensor. */
export function addTensors(a: NamedTensors, b: NamedTensors): Result.Result<NamedTensors, TensorMismatch> {
  return combine(a, b, (x, y) => x + y);
}

/** Computes `a − b` for each tensor. */
export function subtractTensors(a: NamedTensors, b: NamedTensors): Result.Result<NamedTensors, TensorMismatch> {
  return combine(a, b, (x, y) => x - y);
}

function combine(
  a: NamedTensors,
  b: NamedTensors,
  each: (x: number, y: number) => number,
): Result.Result<NamedTensors, TensorMismatch> {
  const combined = new Map<string, Tensor>();
  for (const name of b.keys()) {
    if (!a.has(name)) return Result.fail(new TensorMismatch({ name, detail: "the other set has this tensor alone" }));
  }
  for (const [name, { shape, values }] of a) {
    const other = b.get(name);
    if (other === undefined) return Result.fail(new TensorMismatch({ name, detail: "missing" }));
    if (other.shape.join() !== shape.join()) {
      const detail = `expected shape [${shape.join()}], got [${other.shape.join()}]`;
      return Result.fail(new TensorMismatch({ name, detail }));
    }
    const result = values.map((value, i) => each(value, other.values[i] as number));
    if (!result.every(Number.isFinite)) return Result.fail(new TensorMismatch({ name, detail: "not a finite number" }));
    combined.set(name, { shape, values: result });
  }
  return Result.succeed(combined);
}
