/**
 * The folder of a training, `state_dir/trainings/ID/`: which finished rounds it holds.
 *
 * ```
 * run                               the number of the newest run
 * layout.json                       the weights that the training began with: digest, names, shapes, element types
 * round-N.safetensors               parameters after round N, in F32 (F64 for F64)
 * round-N.velocity.safetensors      the outer optimizer's velocity, in F32
 * round-N.result.safetensors        the result of the newest round
 * round-N.json                      the record of round N, written last
 * incoming.safetensors              the result that is being taken
 * ```
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Data, Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import { fileProblem } from "../files/file_problem.ts";
import { readWhole } from "../files/read_whole.ts";
import { type FileFit, parseRecord, type RoundRecord } from "./round_record.ts";

/** A checkpoint cannot be read or written. */
export class CheckpointFailed extends Data.TaggedError("CheckpointFailed")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot read or write the model at ${this.path}: ${this.detail}`;
  }
}

/** A file of a finished round is gone, or not the one that its record names: the scheduler's own fault, or its disk's. */
export class RoundDamaged extends Data.TaggedError("RoundDamaged")<{
  readonly path: string;
  readonly round: number;
}> {
  override get message(): string {
    return `Cannot go on with the model at ${this.path}: the record of round ${this.round} names another size or digest`;
  }
}

/** A record has some hundred bytes for each member, of at most 257. */
export const recordBytesMax = 1_048_576;
/** A finished round in the folder. */
export interface FoundCheckpoint {
  readonly record: RoundRecord;
  readonly parameters: string;
  readonly velocity: string;
  /** The round's result, which trainers that missed it get from another aggregator; none for round 0. */
  readonly result: string;
}

/** A finished round of an open model. */
export interface Checkpoint extends FoundCheckpoint {
  /** Digest of the layout of the training's weights (`learning/layout.ts`). */
  readonly layout: string;
}

/** The folder of a training. */
export const trainingFolder = (stateDir: string, id: string): string => join(stateDir, "trainings", id);
export const parametersPath = (folder: string, round: number): string => join(folder, `round-${round}.safetensors`);
export const velocityPath = (folder: string, round: number): string =>
  join(folder, `round-${round}.velocity.safetensors`);
export const resultPath = (folder: string, round: number): string => join(folder, `round-${round}.result.safetensors`);
export const recordPath = (folder: string, round: number): string => join(folder, `round-${round}.json`);
export const incomingPath = (folder: string): string => join(folder, "incoming.safetensors");

const recordName = /^round-(0|[1-9][0-9]{0,6})\.json$/;
const ownName =
  /^(?:round-([0-9]+)(\.velocity|\.result)?\.(?:safetensors|json)|incoming\.safetensors|\.(?:round-|incoming|layout).*\.tmp(?:\.old)?)$/;

/**
 * The newest round whose files fit its record; undefined where there is none. Fails where a file cannot be read: it may be whole, and
 * another try may succeed.
 */
export function newestCheckpoint(
  folder: string,
): Effect.Effect<FoundCheckpoint | undefined, CheckpointFailed, FileSystem> {
  return Effect.gen(function* () {
    for (const round of yield* recordedRounds(folder)) {
      const checkpoint = yield* fittingCheckpoint(folder, round);
      if (checkpoint !== undefined) return checkpoint;
    }
    return undefined;
  });
}

/** The rounds that have a record, the newest first, whether their files fit it or not. */
export function recordedRounds(folder: string): Effect.Effect<readonly number[], CheckpointFailed, FileSystem> {
  return Effect.map(
    Effect.mapError(namesIn(folder), failedAt(folder)),
    (names) =>
      names.flatMap((name) => {
        const round = recordName.exec(name)?.[1];
        return round === undefined ? [] : [Number(round)];
      }).sort((a, b) => b - a),
  );
}

function fittingCheckpoint(
  folder: string,
  round: number,
): Effect.Effect<FoundCheckpoint | undefined, CheckpointFailed, FileSystem> {
  const path = recordPath(folder, round);
  return Effect.gen(function* () {
    const read = yield* Effect.catch(
      readWhole({ path, what: "record of a round", bytesMax: recordBytesMax, key: "state_dir" }),
      ({ problem, detail }) =>
        problem === "unreadable" ? Effect.fail(failedFor(path, detail)) : Effect.succeed({ text: "" }),
    );
    const record = parseRecord(read.text);
    if (record === undefined || record.round !== round) return undefined;
    const [parameters, velocity] = [parametersPath(folder, round), velocityPath(folder, round)];
    if (!(yield* isFitting(parameters, record.parameters))) return undefined;
    if (record.velocity !== null && !(yield* isFitting(velocity, record.velocity))) return undefined;
    return { record, parameters, velocity, result: resultPath(folder, round) };
  });
}

/** Checks that the files of a finished round are those of its record. */
export function checkWhole(
  { record: { round, ...fits }, ...paths }: FoundCheckpoint,
): Effect.Effect<void, CheckpointFailed | RoundDamaged, FileSystem> {
  return Effect.gen(function* () {
    for (const file of ["parameters", "velocity"] as const) {
      const [path, fit] = [paths[file], fits[file]];
      if (fit !== null && !(yield* isFitting(path, fit))) return yield* new RoundDamaged({ path, round });
    }
  });
}

/** Whether a file is that of a record. Its size is compared first: a device or a pipe has no end, and a sparse file a late one. */
function isFitting(
  path: string,
  { sizeBytes, sha256 }: FileFit,
): Effect.Effect<boolean, CheckpointFailed, FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const { type, size } = yield* files.stat(path);
    if (type !== "File" || Number(size) !== sizeBytes) return false;
    return (yield* measureFile(path)).sha256 === sha256;
  }).pipe(
    Effect.catch((error) =>
      error.reason._tag === "NotFound" ? Effect.succeed(false) : Effect.fail(failedAt(path)(error))
    ),
  );
}

const pieceBytes = 1024 * 1024;

/** Size and digest of a file. */
export function measureFile(path: string): Effect.Effect<FileFit, PlatformError, FileSystem> {
  return Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    const handle = yield* files.open(path, { flag: "r" });
    const hash = createHash("sha256");
    const piece = new Uint8Array(pieceBytes);
    let sizeBytes = 0;
    for (;;) {
      const count = yield* handle.read(piece);
      if (count === 0) return { sizeBytes, sha256: hash.digest("hex") };
      hash.update(piece.subarray(0, count));
      sizeBytes += count;
    }
  }));
}

/**
 * Removes what is no finished round any more, or never became one: rounds that are older than the `keepRounds` newest, rounds after
 * the newest, and files in the making. A record goes before its files.
 */
export function removeOthers(
  folder: string,
  { newest, keepRounds }: { readonly newest: number; readonly keepRounds: number },
): Effect.Effect<void, never, FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const isKept = (name: string) => {
      const match = ownName.exec(name);
      if (match === null) return true;
      const round = match[1] === undefined ? undefined : Number(match[1]);
      const kept = match[2] === ".result" ? 1 : keepRounds;
      return round !== undefined && !name.startsWith(".") && round <= newest && round > newest - kept;
    };
    const names = yield* Effect.orElseSucceed(namesIn(folder), () => []);
    const gone = names.filter((name) => !isKept(name));
    for (const name of [...gone.filter((each) => each.endsWith(".json")), ...gone]) {
      yield* Effect.ignore(files.remove(join(folder, name), { force: true }));
    }
  });
}

/** The names in a folder; none where it does not exist. */
function namesIn(folder: string): Effect.Effect<readonly string[], PlatformError, FileSystem> {
  return Effect.flatMap(
    FileSystem,
    (files) =>
      Effect.catch(
        files.readDirectory(folder),
        (error) => error.reason._tag === "NotFound" ? Effect.succeed<readonly string[]>([]) : Effect.fail(error),
      ),
  );
}

/** The failure for an error of the file system. */
export function failedAt(path: string) {
  return (error: PlatformError): CheckpointFailed => failedFor(path, fileProblem(error));
}

/** The failure for another reason. */
export function failedFor(path: string, detail: string): CheckpointFailed {
  return new CheckpointFailed({ path, detail });
}
