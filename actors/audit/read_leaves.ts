/**
 * Reads the leaf hashes of a log's records from its files, in slices, so that a node with a large log goes on answering.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { hashBytes } from "./merkle_tree.ts";
import { LineReader, listSegments, type Segment } from "./segments.ts";

/** Where a record lies. */
export interface LeafPlace {
  readonly seq: number;
  /** `seq` of the first record of its segment. */
  readonly segment: number;
  /** Where its line begins in the segment's file. */
  readonly offset: number;
}

/** The first record of a log. */
export const firstPlace: LeafPlace = { seq: 0, segment: 0, offset: 0 };
/** Lines, or hashes, between two pauses: 1 ms of the event loop. */
const linesAtOnce = 500;

/**
 * Reads the hashes of `count` records.
 *
 * @param take Called with each hash and its record's place.
 * @returns The place behind the last of them. Rejects when a file cannot be read, or has fewer records.
 */
export async function readLeaves(
  dir: string,
  { from, count }: { readonly from: LeafPlace; readonly count: number },
  take: (leaf: Buffer, place: LeafPlace) => void,
): Promise<LeafPlace> {
  let place = from;
  const end = from.seq + count;
  while (place.seq < end) {
    const segments = listSegments(dir);
    const index = segments.findLastIndex(({ first }) => first <= place.seq);
    const segment = segments[index];
    if (segment === undefined) throw new Error(`record ${place.seq} is in no file`);
    const before = place.seq;
    if (segment.first !== place.segment) place = { seq: place.seq, segment: segment.first, offset: 0 };
    const until = Math.min(end, segments[index + 1]?.first ?? end);
    place = segment.kind === "leaves"
      ? await takeHashes(dir, segment, { place, until, take })
      : await takeLines(dir, segment, { place, until, take });
    if (place.seq === before) throw new Error(`${segment.file} ends before record ${place.seq}`);
  }
  return place;
}

interface Reading {
  readonly place: LeafPlace;
  readonly until: number;
  readonly take: (leaf: Buffer, place: LeafPlace) => void;
}

async function takeHashes(dir: string, { file, first }: Segment, { place, until, take }: Reading): Promise<LeafPlace> {
  const opened = openSync(join(dir, file), "r");
  let { seq } = place;
  try {
    while (seq < until) {
      const bytes = Buffer.alloc(Math.min(until - seq, linesAtOnce) * hashBytes);
      const read = readSync(opened, bytes, 0, bytes.length, (seq - first) * hashBytes);
      for (let start = 0; start + hashBytes <= read; start += hashBytes, seq += 1) {
        take(bytes.subarray(start, start + hashBytes), { seq, segment: first, offset: 0 });
      }
      if (read < bytes.length) break;
      await setImmediate();
    }
  } finally {
    closeSync(opened);
  }
  return { seq, segment: first, offset: 0 };
}

async function takeLines(dir: string, { file, first }: Segment, { place, until, take }: Reading): Promise<LeafPlace> {
  const reader = new LineReader(join(dir, file));
  const { buffer } = reader;
  let { seq, offset } = place;
  if (offset === 0 && seq !== first) throw new Error(`the place of record ${seq} in ${file} is not known`);
  for (const line of reader.lines(offset)) {
    if (line.kind !== "whole") break;
    buffer[line.start - 1] = 0; // a leaf's hash begins with a zero byte: it takes the place of the line feed before the line
    take(hash("sha256", buffer.subarray(line.start - 1, line.end), "buffer"), { seq, segment: first, offset });
    offset = line.offset + (line.end - line.start) + 1;
    seq += 1;
    if (seq === until) break;
    if (seq % linesAtOnce === 0) await setImmediate();
  }
  return { seq, segment: first, offset };
}
