/**
 * Limits that do not end a job by themselves: its run time, the size of a directory that is no file system of its own, and the
 * memory of its control group, where the kernel ends a single process and another one may wait for it forever. The directory is
 * measured once a second, with the files that were removed and are open, so a fast writer exceeds the limit before it is noticed.
 * What the job made so that it cannot be measured counts as over the limit.
 *
 * @module
 */
import { lstatSync } from "node:fs";
import { Effect } from "effect";
import type { WorkDirectory } from "../../files/contained_files.ts";
import type { PathError } from "../../files/path_refused.ts";
import type { AssignedCell } from "./assign.ts";
import type { CellConfig } from "./bounds.ts";
import { isGrouped } from "./cell.ts";
import { readReached } from "./cgroup.ts";
import { deletedFiles } from "./deleted_files.ts";
import type { Limit } from "./exceeded.ts";

/** Pause between two measurements. */
const measureMs = 1_000;
/** Names that are read before other tasks run. */
const namesAtOnce = 500;
/** Stands in listings for bytes that are not UTF-8. Such a name cannot be opened, and may be listed as that of another file. */
const replacementCharacter = "\u{fffd}";
/** Failures that only the job's own names and modes cause. */
const unmeasured: ReadonlySet<string> = new Set(["too-deep", "too-long", "EACCES"]);
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
  const measuring = Effect.gen(function* () {
    const device = yield* Effect.try({
      try: () => lstatSync(directory.path).dev,
      catch: (): Limit => "unmeasured",
    });
    for (;;) {
      yield* Effect.sleep(measureMs);
      yield* measure(directory, config, { pid, device });
    }
  });
  return Effect.flip(measuring);
}

/** Counts until a limit is exceeded, and fails then. */
function measure(
  directory: WorkDirectory,
  { diskBytes, inodesMax }: CellConfig,
  { pid, device }: { readonly pid: number; readonly device: number },
): Effect.Effect<void, Limit> {
  let bytes = 0, inodes = 0;
  const count = (sizeBytes: number): Effect.Effect<void, Limit> => {
    bytes += sizeBytes;
    inodes += 1;
    if (bytes > diskBytes) return Effect.fail("disk");
    if (inodes > inodesMax) return Effect.fail("inodes");
    return inodes % namesAtOnce === 0 ? Effect.yieldNow : Effect.void;
  };
  return Effect.gen(function* () {
    const queue: (string | undefined)[] = [undefined];
    for (let at = queue.pop(), first = true; first || at !== undefined; at = queue.pop(), first = false) {
      for (const name of yield* orElse(directory.list(at), [])) {
        if (name.includes(replacementCharacter)) return yield* Effect.fail<Limit>("unmeasured");
        const path = at === undefined ? name : `${at}/${name}`;
        const status = yield* orElse(directory.status(path), undefined);
        if (status?.type === "directory") queue.push(path);
        yield* count(status?.sizeBytes ?? 0);
      }
    }
    const deleted = yield* deletedFiles(pid, device);
    if (deleted === undefined) return yield* Effect.fail<Limit>("unmeasured");
    for (const sizeBytes of deleted) yield* count(sizeBytes);
  });
}

/** What vanishes while it is measured counts as `vanished`; what the job made so that it cannot be measured exceeds the limit. */
function orElse<A, B>(look: Effect.Effect<A, PathError>, vanished: B): Effect.Effect<A | B, Limit> {
  return Effect.catch(
    look,
    ({ code }) => unmeasured.has(code) ? Effect.fail<Limit>("unmeasured") : Effect.succeed(vanished),
  );
}
