/**
 * Reads the trainings of a state directory.
 *
 * @module
 */
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import type { LoadError } from "../files/load_error.ts";
import { readWhole } from "../files/read_whole.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { jobPath, type KnownTraining, parseTraining, statePath, trainingIdPattern } from "./training_record.ts";

/** Bytes of one of these files: a thousand members and losses take 300 kB. */
const fileBytesMax = 4 * 1024 * 1024;
/** The trainings are read within this, in milliseconds. */
export const loadMs = 60_000;

/** The folder of all trainings. */
export const trainingsFolder = (stateDir: string): string => join(stateDir, "trainings");
/** Where a training is received: it has its own folder when it is whole. */
export const incomingFolder = (stateDir: string, id: string): string =>
  join(trainingsFolder(stateDir), `.${id}.incoming`);

/** A training whose files are damaged, or cannot be read now. */
export interface BrokenTraining {
  readonly id: string;
  readonly folder: string;
  readonly detail: string;
  /** The files may be whole: another try may read them. */
  readonly isUnreadable: boolean;
}

/** The trainings, and what is wrong with the others. */
export interface LoadedTrainings {
  readonly trainings: readonly KnownTraining[];
  readonly broken: readonly BrokenTraining[];
}

/**
 * Reads all trainings that were submitted, and removes what an earlier process received in part. Those of `[scheduler.job]` have no job of
 * their own and are left alone.
 *
 * @param receiving Names of trainings that this process is receiving, which are left alone too.
 */
export function loadTrainings(
  stateDir: string,
  receiving: ReadonlySet<string> = new Set(),
): Effect.Effect<LoadedTrainings, PlatformError, FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    yield* makeStateDirectory(trainingsFolder(stateDir));
    const names = (yield* files.readDirectory(trainingsFolder(stateDir))).sort();
    const trainings: KnownTraining[] = [];
    const broken: BrokenTraining[] = [];
    for (const id of names) {
      const incoming = /^\.(.*)\.incoming$/.exec(id)?.[1];
      if (receiving.has(incoming ?? id)) continue;
      if (incoming !== undefined) {
        yield* Effect.ignore(files.remove(incomingFolder(stateDir, incoming), { recursive: true }));
      }
      if (!trainingIdPattern.test(id)) continue;
      const read = yield* loadTraining(stateDir, id);
      if (read === undefined) continue;
      if (Result.isSuccess(read)) trainings.push(read.success);
      else broken.push(read.failure);
    }
    return { trainings: trainings.sort((one, other) => one.queuedAt - other.queuedAt), broken };
  });
}

/** Reads one; undefined where nothing was submitted. */
export function loadTraining(
  stateDir: string,
  id: string,
): Effect.Effect<Result.Result<KnownTraining, BrokenTraining> | undefined, never, FileSystem> {
  const folder = trainingFolder(stateDir, id);
  const broken = (detail: string): BrokenTraining => ({ id, folder, detail, isUnreadable: false });
  const unread = ({ message, problem }: LoadError) =>
    Result.fail(
      problem === "unreadable"
        ? { ...broken(`${message} It is read again until it can be.`), isUnreadable: true }
        : broken(message),
    );
  const read = (path: string) =>
    Effect.result(readWhole({ path, what: "training", bytesMax: fileBytesMax, key: "state_dir" }));
  return Effect.gen(function* () {
    const job = yield* read(jobPath(folder));
    if (Result.isFailure(job)) return job.failure.problem === "missing" ? undefined : unread(job.failure);
    const state = yield* read(statePath(folder));
    if (Result.isFailure(state) && state.failure.problem !== "missing") return unread(state.failure);
    const texts = { job: job.success.text, state: Result.isSuccess(state) ? state.success.text : undefined };
    return Result.mapError(parseTraining(stateDir, id, texts), broken);
  });
}

/** Where the trainings are, and which of them are left alone. */
export interface LoadedInput {
  readonly ports: Ports;
  readonly stateDir: string;
  readonly receiving: ReadonlySet<string> | undefined;
}

/** Sends `effect.done.loaded` with {@linkcode LoadedTrainings}. */
export const loadedActor = fromEffect(
  "loaded",
  ({ stateDir, receiving }: LoadedInput) => loadTrainings(stateDir, receiving),
);
