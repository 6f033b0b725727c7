/**
 * What killed workers leave.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

/** Unmounts the job directories that killed workers left below a folder: each is a file system. */
export function unmountAll(folder: string): void {
  const table = existsSync("/proc/self/mounts") ? readFileSync("/proc/self/mounts", "utf8") : "";
  for (const line of table.split("\n")) {
    const [, at = ""] = line.split(" ");
    if (at.startsWith(`${folder}/`)) spawnSync("umount", ["--lazy", at], { stdio: "ignore" });
  }
}
