/**
 * `hypha-scheduler result`: writes the model of a training to a file.
 *
 * @module
 */
import process from "node:process";
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { readStateDir } from "../../actors/config/load.ts";
import { trainingFolder } from "../../actors/training/checkpoints.ts";
import { writeModel } from "../../actors/training/result_file.ts";
import { ProgramFailed } from "./failure.ts";
import { stoppable } from "./stoppable.ts";

/** The options of `result`. */
interface ResultOptions {
  /** The training's name, as the scheduler's log has it. */
  readonly id: string;
  readonly output: string;
  /** Path of the scheduler's configuration, which names its state directory. */
  readonly config: string;
}

const idPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** Writes the newest finished round, at any time of the training. */
export function result({ id, output, config: file }: ResultOptions): Effect.Effect<void, ProgramFailed, FileSystem> {
  const failed = (error: { readonly message: string }) => new ProgramFailed({ exitCode: 1, notice: error.message });
  return Effect.gen(function* () {
    if (!idPattern.test(id)) {
      const notice = `${JSON.stringify(id)} is no name of a training, such as t-7f3a90c1`;
      return yield* Effect.fail(new ProgramFailed({ exitCode: 2, notice }));
    }
    const stateDir = yield* Effect.mapError(readStateDir("scheduler", file, process.env), failed);
    const written = yield* stoppable(Effect.mapError(writeModel(trainingFolder(stateDir, id), output), failed));
    const { round, sha256, sizeBytes } = written;
    process.stdout.write(`${output}: round ${round}, ${sizeBytes} bytes, SHA-256 ${sha256}\n`);
  });
}
