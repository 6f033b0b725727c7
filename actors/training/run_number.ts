/**
 * The run of a scheduler's training: each start takes the next number and syncs it to `state_dir/trainings/ID/run` before the first
 * message to a worker. A worker ends what it still has of lower runs.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Data, Effect, Schedule } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { TrainingRun } from "../../transport/protocols/messages.ts";
import type { DilocoJobConfig } from "../config/config.ts";
import { readWhole } from "../files/read_whole.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { writeWhole } from "../files/write_whole.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";

/** A file system that has not kept the number for so long is reported, in milliseconds. */
const takeRunMs = 10_000;
/** Interval at which a number that could not be kept is tried again, and at which that is reported, in milliseconds. */
const keepAgainMs = 5_000;
const reportAgainMs = 60_000;
/** A run is a u32. */
const runMax = 0xffff_ffff;
const fileBytesMax = 64;

/** A number that was taken, and is kept. */
export interface TakenRun {
  readonly training: TrainingRun;
  /** Whether an earlier run is known to have been there: its leases and jobs may be left at workers. */
  readonly isRestart: boolean;
}

/** A number that could not be kept. */
export class RunNotKept extends Data.TaggedError("RunNotKept")<{ readonly problem: string }> {}

/** Names the training of a configured job: the same data set, model and executors are the same training, whatever its rounds are. */
export function trainingIdOf({ dataset, model, executors }: DilocoJobConfig): string {
  const named = JSON.stringify([
    dataset,
    ...("weights" in model ? ["weights", model.weights] : [model.repository, model.revision ?? null]),
    executors.train,
    executors.aggregate,
  ]);
  return `t-${createHash("sha256").update(named).digest("hex").slice(0, 8)}`;
}

/** Seconds since the epoch as a run: each second's is higher than those before it, remembered or not. */
const secondsOf = (now: number): number => Math.min(runMax, Math.max(1, Math.floor(now / 1_000)));

/** The run of a scheduler that remembers none: it has no state directory. */
export const unrememberedRun = secondsOf;

/** Takes the next run of a training: above the one that is remembered, and never below the time. */
export function takeRun(
  stateDir: string,
  id: string,
  now: number,
): Effect.Effect<TakenRun, RunNotKept, FileSystem | Path> {
  return Effect.gen(function* () {
    const folder = join(stateDir, "trainings", id);
    const path = join(folder, "run");
    const read = yield* Effect.result(
      readWhole({ path, what: "run number", bytesMax: fileBytesMax, key: "state_dir" }),
    );
    const isMissing = read._tag === "Failure" && read.failure.problem === "missing";
    const before = read._tag === "Success" ? numberOf(read.success.text) : 0;
    const run = Math.max(before + 1, secondsOf(now));
    yield* Effect.mapError(
      Effect.andThen(
        makeStateDirectory(folder),
        writeWhole([{ path, content: `${run}\n`, mode: 0o600 }], "replace"),
      ),
      ({ message }) => new RunNotKept({ problem: message }),
    );
    return { training: { id, run }, isRestart: !isMissing };
  });
}

/** 0 where the text is no run that another can follow. */
function numberOf(text: string): number {
  const number = /^[0-9]{1,10}\n?$/.test(text) ? Number(text) : 0;
  return number < runMax ? number : 0;
}

/** Input of {@linkcode takeRunActor}. */
export interface TakeRunInput {
  readonly ports: Ports;
  readonly stateDir: string;
  readonly id: string;
}

/**
 * Takes the next run as soon as its number can be kept. One that began before could begin again after a loss of power, and workers
 * would take the messages of both for one run's.
 */
function takeRunOnceKept({ ports, stateDir, id }: TakeRunInput): Effect.Effect<TakenRun, never, FileSystem | Path> {
  let reportedAt = Number.NEGATIVE_INFINITY;
  const report = (problem: string) =>
    Effect.sync(() => {
      const now = monotonicNow(ports);
      if (now - reportedAt < reportAgainMs) return;
      reportedAt = now;
      const message = `Training ${id} does not begin: the number of its run cannot be kept: ${problem}. ` +
        "Make room in state_dir, or let the scheduler write there: it begins by itself then";
      ports.report({ level: "error", event: "run.unkept", message, fields: { training: id } });
    });
  const take = Effect.suspend(() => takeRun(stateDir, id, ports.now()));
  const slow = Effect.andThen(
    Effect.delay(report(`the file system has not answered for ${takeRunMs / 1_000} s`), takeRunMs),
    Effect.never,
  );
  const taken = Effect.tapError(Effect.raceFirst(take, slow), ({ problem }) => report(problem));
  return Effect.orDie(Effect.retry(taken, Schedule.spaced(keepAgainMs)));
}

/** Sends `effect.done.run` with a {@linkcode TakenRun}. */
export const takeRunActor = fromEffect("run", takeRunOnceKept);
