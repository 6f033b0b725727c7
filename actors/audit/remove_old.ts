/**
 * Removes segments of a certain age. Their leaf hashes stay: the checkpoints can still be verified, and the other records be proven.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { readLine } from "./audit_record.ts";
import { leafHash } from "./merkle_tree.ts";
import { LineReader, listSegments, type Segment, segmentFile } from "./segments.ts";

/** Lines between two pauses: 2 ms of the event loop. */
const linesAtOnce = 500;

/**
 * Removes the segments whose last record is older. The newest segment stays.
 *
 * @returns How many there were. Rejects with the system's error.
 */
export async function removeOld(dir: string, before: Date): Promise<number> {
  const segments = listSegments(dir);
  let removed = 0;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    if (next === undefined || !endsBefore(dir, next, before.toISOString())) break;
    if (segment.kind === "leaves") continue;
    await keepLeaves(dir, segment);
    await rm(join(dir, segment.file));
    removed += 1;
  }
  return removed;
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

async function keepLeaves(dir: string, { file, first }: Segment): Promise<void> {
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
  await rename(`${path}.tmp`, path);
}
