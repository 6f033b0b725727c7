/**
 * Opens the model of a training, and keeps it after each round.
 *
 * @module
 */
import { Effect, Exit } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { PlatformError } from "effect/PlatformError";
import { checkRoom } from "../files/free_space.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { type FileNotWritten, writeWhole } from "../files/write_whole.ts";
import {
  layoutDigest,
  type MalformedSafetensors,
  type ResultRejected,
  writeInitial,
  writeRound,
} from "../learning/mod.ts";
import type { OuterOptions } from "../learning/mod.ts";
import {
  type Checkpoint,
  type CheckpointFailed,
  checkWhole,
  failedAt,
  failedFor,
  incomingPath,
  measureFile,
  newestCheckpoint,
  parametersPath,
  recordedRounds,
  recordPath,
  removeOthers,
  resultPath,
  type RoundDamaged,
  velocityPath,
} from "./checkpoints.ts";
import { writeLayout } from "./layout_file.ts";
import { nextRoundBytes, parametersBytes, trainingBytes } from "./model_space.ts";
import { WeightsRefused } from "./repository_weights.ts";
import { formatRecord, type RoundRecord } from "./round_record.ts";
import { createTensors, openTensors } from "./tensors_on_disk.ts";

/** The files of the model could not be read or written: room may be made, and another try may succeed. */
export type KeepingFailed = CheckpointFailed | FileNotWritten | RoundDamaged;

/** Where a training keeps its model. */
export interface ModelPlace {
  readonly folder: string;
  /** Rounds that are kept. */
  readonly keepRounds: number;
  /** Rounds of the whole training. */
  readonly rounds: number;
}

/**
 * Opens the newest finished round of a training; where there is none, makes round 0 of its weights. Removes what was left half done.
 *
 * Fails where the weights are gone, where the folder holds rounds of other weights, which are another model, and where the disk has no
 * room: a training that has no round yet is refused then, and one that goes on can be opened when there is room for its next round.
 */
export function openModel(
  { folder, keepRounds, rounds }: ModelPlace,
  { weights, run }: { readonly weights: string; readonly run: number },
): Effect.Effect<Checkpoint, WeightsRefused | KeepingFailed, FileSystem | Path> {
  const refuse = (detail: string) => Effect.fail(new WeightsRefused({ path: weights, detail }));
  return Effect.scoped(Effect.gen(function* () {
    yield* Effect.mapError(makeStateDirectory(folder), failedAt(folder));
    const { sha256 } = yield* Effect.mapError(measureFile(weights), unmeasured(weights));
    const newest = yield* newestCheckpoint(folder);
    if (newest !== undefined && newest.record.weights !== sha256) {
      return yield* refuse(
        `${folder} holds round ${newest.record.round} of a training that began with other weights; ` +
          "move that folder away to begin again",
      );
    }
    const [recorded = 0] = newest === undefined ? yield* recordedRounds(folder) : [];
    if (recorded > 0) {
      return yield* refuse(
        `${folder} holds round ${recorded} of this training, whose files are damaged, and no round that is whole; ` +
          "restore them, or move that folder away to begin again at round 0",
      );
    }
    yield* removeOthers(folder, { newest: newest?.record.round ?? -1, keepRounds });
    const initial = yield* Effect.catchTag(
      openTensors(weights),
      "MalformedSafetensors",
      ({ reason }) => refuse(reason),
    );
    yield* writeLayout(folder, initial);
    const layout = layoutDigest(initial.tensors);
    if (newest !== undefined) {
      if (newest.record.round < rounds) yield* checkNextRound(folder, newest.record);
      return { ...newest, layout };
    }
    yield* Effect.catch(
      checkRoom(folder, trainingBytes(parametersBytes(initial.tensors), keepRounds)),
      ({ message }) => refuse(message),
    );
    const parameters = parametersPath(folder, 0);
    const out = yield* createTensors(parameters);
    yield* writeInitial(initial, (bytes) => out.write(bytes)).pipe(
      Effect.catchTag(["MalformedSafetensors", "ResultRejected"], ({ reason }) => refuse(reason)),
    );
    const fit = yield* out.commit;
    const nothing = { slices: null, members: [], samples: 0 };
    const record = { round: 0, run, weights: sha256, parameters: fit, velocity: null, ...nothing };
    yield* writeRecord(folder, record);
    return { record, parameters, velocity: velocityPath(folder, 0), result: resultPath(folder, 0), layout };
  }));
}

/** Weights that are gone come back by no other try. */
function unmeasured(weights: string) {
  return (error: PlatformError): WeightsRefused | CheckpointFailed => {
    const failed = failedAt(weights)(error);
    return error.reason._tag === "NotFound" ? new WeightsRefused({ path: weights, detail: failed.detail }) : failed;
  };
}

/** Checks that the round after one has room. */
export function checkNextRound(
  folder: string,
  record: Pick<RoundRecord, "parameters">,
): Effect.Effect<void, CheckpointFailed> {
  return Effect.mapError(checkRoom(folder, nextRoundBytes(record)), ({ message }) => failedFor(folder, message));
}

/** What the scheduler knows of a round. */
export type RoundFacts = Pick<RoundRecord, "run" | "slices" | "members" | "samples">;

/**
 * Adds the result in `incoming.safetensors` to the model: parameters, velocity, and last the record. The round exists when this
 * succeeds; a failure, or a crash at any moment, leaves the round before as the newest.
 *
 * Fails with `ResultRejected` or `MalformedSafetensors` only where the files of the round before are whole: the result is wrong then.
 */
export function keepRound(
  { folder, keepRounds }: ModelPlace,
  before: Checkpoint,
  { facts, outer }: { readonly facts: RoundFacts; readonly outer: OuterOptions },
): Effect.Effect<Checkpoint, KeepingFailed | MalformedSafetensors | ResultRejected, FileSystem | Path> {
  const round = before.record.round + 1;
  const paths = {
    parameters: parametersPath(folder, round),
    velocity: velocityPath(folder, round),
    result: resultPath(folder, round),
  };
  return Effect.scoped(Effect.gen(function* () {
    const [parameters, velocity] = [yield* createTensors(paths.parameters), yield* createTensors(paths.velocity)];
    const written = yield* Effect.exit(Effect.gen(function* () {
      yield* writeRound({
        parameters: yield* openTensors(before.parameters),
        velocity: before.record.velocity === null ? undefined : yield* openTensors(before.velocity),
        result: yield* openTensors(incomingPath(folder)),
        writeParameters: (bytes) => parameters.write(bytes),
        writeVelocity: (bytes) => velocity.write(bytes),
      }, outer);
    }));
    // Only then: reading both files whole takes as long as the round itself.
    if (Exit.isFailure(written)) yield* checkWhole(before);
    yield* written;
    const fits = { parameters: yield* parameters.commit, velocity: yield* velocity.commit };
    const files = yield* FileSystem;
    yield* Effect.mapError(files.rename(incomingPath(folder), paths.result), failedAt(paths.result));
    const record: RoundRecord = { round, weights: before.record.weights, ...fits, ...facts };
    yield* writeRecord(folder, record);
    yield* removeOthers(folder, { newest: round, keepRounds });
    return { record, ...paths, layout: before.layout };
  }));
}

function writeRecord(folder: string, record: RoundRecord): Effect.Effect<void, FileNotWritten, FileSystem | Path> {
  const path = recordPath(folder, record.round);
  return writeWhole([{ path, content: formatRecord(record), mode: 0o600 }], "replace");
}
