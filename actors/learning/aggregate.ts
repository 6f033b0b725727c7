/**
 * The aggregation of one round. It reads the updates from the work directory, averages them exactly, applies Nesterov's step
 * and writes one file to send. It reads and writes in chunks, so memory does not grow with the model.
 *
 * @module
 */
import { Data, Effect, Result, type Scope } from "effect";
import type { PathError } from "../files/path_refused.ts";
import type { ReadableFile, WorkDirectory, WritableFile } from "../files/contained_files.ts";
import { exactMean, nesterovStep, type OuterOptions } from "./outer_step.ts";
import {
  elementBytes,
  type Layout,
  MalformedSafetensors,
  narrow,
  readHeaderLength,
  readLayout,
  type TensorEntry,
  widen,
  writeHeader,
} from "./safetensors.ts";

/** The aggregator rejects this update. The caller drops the trainer that sent it. */
export class UpdateRejected extends Data.TaggedError("UpdateRejected")<{
  /** The update's path in the work directory. */
  readonly file: string;
  readonly reason: string;
}> {
  override get message(): string {
    return `Cannot take update ${JSON.stringify(this.file)}: ${this.reason}`;
  }
}

/** Most updates in one round: each file is open during the average. */
export const updatesMax = 256;
/** Values of one tensor that each update keeps in memory at once. */
const chunkValues = 16_384;

/** The paths of a round, in the work directory. */
export interface AggregateFiles {
  /** At least one, at most {@linkcode updatesMax}. */
  readonly updates: readonly string[];
  /** The state of the outer optimizer. The first round has none; every round replaces it. */
  readonly velocity: string;
  /** The outer update to send: safetensors, F32, with the names and shapes of the first update. */
  readonly out: string;
}

/**
 * Averages the updates, steps the outer optimizer, and writes the outer update and the new velocity. The order of the updates
 * does not change the bytes. A failure changes neither file.
 *
 * @returns The size of the outer update, in bytes.
 */
export function aggregateUpdates(
  directory: Pick<WorkDirectory, "openForReading" | "create" | "status">,
  files: AggregateFiles,
  options: OuterOptions,
): Effect.Effect<{ readonly sizeBytes: number }, UpdateRejected | PathError> {
  return Effect.scoped(Effect.gen(function* () {
    const updates = yield* openUpdates(directory, files.updates);
    const [first] = updates;
    if (first === undefined) throw new TypeError("Cannot aggregate: no updates");
    const velocity = yield* openVelocity(directory, files.velocity, first);
    const out = yield* directory.create(files.out);
    const next = yield* directory.create(files.velocity);
    const header = writeHeader(first.tensors.map(({ name, shape }) => ({ name, shape, dtype: "F32" })));
    yield* out.write(header);
    yield* next.write(writeHeader(first.tensors.map(({ name, shape }) => ({ name, shape, dtype: "F64" }))));
    let sizeBytes = header.length;
    for (const { name, count } of first.tensors) {
      for (let start = 0; start < count; start += chunkValues) {
        const size = Math.min(chunkValues, count - start);
        sizeBytes += size * elementBytes.F32;
        yield* stepChunk({ updates, velocity, out, next }, { name, start, size }, options);
      }
    }
    yield* next.commit;
    yield* out.commit;
    return { sizeBytes };
  }));
}

/** An open safetensors file. */
interface Open {
  readonly path: string;
  readonly file: ReadableFile;
  readonly tensors: readonly TensorEntry[];
  readonly byName: ReadonlyMap<string, TensorEntry>;
}

interface Chunk {
  readonly name: string;
  readonly start: number;
  readonly size: number;
}

function stepChunk(
  { updates, velocity, out, next }: {
    readonly updates: readonly Open[];
    readonly velocity: Open | undefined;
    readonly out: WritableFile;
    readonly next: WritableFile;
  },
  chunk: Chunk,
  options: OuterOptions,
): Effect.Effect<void, UpdateRejected | PathError> {
  return Effect.gen(function* () {
    const parts: Float64Array[] = [];
    for (const update of updates) {
      const part = yield* readChunk(update, chunk);
      if (!part.every(Number.isFinite)) {
        return yield* rejected(update.path, `tensor ${JSON.stringify(chunk.name)} holds a value that is not finite`);
      }
      parts.push(part);
    }
    const state = velocity === undefined ? new Float64Array(chunk.size) : yield* readChunk(velocity, chunk);
    const mean = meanOf(parts, chunk.size);
    nesterovStep(state, mean, options);
    yield* out.write(narrow(mean, "F32"));
    yield* next.write(narrow(state, "F64"));
  });
}

