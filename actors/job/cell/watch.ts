/**
 * Limits that the system does not enforce: the run time of a job, and the size of a directory that is no file system of its own.
 * The directory is measured once a second, so a fast writer exceeds the limit before it is noticed.
 *
 * @module
 */
import { Effect } from "effect";
import type { CellConfig } from "../../config/cell_config.ts";
import type { WorkDirectory } from "../../files/contained_files.ts";
import type { AssignedCell } from "./assign.ts";

/** Pause between two measurements. */
const measureMs = 1_000;
/** Names that are read before other tasks run. */
const namesAtOnce = 500;

/** Waits until the job exceeds a limit. @returns The limit. */
export function watchLimits(cell: AssignedCell, directory: WorkDirectory): Effect.Effect<string> {
  const { config, disk } = cell;
  const late = Effect.as(Effect.sleep(config.wallSeconds * 1_000), `it ran longer than ${config.wallSeconds} s`);
  return disk !== undefined ? late : Effect.raceFirst(late, watchDisk(directory, config));
}

function watchDisk(directory: WorkDirectory, config: CellConfig): Effect.Effect<string> {
  return Effect.gen(function* () {
    for (;;) {
      yield* Effect.sleep(measureMs);
      const { bytes, inodes } = yield* measure(directory, config);
      if (bytes > config.diskBytes) return `its directory is over ${config.diskBytes} bytes`;
      if (inodes > config.inodesMax) return `its directory has more than ${config.inodesMax} files`;
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
