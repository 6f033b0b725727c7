/**
 * Whether a file or directory is under the control of this process's user alone. Where other users can create files, one with a name of
 * ours may be theirs.
 *
 * @module
 */
import type { Stats } from "node:fs";
import process from "node:process";

/** Whether it belongs to this process's user and no other user can write it. */
export function isOwn({ uid, mode }: Pick<Stats, "uid" | "mode">): boolean {
  return uid === process.getuid?.() && (mode & 0o022) === 0;
}
