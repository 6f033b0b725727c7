/**
 * An exclusive lock on a file: other processes, and other holders in this one, cannot take it until it is closed. The kernel ends it with the
 * process, however that ends.
 *
 * Neither runtime can lock a file itself; SQLite can. The lock is a transaction that never ends, in an empty database of its own.
 *
 * @module
 */
import { closeSync, openSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

/** A lock that is held. */
export interface FileLock {
  readonly close: () => void;
}

/** Takes the lock; the file is made, 0600, where it is missing. Throws SQLite's error ({@linkcode isLocked}), or the system's. */
export function lockFile(path: string): FileLock {
  // Only where it is missing: to close a second descriptor of a locked file would end the lock.
  if (statSync(path, { throwIfNoEntry: false }) === undefined) closeSync(openSync(path, "a", 0o600));
  const lock = new DatabaseSync(path, { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Whether an error of SQLite says that another one holds the lock. Deno gives no code. */
export function isLocked(error: unknown): boolean {
  return error instanceof Error && error.message === "database is locked";
}
