/**
 * Safetensors files that are read piece by piece: memory does not grow with the model.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { elementBytes } from "./element_types.ts";
import { type Layout, MalformedSafetensors, readHeaderLength, readLayout, type TensorEntry } from "./safetensors.ts";

/** Elements of one tensor that are read at once. */
export const chunkValues = 16_384;

/** Memory of chunks, for as many of them as are needed at once. */
export interface ChunkMemory {
  /** The bytes of a chunk of any type. */
  bytes(at: number): Uint8Array<ArrayBuffer>;
  /** Its values. */
  values(at: number): Float64Array;
}

/**
 * Memory that every chunk of these tensors uses again: a collector of new arrays for each chunk took more processor time than the
 * arithmetic.
 */
export function chunkMemory(
  tensors: readonly Pick<TensorEntry, "count">[],
  { bytes, values }: { readonly bytes: number; readonly values: number },
): ChunkMemory {
  const size = tensors.reduce((most, { count }) => Math.min(chunkValues, Math.max(most, count)), 0);
  const all = Array.from({ length: bytes }, () => new Uint8Array(size * elementBytes.F64));
  const floats = Array.from({ length: values }, () => new Float64Array(size));
  return { bytes: (at) => all[at] as Uint8Array<ArrayBuffer>, values: (at) => floats[at] as Float64Array };
}

/** An open file: reads at most `into.length` bytes from `position` on; 0 at the end. */
export interface PositionedFile<E> {
  readonly sizeBytes: number;
  read(into: Uint8Array, position: number): Effect.Effect<number, E>;
}

/** Elements `start` to `start + size` of one tensor. */
export interface Chunk {
  readonly name: string;
  readonly start: number;
  readonly size: number;
}

/** An open safetensors file whose header was checked. */
export interface TensorFile<E> extends Layout {
  readonly byName: ReadonlyMap<string, TensorEntry>;
  /**
   * The bytes of elements of a tensor that the file has, at the beginning of `into` where they fit. Fails where the file became
   * shorter meanwhile.
   */
  readBytes(chunk: Chunk, into?: Uint8Array): Effect.Effect<Uint8Array, E>;
}

/** Reads and checks the header. */
export function openTensorFile<E>(
  file: PositionedFile<E>,
): Effect.Effect<TensorFile<E | MalformedSafetensors>, E | MalformedSafetensors> {
  return Effect.gen(function* () {
    const prefix = yield* readFully(file, 0, Math.min(8, file.sizeBytes));
    const length = yield* orFail(readHeaderLength(prefix, file.sizeBytes));
    const header = yield* readFully(file, prefix.length, length);
    const layout = yield* orFail(readLayout(header, file.sizeBytes));
    const byName = new Map(layout.tensors.map((entry) => [entry.name, entry]));
    return {
      ...layout,
      byName,
      readBytes: ({ name, start, size }, into) => {
        const { dtype, offset } = byName.get(name) as TensorEntry;
        const width = elementBytes[dtype];
        const bytes = size * width;
        const fits = into !== undefined && into.length >= bytes;
        return readFully(file, offset + start * width, fits ? into.subarray(0, bytes) : bytes);
      },
    };
  });
}

/** The pieces of a tensor, in order. */
export function* chunksOf({ name, count }: TensorEntry): Generator<Chunk> {
  for (let start = 0; start < count; start += chunkValues) {
    yield { name, start, size: Math.min(chunkValues, count - start) };
  }
}

function orFail<A>(result: Result.Result<A, MalformedSafetensors>): Effect.Effect<A, MalformedSafetensors> {
  return Result.isSuccess(result) ? Effect.succeed(result.success) : Effect.fail(result.failure);
}

function readFully<E>(
  file: PositionedFile<E>,
  position: number,
  into: number | Uint8Array,
): Effect.Effect<Uint8Array, E | MalformedSafetensors> {
  return Effect.gen(function* () {
    const bytes = typeof into === "number" ? new Uint8Array(into) : into;
    let done = 0;
    while (done < bytes.length) {
      const count = yield* file.read(bytes.subarray(done), position + done);
      if (count === 0) return yield* Effect.fail(new MalformedSafetensors({ reason: "cut short" }));
      done += count;
    }
    return bytes;
  });
}
