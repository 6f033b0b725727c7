/**
 * The parameters of a training as its scheduler keeps them: the same bits as at all members (`docs/wire.md`, "Parameters").
 *
 * @module
 */
import { Data, Effect } from "effect";
import { addWholes, type DType, type FloatType, isFloat, narrow, widen } from "./element_types.ts";
import type { OuterOptions } from "./outer_step.ts";
import { type Metadata, type TensorEntry, writeHeader } from "./safetensors.ts";
import { chunkMemory, chunksOf, type TensorFile } from "./tensor_file.ts";
import { normMax } from "./verdicts.ts";

/** No element of a mean is over the length of the longest update that counts. Twice that: result and velocity were rounded to F32. */
const meanMax = 2 * normMax;

/** A result does not fit the parameters, or leads to a value that is not finite. */
export class ResultRejected extends Data.TaggedError("ResultRejected")<{ readonly reason: string }> {
  override get message(): string {
    return `Cannot take result: ${this.reason}`;
  }
}

/** Takes the bytes of a file, in order. They are its own until it ends: the memory is used again. */
export type Write<E> = (bytes: Uint8Array) => Effect.Effect<void, E>;

/** The element type in which a tensor is kept and served: a float that is shorter than F32 would lose the small steps of a training. */
export function keptType(dtype: DType): DType {
  return isFloat(dtype) && dtype !== "F64" ? "F32" : dtype;
}

/** Writes weights as parameters before the first round. */
export function writeInitial<E, W>(
  weights: TensorFile<E>,
  write: Write<W>,
): Effect.Effect<void, E | W | ResultRejected> {
  return castTensors(weights, (tensor) => keptType(tensor.dtype), write);
}

/**
 * Copies a file, with its floats in other types. Fails where a value is not finite, or is not in its new type.
 *
 * @param typeOf The new type of a tensor; that of an integer or bool is its own.
 * @param metadata That of the copy.
 */
export function castTensors<E, W>(
  from: TensorFile<E>,
  typeOf: (tensor: TensorEntry) => DType,
  write: Write<W>,
  metadata?: Metadata,
): Effect.Effect<void, E | W | ResultRejected> {
  return Effect.gen(function* () {
    yield* write(writeHeader(from.tensors.map((tensor) => ({ ...tensor, dtype: typeOf(tensor) })), metadata));
    const scratch = chunkMemory(from.tensors, { bytes: 2, values: 2 });
    for (const tensor of from.tensors) {
      const [was, is] = [tensor.dtype, typeOf(tensor)];
      for (const chunk of chunksOf(tensor)) {
        const bytes = yield* from.readBytes(chunk, scratch.bytes(0));
        if (!isFloat(was) || !isFloat(is)) yield* write(bytes);
        else {
          const values = widen(bytes, was, scratch.values(0));
          yield* checkFinite(tensor.name, values);
          const cast = was === is ? bytes : narrow(values, is, scratch.bytes(1).buffer);
          if (was !== is) yield* checkHeld(tensor.name, { values, is, cast: widen(cast, is, scratch.values(1)) });
          yield* write(cast);
        }
      }
    }
  });
}

/** Says why a result does not fit parameters: another name, shape or kind of element. */
export function misfitOf(
  parameters: Pick<TensorFile<never>, "tensors" | "byName">,
  result: Pick<TensorFile<never>, "tensors" | "byName">,
): string | undefined {
  const name = (of: TensorEntry) => JSON.stringify(of.name.slice(0, 64));
  for (const tensor of parameters.tensors) {
    const other = result.byName.get(tensor.name);
    if (other === undefined) return `tensor ${name(tensor)} is missing`;
    if (other.shape.join() !== tensor.shape.join()) return `tensor ${name(tensor)} has another shape`;
    if (isFloat(tensor.dtype) ? !isFloat(other.dtype) : other.dtype !== tensor.dtype) {
      return `tensor ${name(tensor)} is ${other.dtype}, not ${tensor.dtype}`;
    }
  }
  const more = result.tensors.find((tensor) => !parameters.byName.has(tensor.name));
  return more === undefined ? undefined : `tensor ${name(more)} is not in the model`;
}

/** The files of one round's step. */
export interface RoundFiles<E, W> {
  readonly parameters: TensorFile<E>;
  /** Undefined before the first round. */
  readonly velocity: TensorFile<E> | undefined;
  readonly result: TensorFile<E>;
  readonly writeParameters: Write<W>;
  readonly writeVelocity: Write<W>;
}

