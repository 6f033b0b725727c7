/**
 * The aggregation of one round. It reads the updates from the work directory, averages them exactly, applies Nesterov's step
 * and writes one file to send. It reads and writes in chunks, so memory does not grow with the model.
 *
 * @module
 */
import { Data, Effect, type Scope } from "effect";
import type { PathError } from "../files/path_refused.ts";
import type { WorkDirectory, WritableFile } from "../files/contained_files.ts";
import { judgeUpdates, type MeasuredUpdate, type NormRules, normRules, type RejectionCode } from "./verdicts.ts";
import {
  elementBytes,
  type FloatType,
  isFloat,
  medianOfWholes,
  narrow,
  type WholeType,
  widen,
} from "./element_types.ts";
import { layoutDigest } from "./layout.ts";
import { exactMean, nesterovStep, type OuterOptions, trimmedAtEach, trimmedMean } from "./outer_step.ts";
import { type MalformedSafetensors, type TensorEntry, writeHeader } from "./safetensors.ts";
import { type Chunk, type ChunkMemory, chunkMemory, chunksOf, openTensorFile, type TensorFile } from "./tensor_file.ts";

/** The aggregator rejects this update. The caller drops the trainer that sent it. */
export class UpdateRejected extends Data.TaggedError("UpdateRejected")<{
  /** The update's path in the work directory. */
  readonly file: string;
  readonly code: RejectionCode;
  readonly reason: string;
}> {
  override get message(): string {
    return `Cannot take update ${JSON.stringify(this.file)}: ${this.reason}`;
  }
}

/** Most updates in one round: each file is open during the average. */
export const updatesMax = 256;

/** The paths of a round, in the work directory. */
export interface AggregateFiles {
  /** At least one, at most {@linkcode updatesMax}. */
  readonly updates: readonly string[];
  /** The state of the outer optimizer. The first round has none; every round replaces it. */
  readonly velocity: string;
  /** The outer update to send: safetensors with the names and shapes of the updates, floats as F32, integers and bools as they are. */
  readonly out: string;
}

/** A round that was aggregated. */
export interface Aggregated {
  /** Size of the outer update, in bytes. */
  readonly sizeBytes: number;
  /** Each update: its length before it was scaled, and its factor; 1 where it was not scaled. */
  readonly updates: readonly { readonly file: string; readonly norm: number; readonly factor: number }[];
}

/** How a round is aggregated. */
export interface AggregateOptions extends OuterOptions {
  /** Digest of the layout that updates must have; undefined where the training has no weights of its own. */
  readonly layout?: string | undefined;
  /** Part of the values that are dropped at each end, element by element; undefined for the mean of all. */
  readonly trim?: number | undefined;
  /** The defaults where undefined. */
  readonly norms?: NormRules | undefined;
  /** Called when the updates are open, for each chunk that was judged or averaged, and when a file is on disk. */
  readonly onStep?: (() => void) | undefined;
}

/**
 * Judges the updates (`verdicts.ts`), averages them, steps the outer optimizer, and writes the outer update and the new velocity.
 * Integers and bools become the lower median of the updates, unscaled and without velocity. The order of the updates does not change the bytes. A failure changes neither file. Of several updates that do not count, the failure
 * names one.
 */
