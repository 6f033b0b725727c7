/**
 * The record of a work directory's owner: a file next to the directory (`hypha-<uuid>.owner`), which the job cannot reach
 * through the bridge. After a worker was killed, the next one reads it to learn which directories to sweep.
 *
 * @module
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import process from "node:process";
import { isOwn } from "../files/own_status.ts";
import type { ProcessIdentity } from "./process_identity.ts";

/** The worker that made a directory, and the executor it started there. */
export interface OwnerRecord {
  readonly worker: ProcessIdentity;
  readonly executor?: ProcessIdentity;
}

/** Bytes of the largest owner file; it has a few hundred. */
const recordBytesMax = 4_096;

/** Path of the record of a work directory. */
export function ownerPath(directory: string): string {
  return `${directory}.owner`;
}

/**
 * Writes the record to another file, syncs it and renames it: a reader sees a whole record or none, after a power cut too. In the
 * thread pool, because a disk that is busy takes seconds to sync.
 */
export async function writeOwner(directory: string, worker: ProcessIdentity): Promise<void> {
  const aside = `${ownerPath(directory)}.${process.pid}.tmp`;
  try {
    await writeFile(aside, `${JSON.stringify({ worker })}\n`, { mode: 0o600, flush: true });
    await rename(aside, ownerPath(directory));
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** Appends the executor to the record. Not synced: no executor outlives a power cut, and the worker stays readable without it. */
export function appendExecutor(directory: string, executor: ProcessIdentity): void {
  const fd = openSync(ownerPath(directory), constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    writeFileSync(fd, `${JSON.stringify({ executor })}\n`);
  } finally {
    closeSync(fd);
  }
}

/**
 * The record of a work directory; `damaged` where only a part of one is there, as older releases left it after a power cut;
 * `undefined` where it is missing, cannot be read, or was not written by a worker of this user.
 */
export function readOwner(directory: string): OwnerRecord | "damaged" | undefined {
  const text = readRecord(ownerPath(directory));
  if (text === undefined) return undefined;
  const [first = "", second = ""] = text.split("\n");
  const record = parse(first);
  if (record === undefined) return "damaged";
  const { worker, executor = parse(second)?.executor } = record;
  if (!isIdentity(worker)) return undefined;
  return isIdentity(executor) ? { worker, executor } : { worker };
}

/** A line of the record. Older releases wrote one line with both. */
function parse(line: string): { readonly worker?: unknown; readonly executor?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return undefined;
  }
}

/**
 * The text of a regular file that is no longer than a record. Only one that this user made, with one name: in a `work_dir` that others
 * can write, a record may name any process.
 */
function readRecord(path: string): string | undefined {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number | undefined;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const stats = fstatSync(fd);
    const isRecord = stats.isFile() && stats.size <= recordBytesMax && isOwn(stats) && stats.nlink === 1;
    return isRecord ? readFileSync(fd, "utf8") : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
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