/**
 * Adds a round's result to the parameters, and computes the velocity that led to it.
 *
 * With the result u = η(μv′ + Δ) and v′ = μv + Δ the velocity is v′ = (u/η + μv) / (1 + μ). It is kept in F32.
 *
 * Fails where the result does not fit, a sum or the velocity is not finite, or the mean Δ is of updates that do not count because of
 * their length (`verdicts.ts`): kept results of any finite size would let those of later aggregators overflow. Bounds that are relative to the
 * other updates cannot be checked here: their lengths are the aggregator's claim. What was written before a failure is to be thrown away.
 */
export function writeRound<E, W>(
  { parameters, velocity, result, writeParameters, writeVelocity }: RoundFiles<E, W>,
  outer: OuterOptions,
): Effect.Effect<void, E | W | ResultRejected> {
  return Effect.gen(function* () {
    const misfit = misfitOf(parameters, result);
    if (misfit !== undefined) return yield* Effect.fail(new ResultRejected({ reason: misfit }));
    const { tensors } = parameters;
    yield* writeParameters(writeHeader(tensors));
    yield* writeVelocity(
      writeHeader(tensors.map(({ dtype, ...tensor }) => ({ ...tensor, dtype: isFloat(dtype) ? "F32" : dtype }))),
    );
    const scratch = chunkMemory(tensors, { bytes: 2, values: 3 });
    for (const tensor of tensors) {
      for (const chunk of chunksOf(tensor)) {
        const before = yield* parameters.readBytes(chunk, scratch.bytes(0));
        const step = yield* result.readBytes(chunk, scratch.bytes(1));
        if (!isFloat(tensor.dtype)) {
          addWholes(before, step, tensor.dtype);
          yield* writeParameters(before);
          yield* writeVelocity(new Uint8Array(before.length));
          continue;
        }
        const update = widen(step, typeOf(result, tensor.name), scratch.values(0));
        const after = added(widen(before, tensor.dtype, scratch.values(1)), update);
        const sum = narrow(after, tensor.dtype, scratch.bytes(0).buffer);
        yield* checkFinite(tensor.name, widen(sum, tensor.dtype, after));
        yield* writeParameters(sum);
        const state = velocity === undefined
          ? scratch.values(2).subarray(0, chunk.size).fill(0)
          : widen(yield* velocity.readBytes(chunk, scratch.bytes(0)), typeOf(velocity, tensor.name), scratch.values(2));
        const mean = largestMean(state, update, outer);
        const next = narrow(velocityAfter(state, update, outer), "F32", scratch.bytes(0).buffer);
        yield* checkFinite(tensor.name, widen(next, "F32", state), "the velocity of tensor");
        if (mean > meanMax) {
          const reason = `tensor ${
            JSON.stringify(tensor.name.slice(0, 64))
          } follows from a mean of ${mean}: an update that counts has a length of 2^64 at most`;
          return yield* Effect.fail(new ResultRejected({ reason }));
        }
        yield* writeVelocity(next);
      }
    }
  });
}

function typeOf({ byName }: Pick<TensorFile<never>, "byName">, name: string): FloatType {
  return byName.get(name)?.dtype as FloatType;
}

function added(into: Float64Array, values: Float64Array): Float64Array {
  for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) + (values[i] as number);
  return into;
}

/** Computes v′ = (u/η + μv) / (1 + μ), in place of v. */
export function velocityAfter(
  velocity: Float64Array,
  update: Float64Array,
  { learningRate, momentum }: OuterOptions,
): Float64Array {
  for (let i = 0; i < velocity.length; i++) {
    velocity[i] = ((update[i] as number) / learningRate + momentum * (velocity[i] as number)) / (1 + momentum);
  }
  return velocity;
}

/** The largest element of the mean that a result is of: Δ = v′ − μv. */
function largestMean(velocity: Float64Array, update: Float64Array, { learningRate, momentum }: OuterOptions): number {
  const squared = momentum ** 2;
  let largest = 0;
  for (let i = 0; i < update.length; i++) {
    largest = Math.max(largest, Math.abs((update[i] as number) / learningRate - squared * (velocity[i] as number)));
  }
  return largest / (1 + momentum);
}

function checkFinite(name: string, values: Float64Array, what = "tensor"): Effect.Effect<void, ResultRejected> {
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    const reason = `${what} ${JSON.stringify(name.slice(0, 64))} holds a value that is not finite`;
    return Effect.fail(new ResultRejected({ reason }));
  }
  return Effect.void;
}

/** Values that are finite, and not in the type they were cast to, are lost. */
function checkHeld(
  name: string,
  { values, is, cast }: { readonly values: Float64Array; readonly is: FloatType; readonly cast: Float64Array },
): Effect.Effect<void, ResultRejected> {
  const lost = cast.findIndex((value) => !Number.isFinite(value));
  if (lost === -1) return Effect.void;
  const reason = `tensor ${JSON.stringify(name.slice(0, 64))} holds ${values[lost]}, which ${is} cannot`;
  return Effect.fail(new ResultRejected({ reason }));
}
