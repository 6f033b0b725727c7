/**
 * The record of a work directory's owner: a file next to the directory (`hypha-<uuid>.owner`), which the job cannot reach
 * through the bridge. After a worker was killed, the next one reads it to learn which directories to sweep.
 *
 * @module
 */
import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import process from "node:process";
import type { ProcessIdentity } from "./process_identity.ts";

/** The worker that made a directory, and the executor it started there. */
export interface OwnerRecord {
  readonly worker: ProcessIdentity;
  readonly executor?: ProcessIdentity;
}

/** Bytes of an owner file that are read; it has a few hundred. */
const recordBytesMax = 4_096;

/** Path of the record of a work directory. */
export function ownerPath(directory: string): string {
  return `${directory}.owner`;
}

/** Writes the record to another file and renames it: a reader sees a whole record or none. */
export function writeOwner(directory: string, record: OwnerRecord): void {
  const aside = `${ownerPath(directory)}.${process.pid}.tmp`;
  const fd = openSync(aside, "w", 0o600);
  try {
    writeSync(fd, `${JSON.stringify(record)}\n`);
  } finally {
    closeSync(fd);
  }
  renameSync(aside, ownerPath(directory));
}

/** The record of a work directory; `undefined` where it is missing or unreadable. */
export function readOwner(directory: string): OwnerRecord | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(ownerPath(directory), "utf8").slice(0, recordBytesMax));
    const { worker, executor } = record as { worker?: unknown; executor?: unknown };
    if (!isIdentity(worker)) return undefined;
    return isIdentity(executor) ? { worker, executor } : { worker };
  } catch {
    return undefined;
  }
}

/** Removes the record, if there is one. */
export function removeOwner(directory: string): void {
  rmSync(ownerPath(directory), { force: true });
}

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== "object" || value === null) return false;
  const { bootId, pid, startTime } = value as Record<string, unknown>;
  return typeof bootId === "string" && Number.isSafeInteger(pid) && (pid as number) > 1 &&
    typeof startTime === "string";
}
