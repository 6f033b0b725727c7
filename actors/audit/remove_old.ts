/**
 * Removes segments of a certain age. Their leaf hashes stay: the checkpoints can still be verified, and the other records be proven.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { statSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { lineBytesMax, readLine } from "./audit_record.ts";
import { leafHash } from "./merkle_tree.ts";
import { LineReader, listSegments, type Segment, segmentFile } from "./segments.ts";

/** Lines between two pauses: 2 ms of the event loop. */
const linesAtOnce = 500;

/** What is removed. */
export interface Removal {
  readonly now: Date;
  /** How long records are kept, in milliseconds. */
  readonly keepMs: number;
  /** Ends the work between two steps. */
  readonly signal?: AbortSignal;
}

/**
 * Removes the segments whose last record is older. The newest segment stays.
 *
 * The age is counted from the last record before the newest segment, or from now where that is earlier: a clock that is wrong once must
 * not remove the history.
 *
 * @returns How many there were. Rejects with an error that names the file.
 */
export async function removeOld(dir: string, { now, keepMs, signal }: Removal): Promise<number> {
  const segments = listSegments(dir);
  const before = segments.at(-2);
  if (before === undefined || before.kind === "leaves") return 0;
  const newest = await inFile(before, () => lastTime(dir, before));
  const instant = new Date(Math.min(+now, Date.parse(newest)) - keepMs).toISOString();
  let removed = 0;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    if (next === undefined || !await inFile(next, () => endsBefore(dir, next, instant))) break;
    if (segment.kind === "leaves") continue;
    await inFile(segment, () => keepLeaves(dir, segment, signal));
    await inFile(segment, () => rm(join(dir, segment.file)));
    removed += 1;
  }
  return removed;
}

/** The system's error of a read has no path. */
async function inFile<A>({ file }: Segment, work: () => A | Promise<A>): Promise<A> {
  try {
    return await work();
  } catch (error) {
    throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Time of a segment's last record. */
function lastTime(dir: string, { file }: Segment): string {
  const path = join(dir, file);
  const reader = new LineReader(path);
  let last = "";
  for (const { start, end } of reader.lines(Math.max(0, statSync(path).size - lineBytesMax - 1))) {
    last = reader.buffer.toString("utf8", start, end);
  }
  const record = readLine(last);
  if (record === undefined) throw new Error("its last line is no record");
  return record.ts;
}

/** Whether the segment before this one ends before an instant: this one's first record was written right after it. */
function endsBefore(dir: string, { kind, file }: Segment, instant: string): boolean {
  if (kind === "leaves") return true;
  const reader = new LineReader(join(dir, file));
  for (const { start, end } of reader.lines()) {
    const record = readLine(reader.buffer.toString("utf8", start, end));
    return record !== undefined && record.ts < instant;
  }
  return false;
}

async function keepLeaves(dir: string, { file, first }: Segment, signal: AbortSignal | undefined): Promise<void> {
  const path = join(dir, segmentFile(first, "leaves"));
  const text = await readFile(join(dir, file));
  const leaves: Buffer[] = [];
  for (let start = 0, end = text.indexOf(10); end !== -1; start = end + 1, end = text.indexOf(10, start)) {
    leaves.push(leafHash(text.subarray(start, end)));
    if (leaves.length % linesAtOnce === 0) await setImmediate();
  }
  const aside = await open(`${path}.tmp`, "w", 0o600);
  try {
    await aside.writeFile(Buffer.concat(leaves));
    await aside.datasync();
  } finally {
    await aside.close();
  }
  signal?.throwIfAborted(); // another process may have the log then
  await rename(`${path}.tmp`, path);
}
