/**
 * The model of a training as its user gets it: the newest finished round, in the element types that the training began with.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { Data, Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import * as Random from "effect/Random";
import type { FileNotWritten } from "../files/write_whole.ts";
import { castTensors, type MalformedSafetensors, type ResultRejected } from "../learning/mod.ts";
import { type CheckpointFailed, newestCheckpoint } from "./checkpoints.ts";
import { readLayoutFile } from "./layout_file.ts";
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

/**
 * Writes the newest finished round. A scheduler may run meanwhile.
 *
 * @param folder The training's folder in the state directory.
 * @param out Where to write; a file that is there is replaced.
 */
export function writeModel(
  folder: string,
  out: string,
): Effect.Effect<
  WrittenModel,
  NoModel | CheckpointFailed | FileNotWritten | MalformedSafetensors | ResultRejected,
  FileSystem
> {
  return Effect.scoped(Effect.gen(function* () {
    const newest = yield* newestCheckpoint(folder);
    if (newest === undefined) return yield* Effect.fail(new NoModel({ folder }));
    const types = yield* Effect.catch(readLayoutFile(folder), () => Effect.succeed(new Map<string, never>()));
    const parameters = yield* openTensors(newest.parameters);
    // Two commands may write one path at once.
    const mark = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36);
    const file = yield* createTensors(out, join(dirname(out), `.${basename(out)}.${mark}.tmp`));
    yield* castTensors(parameters, ({ name, dtype }) => types.get(name) ?? dtype, (bytes) => file.write(bytes));
    return { round: newest.record.round, ...yield* file.commit };
  }));
}
