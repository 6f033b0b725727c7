/**
 * A work directory that is a file system of its own, in memory: full when it is full, however fast a job writes.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { Effect } from "effect";
import { runTool, type ToolFailed } from "./tool.ts";

/** How large it may become, and whose it is. */
export interface DiskSize {
  readonly bytes: number;
  readonly inodes: number;
  readonly user: number;
}

/** Mounts it at `path`, a directory. Only root can. */
export function mountDisk(path: string, { bytes, inodes, user }: DiskSize): Effect.Effect<void, ToolFailed> {
  const options = `size=${bytes},nr_inodes=${inodes},mode=700,uid=${user},gid=${user},nosuid,nodev`;
  return Effect.asVoid(runTool("mount", ["-t", "tmpfs", "-o", options, "hypha-job", path]));
}

/** Takes it away again, whatever still holds a file in it; nothing mounted there is fine. */
export function unmountDisk(path: string): Effect.Effect<void, ToolFailed> {
  return Effect.suspend(() => isMounted(path) ? Effect.asVoid(runTool("umount", ["--lazy", path])) : Effect.void);
}

/** Whether something is mounted at exactly `path` (proc(5): octal escapes stand for spaces in its fifth field). */
function isMounted(path: string): boolean {
  let table = "";
  try {
    table = readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return false;
  }
  return table.split("\n").some((line) =>
    line.split(" ")[4]?.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))) === path
  );
}
