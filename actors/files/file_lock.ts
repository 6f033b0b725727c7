/**
 * An exclusive lock on a file: other processes, and other holders in this one, cannot take it until it is closed. The kernel ends it with the
 * process, however that ends.
 *
 * Neither runtime can lock a file itself; SQLite can. The lock is a transaction that never ends, in an empty database of its own.
 *
 * @module
 */
import { closeSync, openSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { giveOwner } from "./give_owner.ts";
import { shellWord } from "./shell_word.ts";

/**
 * How long a lock may be taken, in milliseconds. SQLite takes it in steps: where two begin at once and neither waits, each is refused for the
 * step that the other has made (https://sqlite.org/lockingv3.html).
 */
const takeMs = 200;

/** A lock that is held. */
export interface FileLock {
  readonly close: () => void;
}

/**
 * Takes the lock; the file is made, 0600, where it is missing, and belongs to its folder's user. Throws SQLite's error where another one holds it ({@linkcode isLocked}), else one
 * that names the file and what helps.
 */
export function lockFile(path: string): FileLock {
  try {
    return openLock(path);
  } catch (error) {
    if (isLocked(error)) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(`lock ${path} cannot be taken: ${detail}${helpWithLock(path, error)}`, { cause: error });
  }
}

function openLock(path: string): FileLock {
  // Only where it is missing: to close a second descriptor of a locked file would end the lock.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    closeSync(openSync(path, "a", 0o600));
    const folder = statusOf(dirname(path));
    if (folder !== undefined) giveOwner(path, folder);
  }
  const lock = new DatabaseSync(path, { timeout: takeMs });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    throw error;
  }
}

/**
 * The end of a sentence about a lock that cannot be opened: the command that helps, where another user's file or folder is the reason. A lock
 * file stays when its program ends: after a run as root it keeps out the node's user, as other files of that run do.
 */
export function helpWithLock(path: string, error: unknown): string {
  const folder = dirname(path);
  const [owner, own] = [statusOf(path)?.uid, statusOf(folder)?.uid];
  if (own === undefined) return "";
  if (owner !== undefined && owner !== own) return `: another user made it: sudo chown -R ${own} ${shellWord(folder)}`;
  const { code } = error as { readonly code?: unknown };
  return code === "EACCES" ? `: give its folder to this program's user: sudo chown -R USER ${shellWord(folder)}` : "";
}

function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** Whether an error of SQLite says that another one holds the lock. Deno gives no code. */
export function isLocked(error: unknown): boolean {
  return error instanceof Error && error.message === "database is locked";
}
