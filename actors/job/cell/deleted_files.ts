/**
 * Files of a job that no directory lists: removed or never named, but open. Each takes room on the disk until its last descriptor is closed.
 *
 * @module
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

/** Entries of `/proc` that are read in one measurement. */
const entriesMax = 100_000;
/** The kernel adds this to the name of a file that was removed. */
const deletedMark = " (deleted)";

/**
 * The sizes of the regular files without a name that a process or its descendants have open, by inode number; undefined where their
 * descriptors are too many to be read. Processes that ended or may not be read have none. Yields after each entry of `/proc`.
 *
 * @param device The file system whose files count.
 */
export function* deletedFiles(
  pid: number,
  device: number,
): Generator<void, ReadonlyMap<number, number> | undefined> {
  const sizes = new Map<number, number>();
  const processes = new Set([pid]);
  let entries = 0;
  for (const each of processes) {
    for (const name of namesIn(`/proc/${each}/fd`)) {
      const file = deletedFile(`/proc/${each}/fd/${name}`, device);
      if (file !== undefined) sizes.set(file.ino, file.size);
      if ((entries += 1) > entriesMax) return undefined;
      yield;
    }
    for (const thread of namesIn(`/proc/${each}/task`)) {
      for (const child of childrenOf(`/proc/${each}/task/${thread}/children`)) processes.add(child);
      if ((entries += 1) > entriesMax) return undefined;
      yield;
    }
  }
  return sizes;
}

/** Examines a file only if its link says that it was removed: any other may be on a file system that does not respond. */
function deletedFile(path: string, device: number): { readonly ino: number; readonly size: number } | undefined {
  try {
    if (!readlinkSync(path).endsWith(deletedMark)) return undefined;
    const stats = statSync(path);
    return stats.isFile() && stats.nlink === 0 && stats.dev === device ? stats : undefined;
  } catch {
    return undefined; // It was closed meanwhile.
  }
}

function childrenOf(path: string): readonly number[] {
  try {
    return readFileSync(path, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function namesIn(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
