/**
 * Who a work directory belongs to, written beside it (`hypha-<uuid>.owner`), where the job cannot reach it through the
 * bridge. After a worker was killed the next one reads from it what may be swept.
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

/** Bytes of an owner file that are read: it is a few hundred long. */
const recordBytesMax = 4_096;

/** Path of the record of a work directory. */
export function ownerPath(directory: string): string {
  return `${directory}.owner`;
}

/** Writes the record aside and renames: a reader sees a whole one or none. */
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

/** The record of a work directory; `undefined` when there is none that can be read. */
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

/** Removes the record; none is fine. */
export function removeOwner(directory: string): void {
  rmSync(ownerPath(directory), { force: true });
}

function isIdentity(value: unknown): value is ProcessIdentity {
  if (typeof value !== "object" || value === null) return false;
  const { bootId, pid, startTime } = value as Record<string, unknown>;
  return typeof bootId === "string" && Number.isSafeInteger(pid) && (pid as number) > 1 &&
    typeof startTime === "string";
}