export function aggregateUpdates(
  directory: Pick<WorkDirectory, "openForReading" | "create">,
  files: AggregateFiles,
  options: AggregateOptions,
): Effect.Effect<Aggregated, UpdateRejected | PathError> {
  const { onStep = () => {} } = options;
  return Effect.scoped(Effect.gen(function* () {
    const updates = yield* openUpdates(directory, files.updates);
    const [first] = updates;
    if (first === undefined) throw new TypeError("Cannot aggregate: no updates");
    const velocity = yield* openVelocity(directory, files.velocity);
    onStep();
    // One of each update, then the velocity's and the mean's.
    const scratch = chunkMemory(first.tensors, { bytes: 1, values: updates.length + 2 });
    const measured: MeasuredUpdate[] = [];
    for (const update of updates) {
      const norm = yield* normOf(update, scratch, onStep);
      measured.push({ file: update.path, layout: layoutDigest(update.tensors), norm });
    }
    const verdict = judgeUpdates(measured, {
      layout: options.layout ?? (velocity === undefined ? undefined : layoutDigest(velocity.tensors)),
      rules: options.norms ?? normRules,
      of: options.layout === undefined ? "earlier rounds" : "the training's weights",
    });
    if (verdict.type === "rejects") return yield* rejected(verdict.file, verdict.code, verdict.reason);
    const { factors } = verdict;
    const out = yield* directory.create(files.out);
    const next = yield* directory.create(files.velocity);
    const header = writeHeader(first.tensors.map((tensor) => ({ ...tensor, dtype: typeIn("F32", tensor) })));
    yield* out.write(header);
    yield* next.write(writeHeader(first.tensors.map((tensor) => ({ ...tensor, dtype: typeIn("F64", tensor) }))));
    let sizeBytes = header.length;
    for (const tensor of first.tensors) {
      const { dtype } = tensor;
      for (const chunk of chunksOf(tensor)) {
        sizeBytes += chunk.size * elementBytes[typeIn("F32", { dtype })];
        if (isFloat(dtype)) yield* stepChunk({ updates, factors, velocity, out, next, scratch }, chunk, options);
        else yield* medianChunk({ updates, out, next }, chunk, dtype);
        onStep();
      }
    }
    yield* next.commit;
    onStep();
    yield* out.commit;
    return { sizeBytes, updates: measured.map(({ file, norm }, i) => ({ file, norm, factor: factors[i] ?? 1 })) };
  }));
}

/** An open update, or the open velocity. */
interface Open extends TensorFile<UpdateRejected | PathError> {
  readonly path: string;
}

function stepChunk(
  { updates, factors, velocity, out, next, scratch }: {
    readonly updates: readonly Open[];
    readonly factors: readonly number[];
    readonly velocity: Open | undefined;
    readonly out: WritableFile;
    readonly next: WritableFile;
    readonly scratch: ChunkMemory;
  },
  chunk: Chunk,
  options: AggregateOptions,
): Effect.Effect<void, UpdateRejected | PathError> {
  return Effect.gen(function* () {
    const parts: Float64Array[] = [];
    for (const [i, update] of updates.entries()) {
      const part = yield* readUpdate(update, chunk, scratch, i);
      const factor = factors[i] ?? 1;
      // Scaled values are F32 again: the exact mean takes no others.
      if (factor !== 1) {
        for (let at = 0; at < part.length; at++) part[at] = Math.fround((part[at] as number) * factor);
      }
      parts.push(part);
    }
    const state = velocity === undefined
      ? scratch.values(updates.length).subarray(0, chunk.size).fill(0)
      : yield* readChunk(velocity, chunk, scratch, updates.length);
    const mean = meanOf(parts, scratch.values(updates.length + 1).subarray(0, chunk.size), options.trim);
    nesterovStep(state, mean, options);
    yield* out.write(narrow(mean, "F32", scratch.bytes(0).buffer));
    yield* next.write(narrow(state, "F64", scratch.bytes(0).buffer));
  });
}

function medianChunk(
  { updates, out, next }: {
    readonly updates: readonly Open[];
    readonly out: WritableFile;
    readonly next: WritableFile;
  },
  chunk: Chunk,
  dtype: WholeType,
): Effect.Effect<void, UpdateRejected | PathError> {
  return Effect.gen(function* () {
    const parts: Uint8Array[] = [];
    for (const update of updates) parts.push(yield* update.readBytes(chunk));
    yield* out.write(medianOfWholes(parts, dtype));
    // Zeros: the file of the velocity keeps the layout for later rounds.
    yield* next.write(new Uint8Array(chunk.size * elementBytes[dtype]));
  });
}

/** The element type of a tensor in a file of ours. */
function typeIn(float: "F32" | "F64", { dtype }: Pick<TensorEntry, "dtype">): TensorEntry["dtype"] {
  return isFloat(dtype) ? float : dtype;
}

