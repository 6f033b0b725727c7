/**
 * The run of a scheduler's training: each start takes the next number and syncs it to `state_dir/trainings/ID/run` before the first
 * message to a worker. A worker ends what it still has of lower runs.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { TrainingRun } from "../../transport/protocols/messages.ts";
import type { DilocoJobConfig } from "../config/config.ts";
import { readWhole } from "../files/read_whole.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { writeWhole } from "../files/write_whole.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";

/** Taking the run's number may take this long, in milliseconds. */
export const takeRunMs = 10_000;
/** A run that cannot be kept begins this late at most, in milliseconds: a remembered number may be of a clock that was ahead. */
const unkeptWaitMaxMs = 5_000;
/** A run is a u32. */
const runMax = 0xffff_ffff;
const fileBytesMax = 64;

/** A number that was taken, and why it will not be remembered where that is so. */
export interface TakenRun {
  readonly training: TrainingRun;
  /** Whether an earlier run is known to have been there: its leases and jobs may be left at workers. */
  readonly isRestart: boolean;
  readonly problem: string | undefined;
}

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

/** The run where the file system is too slow: as if it had begun a second ago, so that the next start's is higher. */
export const unrememberedRun = (now: number): number => secondsOf(now - 1_000);

/**
 * Takes the next run of a training: above the one that is remembered, and never below the time. A run that cannot be kept is used all
 * the same: it is named by the next second, and begins when that is over, so that the run of every other start differs.
 */
export function takeRun(
  stateDir: string,
  id: string,
  now: number,
): Effect.Effect<TakenRun, never, FileSystem | Path> {
  return Effect.gen(function* () {
    const folder = join(stateDir, "trainings", id);
    const path = join(folder, "run");
    const read = yield* Effect.result(
      readWhole({ path, what: "run number", bytesMax: fileBytesMax, key: "state_dir" }),
    );
    const isMissing = read._tag === "Failure" && read.failure.problem === "missing";
    const before = read._tag === "Success" ? numberOf(read.success.text) : 0;
    const run = Math.max(before + 1, secondsOf(now));
    const written = yield* Effect.result(
      Effect.andThen(
        makeStateDirectory(folder),
        writeWhole([{ path, content: `${run}\n`, mode: 0o600 }], "replace"),
      ),
    );
    if (written._tag === "Success") return { training: { id, run }, isRestart: !isMissing, problem: undefined };
    const unkept = Math.min(runMax, run + 1);
    yield* Effect.sleep(Math.min(unkeptWaitMaxMs, (unkept + 1) * 1_000 - now));
    return { training: { id, run: unkept }, isRestart: !isMissing, problem: written.failure.message };
  });
}

/** 0 where the text is no run that another can follow. */
function numberOf(text: string): number {
  const number = /^[0-9]{1,10}\n?$/.test(text) ? Number(text) : 0;
  return number < runMax ? number : 0;
}

/** Sends `effect.done.run` with a {@linkcode TakenRun}. */
export const takeRunActor = fromEffect(
  "run",
  ({ ports, stateDir, id }: { readonly ports: Ports; readonly stateDir: string; readonly id: string }) =>
    takeRun(stateDir, id, ports.now()),
);
