/**
 * Limits that do not end a job by themselves: its run time, the size of a directory that is no file system of its own, and the
 * memory of its control group, where the kernel ends a single process and another one may wait for it forever. The directory is
 * measured once a second, so a fast writer exceeds the limit before it is noticed.
 *
 * @module
 */
import { Effect } from "effect";
import type { WorkDirectory } from "../../files/contained_files.ts";
import type { AssignedCell } from "./assign.ts";
import type { CellConfig } from "./bounds.ts";
import { isGrouped } from "./cell.ts";
import { readReached } from "./cgroup.ts";
import type { Limit } from "./exceeded.ts";

/** Pause between two measurements. */
const measureMs = 1_000;
/** Names that are read before other tasks run. */
const namesAtOnce = 500;
/** Longest timer of the runtimes is 2^31 - 1 ms: longer times are waited for in days. */
const daySeconds = 86_400;

/** Waits until the job exceeds a limit. */
export function watchLimits(cell: AssignedCell, directory: WorkDirectory): Effect.Effect<Limit> {
  const { config, disk } = cell;
  const watches: Effect.Effect<Limit>[] = [Effect.as(sleepSeconds(config.wallSeconds), "wall")];
  if (disk === undefined) watches.push(watchDisk(directory, config));
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

function watchDisk(directory: WorkDirectory, config: CellConfig): Effect.Effect<Limit> {
  return Effect.gen(function* () {
    for (;;) {
      yield* Effect.sleep(measureMs);
      const { bytes, inodes } = yield* measure(directory, config);
      if (bytes > config.diskBytes) return "disk";
      if (inodes > config.inodesMax) return "inodes";
    }
  });
}

/** Counts until a limit is exceeded. Files that vanish or cannot be read count as empty. */
function measure(directory: WorkDirectory, { diskBytes, inodesMax }: CellConfig) {
  return Effect.gen(function* () {
    let bytes = 0, inodes = 0;
    const queue: (string | undefined)[] = [undefined];
    for (let at = queue.pop(), first = true; first || at !== undefined; at = queue.pop(), first = false) {
      for (const name of yield* Effect.orElseSucceed(directory.list(at), (): readonly string[] => [])) {
        const path = at === undefined ? name : `${at}/${name}`;
        const status = yield* Effect.orElseSucceed(directory.status(path), () => undefined);
        if (status?.type === "directory") queue.push(path);
        bytes += status?.sizeBytes ?? 0;
        if ((inodes += 1) % namesAtOnce === 0) yield* Effect.yieldNow;
        if (bytes > diskBytes || inodes > inodesMax) return { bytes, inodes };
      }
    }
    return { bytes, inodes };
  });
}
