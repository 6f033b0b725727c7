/**
 * A work directory that is a file system of its own, in memory: a hard limit, independent of how fast a job writes.
 *
 * @module
 */
import { readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Effect } from "effect";
import { runTool, type ToolFailed } from "./tool.ts";

/** Its size limit and its owner. */
export interface DiskSize {
  readonly bytes: number;
  readonly inodes: number;
  readonly user: number;
}

/** The source that the table of mounts names for it. */
const diskName = "hypha-job";

/** Mounts it at `path`, a directory. Only root can. */
export function mountDisk(path: string, { bytes, inodes, user }: DiskSize): Effect.Effect<void, ToolFailed> {
  const options = `size=${bytes},nr_inodes=${inodes},mode=700,uid=${user},gid=${user},nosuid,nodev`;
  return Effect.asVoid(runTool("mount", ["-t", "tmpfs", "-o", options, diskName, path]));
}

/** Unmounts it, if it is mounted, even while a process has a file open in it. */
export function unmountDisk(path: string): Effect.Effect<void, ToolFailed> {
  return Effect.suspend(() => isMounted(path) ? Effect.asVoid(runTool("umount", ["--lazy", path])) : Effect.void);
}

/** Whether a disk of a job is mounted at `path`. */
export function isJobDisk(path: string): boolean {
  return mountsAt(path).some(({ source }) => source === diskName);
}

function isMounted(path: string): boolean {
  return mountsAt(path).length > 0;
}

/**
 * What is mounted at exactly `path` (proc(5): octal escapes stand for spaces in its fifth field; the source follows the dash). The
 * table has real paths. A link at `path` itself is not followed: another user may have created it.
 */
function mountsAt(path: string): readonly { readonly source: string | undefined }[] {
  let table = "", real = path;
  try {
    table = readFileSync("/proc/self/mountinfo", "utf8");
    real = join(realpathSync(dirname(path)), basename(path));
  } catch {
    return [];
  }
  return table.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const at = fields[4]?.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    return at === real ? [{ source: fields[fields.indexOf("-") + 2] }] : [];
  });
}
