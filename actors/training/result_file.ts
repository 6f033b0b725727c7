/**
 * The model of a training as its user gets it: the newest finished round, in the element types and with the metadata
 * that the training began with.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { Data, Effect, Result, type Scope } from "effect";
import type { FileSystem } from "effect/FileSystem";
import * as Random from "effect/Random";
import { checkPath, type FileNotWritten } from "../files/write_whole.ts";
import {
  castTensors,
  type MalformedSafetensors,
  type ResultRejected,
  type TensorEntry,
  type TensorFile,
} from "../learning/mod.ts";
import { CheckpointFailed, type FoundCheckpoint, newestCheckpoint, recordedRounds } from "./checkpoints.ts";
import { noLayout, readLayoutFile } from "./layout_file.ts";
import type { FileFit } from "./round_record.ts";
import { createTensors, openTensors } from "./tensors_on_disk.ts";

/** A folder holds no finished round. */
export class NoModel extends Data.TaggedError("NoModel")<{ readonly folder: string }> {
  override get message(): string {
    return `Cannot find a finished round in ${this.folder}`;
  }
}

/** The file that was written. */
export interface WrittenModel extends FileFit {
  readonly round: number;
}

type OpenFailure = NoModel | CheckpointFailed | MalformedSafetensors;

/** A finished round whose parameters are open. */
interface OpenRound {
  readonly newest: FoundCheckpoint;
  readonly parameters: TensorFile<CheckpointFailed | MalformedSafetensors>;
}

/**
 * Writes the newest finished round. A scheduler may run meanwhile.
 *
 * @param folder The training's folder in the state directory.
 * @param out Where to write; a file that is there is replaced, and a device or a pipe refused.
 */
export function writeModel(
  folder: string,
  out: string,
): Effect.Effect<
  WrittenModel,
  OpenFailure | FileNotWritten | ResultRejected,
  FileSystem
> {
  return Effect.scoped(Effect.gen(function* () {
    const { types, metadata } = yield* Effect.catch(
      readLayoutFile(folder),
      ({ file, detail, problem }) =>
        problem === "missing" ? Effect.succeed(noLayout) : Effect.fail(new CheckpointFailed({ path: file, detail })),
    );
    const { newest, parameters } = yield* openNewest(folder);
    yield* checkPath(out, "replace");
    // Two commands may write one path at once.
    const mark = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36);
    const file = yield* createTensors(out, join(dirname(out), `.${basename(out)}.${mark}.tmp`));
    const typeOf = ({ name, dtype }: TensorEntry) => types.get(name) ?? dtype;
    yield* castTensors(parameters, typeOf, (bytes) => file.write(bytes), metadata);
    return { round: newest.record.round, ...yield* file.commit };
  }));
}

/** Opens the newest finished round. Looks again where another one was finished meanwhile: the former ones may be gone. */
function openNewest(folder: string): Effect.Effect<OpenRound, OpenFailure, FileSystem | Scope.Scope> {
  const open = Effect.gen(function* () {
    const newest = yield* newestCheckpoint(folder);
    if (newest === undefined) return yield* new NoModel({ folder });
    return { newest, parameters: yield* openTensors(newest.parameters) };
  });
  return Effect.gen(function* () {
    const [before] = yield* recordedRounds(folder);
    const opened = yield* Effect.result(open);
    if (Result.isSuccess(opened)) return opened.success;
    const [after] = yield* recordedRounds(folder);
    return after === before ? yield* Effect.fail(opened.failure) : yield* openNewest(folder);
  });
}