function meanOf(parts: readonly Float64Array[], size: number): Float64Array {
  const mean = new Float64Array(size);
  const column = new Float64Array(parts.length);
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < parts.length; k++) column[k] = parts[k]?.[i] as number;
    mean[i] = exactMean(column);
  }
  return mean;
}

function rejected(file: string, reason: string): Effect.Effect<never, UpdateRejected> {
  return Effect.fail(new UpdateRejected({ file, reason }));
}

/** Opens all updates. Rejects an update whose names or shapes differ from those of the first. */
function openUpdates(
  directory: Pick<WorkDirectory, "openForReading">,
  paths: readonly string[],
): Effect.Effect<readonly Open[], UpdateRejected | PathError, Scope.Scope> {
  return Effect.gen(function* () {
    const updates: Open[] = [];
    for (const [i, path] of paths.entries()) {
      if (i === updatesMax) return yield* rejected(path, `more than ${updatesMax} updates`);
      const update = yield* open(directory, path);
      if (update.tensors.some(({ dtype }) => dtype === "F64")) return yield* rejected(path, "elements of 8 bytes");
      const reason = difference(updates[0] ?? update, update);
      if (reason !== undefined) return yield* rejected(path, reason);
      updates.push(update);
    }
    return updates;
  });
}

/** Describes how the tensors of two files differ; undefined where they match. The order of their data may differ. */
function difference(expected: Open, other: Open): string | undefined {
  if (other.byName.size !== expected.byName.size) {
    return `${other.byName.size} tensors where the first update has ${expected.byName.size}`;
  }
  for (const { name, shape } of expected.tensors) {
    const found = other.byName.get(name);
    if (found === undefined) return `tensor ${JSON.stringify(name)} is missing`;
    if (found.shape.join() !== shape.join()) return `tensor ${JSON.stringify(name)} has another shape`;
  }
  return undefined;
}

function openVelocity(
  directory: Pick<WorkDirectory, "openForReading">,
  path: string,
  update: Open,
): Effect.Effect<Open | undefined, UpdateRejected | PathError, Scope.Scope> {
  return open(directory, path).pipe(
    Effect.map((found): Open | undefined => found),
    Effect.catchIf(
      (error) => error._tag === "WorkFileFailed" && error.code === "not-found",
      () => Effect.succeed(undefined),
    ),
    Effect.flatMap((found) => {
      const reason = found === undefined ? undefined : difference(found, update);
      return reason === undefined ? Effect.succeed(found) : rejected(update.path, `${reason} (than in earlier rounds)`);
    }),
  );
}

function open(
  directory: Pick<WorkDirectory, "openForReading">,
  path: string,
): Effect.Effect<Open, UpdateRejected | PathError, Scope.Scope> {
  return Effect.gen(function* () {
    const file = yield* directory.openForReading(path);
    const prefix = yield* readFully(path, file, 0, Math.min(8, file.sizeBytes));
    const length = yield* orReject(path, readHeaderLength(prefix, file.sizeBytes));
    const header = yield* readFully(path, file, prefix.length, length);
    const layout: Layout = yield* orReject(path, readLayout(header, file.sizeBytes));
    return { path, file, tensors: layout.tensors, byName: new Map(layout.tensors.map((entry) => [entry.name, entry])) };
  });
}

function orReject<A>(file: string, result: Result.Result<A, MalformedSafetensors>): Effect.Effect<A, UpdateRejected> {
  return Result.isSuccess(result)
    ? Effect.succeed(result.success)
    : Effect.fail(new UpdateRejected({ file, reason: result.failure.reason }));
}

function readChunk(
  { path, file, byName }: Open,
  { name, start, size }: Chunk,
): Effect.Effect<Float64Array, UpdateRejected | PathError> {
  const { dtype, offset } = byName.get(name) as TensorEntry;
  const width = elementBytes[dtype];
  return Effect.map(readFully(path, file, offset + start * width, size * width), (bytes) => widen(bytes, dtype));
}

/** Reads exactly `size` bytes. Rejects a file that became shorter after it was opened. */
function readFully(
  path: string,
  file: ReadableFile,
  position: number,
  size: number,
): Effect.Effect<Uint8Array, UpdateRejected | PathError> {
  return Effect.gen(function* () {
    const bytes = new Uint8Array(size);
    let done = 0;
    while (done < size) {
      const count = yield* file.read(bytes.subarray(done), position + done);
      if (count === 0) return yield* rejected(path, "cut short");
      done += count;
    }
    return bytes;
  });
}