function meanOf(parts: readonly Float64Array[], mean: Float64Array, trim: number | undefined): Float64Array {
  const dropped = trim === undefined ? 0 : trimmedAtEach(parts.length, trim);
  const column = new Float64Array(parts.length);
  for (let i = 0; i < mean.length; i++) {
    for (let k = 0; k < parts.length; k++) column[k] = parts[k]?.[i] as number;
    mean[i] = dropped === 0 ? exactMean(column) : trimmedMean(column, dropped);
  }
  return mean;
}

function rejected(file: string, code: RejectionCode, reason: string): Effect.Effect<never, UpdateRejected> {
  return Effect.fail(new UpdateRejected({ file, code, reason }));
}

/** The length of an update's floats; not finite where one of its values is not. */
function normOf(
  update: Open,
  scratch: ChunkMemory,
  onStep: () => void,
): Effect.Effect<number, UpdateRejected | PathError> {
  return Effect.gen(function* () {
    let sum = 0;
    for (const tensor of update.tensors) {
      if (!isFloat(tensor.dtype)) continue;
      for (const chunk of chunksOf(tensor)) {
        const part = yield* readUpdate(update, chunk, scratch, 0);
        // By index: an iterator takes five times as long.
        for (let i = 0; i < part.length; i++) sum += (part[i] as number) ** 2;
        onStep();
      }
      if (!Number.isFinite(sum)) return sum;
    }
    return Math.sqrt(sum);
  });
}

/** Opens all updates. */
function openUpdates(
  directory: Pick<WorkDirectory, "openForReading">,
  paths: readonly string[],
): Effect.Effect<readonly Open[], UpdateRejected | PathError, Scope.Scope> {
  return Effect.gen(function* () {
    const updates: Open[] = [];
    for (const [i, path] of paths.entries()) {
      if (i === updatesMax) return yield* rejected(path, "malformed", `more than ${updatesMax} updates`);
      updates.push(yield* open(directory, path));
    }
    return updates;
  });
}

function openVelocity(
  directory: Pick<WorkDirectory, "openForReading">,
  path: string,
): Effect.Effect<Open | undefined, UpdateRejected | PathError, Scope.Scope> {
  return open(directory, path).pipe(
    Effect.map((found): Open | undefined => found),
    Effect.catchIf(
      (error) => error._tag === "WorkFileFailed" && error.code === "not-found",
      () => Effect.succeed(undefined),
    ),
  );
}

function open(
  directory: Pick<WorkDirectory, "openForReading">,
  path: string,
): Effect.Effect<Open, UpdateRejected | PathError, Scope.Scope> {
  const orReject = <A>(effect: Effect.Effect<A, PathError | MalformedSafetensors>) =>
    Effect.mapError(
      effect,
      (error): UpdateRejected | PathError =>
        error._tag === "MalformedSafetensors"
          ? new UpdateRejected({ file: path, code: "malformed", reason: error.reason })
          : error,
    );
  return Effect.gen(function* () {
    const file = yield* directory.openForReading(path);
    const tensors = yield* orReject(openTensorFile<PathError>(file));
    return { ...tensors, path, readBytes: (chunk, into) => orReject(tensors.readBytes(chunk, into)) };
  });
}

/** The floats of an update's chunk in the range of F32: the exact mean takes no others. */
function readUpdate(...of: Parameters<typeof readChunk>): ReturnType<typeof readChunk> {
  const [update, { name }] = of;
  const part = readChunk(...of);
  if (update.byName.get(name)?.dtype !== "F64") return part;
  return Effect.map(part, (values) => {
    for (let i = 0; i < values.length; i++) values[i] = Math.fround(values[i] as number);
    return values;
  });
}

/** The floats of a chunk, in the memory's values at `at`. */
function readChunk(
  update: Open,
  chunk: Chunk,
  scratch: ChunkMemory,
  at: number,
): Effect.Effect<Float64Array, UpdateRejected | PathError> {
  const { dtype } = update.byName.get(chunk.name) as TensorEntry;
  return Effect.map(
    update.readBytes(chunk, scratch.bytes(0)),
    (bytes) => widen(bytes, dtype as FloatType, scratch.values(at)),
  );
}
