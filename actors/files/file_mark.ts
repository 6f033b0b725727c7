/**
 * Whether two processes see the same file at a path: each may have folders of its own there.
 *
 * @module
 */
import { statSync } from "node:fs";

/** Device and inode of a file; undefined where this process does not see it. */
export function fileMark(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
