/**
 * Limits that do not end a job by themselves: its run time, the size of a directory that is no file system of its own, and the
 * memory of its control group, where the kernel ends a single process and another one may wait for it forever. The directory is
 * measured once a second, less often where that takes much processor time, with the files that were removed and that the job, or its worker
 * for it, has open, so a fast writer exceeds the limit before it is noticed.
 * What the job made so that it cannot be measured counts as over the limit.
 *
 * @module
 */
import { lstatSync } from "node:fs";
import process from "node:process";
import { Clock, Effect } from "effect";
import type { WorkDirectory } from "../../files/contained_files.ts";
import type { AssignedCell } from "./assign.ts";
import type { CellConfig } from "./bounds.ts";
import { isGrouped } from "./cell.ts";
import { readReached } from "./cgroup.ts";
import { deletedFiles } from "./deleted_files.ts";
import type { Limit } from "./exceeded.ts";

/** Shortest and longest pause between two measurements, in milliseconds, and how many times the last one's processor time it is. */
const measureMs = 1_000, pauseMsMax = 10_000, pausesPerMeasurement = 10;
/**
 * A measurement takes at most so long, in milliseconds: a job with many processes makes each of its steps wait. The second in a row that
 * takes longer ends the job; a single one may be due to a slow disk.
 */
const measurementMsMax = 30_000;
/** Other tasks run when a measurement has run for so long, in milliseconds. */
const pieceMs = 5;
/** Stands in listings for bytes that are not UTF-8. Such a name cannot be opened, and may be listed as that of another file. */
const replacementCharacter = "\u{fffd}";
/** Longest timer of the runtimes is 2^31 - 1 ms: longer times are waited for in days. */
const daySeconds = 86_400;

/**
 * Waits until the job exceeds a limit.
 *
 * @param pid The job's first process.
 */
export function watchLimits(cell: AssignedCell, directory: WorkDirectory, pid: number): Effect.Effect<Limit> {
  const { config, disk } = cell;
  const watches: Effect.Effect<Limit>[] = [Effect.as(sleepSeconds(config.wallSeconds), "wall")];
  if (disk === undefined) watches.push(watchDisk(directory, config, pid));
  if (isGrouped(cell.cell, "memory")) watches.push(watchMemory(cell));
  return Effect.raceAllFirst(watches);
}

function sleepSeconds(seconds: number): Effect.Effect<void> {
  return Effect.gen(function* () {
    for (let left = seconds; left > 0; left -= daySeconds) yield* Effect.sleep(Math.min(left, daySeconds) * 1_000);
  });
}

function watchMemory({ cgroupProcs }: AssignedCell): Effect.Effect<Limit> {
  return Effect.gen(function* () {
    do yield* Effect.sleep(measureMs); while (readReached(cgroupProcs).memory === 0);
    return "memory" as const;
  });
}

function watchDisk(directory: WorkDirectory, config: CellConfig, pid: number): Effect.Effect<Limit> {
  return Effect.gen(function* () {
    const device = yield* Effect.sync(() => deviceOf(directory.path));
    if (device === undefined) return "unmeasured";
    for (let pauseMs = measureMs, wasLate = false;;) {
      yield* Effect.sleep(pauseMs);
      const { limit, isLate, usedMs } = yield* inPieces(() => measure(directory, config, { pid, device }));
      if (limit !== undefined) return limit;
      if (isLate && wasLate) return "unmeasured";
      wasLate = isLate;
      pauseMs = Math.min(Math.max(measureMs, pausesPerMeasurement * usedMs), pauseMsMax);
    }
  });
}

function deviceOf(path: string): number | undefined {
  try {
    return lstatSync(path).dev;
  } catch {
    return undefined;
  }
}

/** A measurement that ended. */
interface Measured {
  readonly limit: Limit | undefined;
  /** It took too long and was given up. */
  readonly isLate: boolean;
  /** Processor time of its thread, in milliseconds: the time in which it waits for a processor or a directory is the job's to choose. */
  readonly usedMs: number;
}

/** Runs a measurement; other tasks run between its pieces. */
function inPieces(begin: () => Generator<unknown, Limit | undefined>): Effect.Effect<Measured> {
  const runPieces = (steps: Generator<unknown, Limit | undefined>) =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock;
      for (let tookMs = 0, usedMs = 0;;) {
        const began = clock.monotonicTimeNanosUnsafe(), usedBefore = process.threadCpuUsage();
        const lastsMs = () => Number(clock.monotonicTimeNanosUnsafe() - began) / 1e6;
        let step = steps.next();
        while (step.done !== true && lastsMs() < pieceMs) step = steps.next();
        tookMs += lastsMs();
        const { user, system } = process.threadCpuUsage(usedBefore);
        usedMs += (user + system) / 1_000;
        if (step.done === true) return { limit: step.value, isLate: false, usedMs };
        if (tookMs > measurementMsMax) return { limit: undefined, isLate: true, usedMs };
        yield* Effect.yieldNow;
      }
    });
  return Effect.acquireUseRelease(
    Effect.sync(begin),
    runPieces,
    (steps) => Effect.sync(() => void steps.return(undefined)),
  );
}

/** Counts until a limit is exceeded; yields after each file. What the job made so that it cannot be measured exceeds the limit. */
function* measure(
  directory: WorkDirectory,
  { diskBytes, inodesMax }: CellConfig,
  { pid, device }: { readonly pid: number; readonly device: number },
): Generator<unknown, Limit | undefined> {
  let bytes = 0, inodes = 0;
  const count = (sizeBytes: number): Limit | undefined => {
    bytes += sizeBytes;
    inodes += 1;
    return bytes > diskBytes ? "disk" : inodes > inodesMax ? "inodes" : undefined;
  };
  let unnamed: ReadonlyMap<number, number>;
  try {
    // Before the walk, which counts what has a name: else a file that is removed meanwhile counts twice.
    unnamed = directory.unnamed();
    for (const { name, sizeBytes } of directory.walk()) {
      const limit = name.includes(replacementCharacter) ? "unmeasured" : count(sizeBytes);
      if (limit !== undefined) return limit;
      yield;
    }
  } catch {
    return "unmeasured";
  }
  const deleted = yield* deletedFiles(pid, device);
  if (deleted === undefined) return "unmeasured";
  // The job may have open what its worker has open for it.
  for (const sizeBytes of new Map([...unnamed, ...deleted]).values()) {
    const limit = count(sizeBytes);
    if (limit !== undefined) return limit;
  }
  return undefined;
}
