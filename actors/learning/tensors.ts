/**
 * Named tensors: a model's parameters, its gradients, and what trainers and aggregator send each other.
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

/** Two sets of tensors that should have the same names and shapes, and values that should be numbers, are not. */
export class TensorMismatch extends Data.TaggedError("TensorMismatch")<{
  readonly name: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot combine tensor ${JSON.stringify(this.name)}: ${this.detail}`;
  }
}

/** How many values a shape holds. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, dimension) => size * dimension, 1);
}

/** `a + b`, tensor by tensor. */
export function addTensors(a: NamedTensors, b: NamedTensors): Result.Result<NamedTensors, TensorMismatch> {
  return combine(a, b, (x, y) => x + y);
}

/** `a − b`, tensor by tensor. */
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
    if (!a.has(name)) return Result.fail(new TensorMismatch({ name, detail: "there is none of that name" }));
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
