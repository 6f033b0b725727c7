/**
 * The files of an audit log.
 *
 * ```
 * audit/                          0700
 *   audit-000000000000.jsonl      0600  records, one a line; the number is the first record's `seq`
 *   audit-000000000000.leaves     0600  leaf hashes of a segment that was removed because of its age
 *   audit-000000000000.torn       0600  an incomplete line that a crash left, cut off at the next start
 *   audit.checkpoints             0600  signed notes, each followed by an empty line
 *   audit.edge                    0600  state at the newest checkpoint: a start need not read the log
 *   audit.lock                    0600  locked by the process that has the log open
 *   audit.key, audit.vkey         0600  key that signs the checkpoints (PKCS#8), and its verifier key
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { lineBytesMax } from "./audit_record.ts";

/** A segment of the log: its records, or the leaf hashes that stayed of them. */
export interface Segment {
  readonly kind: "records" | "leaves";
  /** `seq` of its first record. */
  readonly first: number;
  /** Name of the file. */
  readonly file: string;
}

/** Name of a segment's file. */
export function segmentFile(first: number, kind: Segment["kind"] | "torn" = "records"): string {
  return `audit-${String(first).padStart(12, "0")}.${kind === "records" ? "jsonl" : kind}`;
}

/** Path of the checkpoints. */
export const checkpointsPath = (dir: string): string => join(dir, "audit.checkpoints");
/** Path of the state at the newest checkpoint. */
export const edgePath = (dir: string): string => join(dir, "audit.edge");
/** Path of the lock. */
export const lockPath = (dir: string): string => join(dir, "audit.lock");
/** Path of the key. */
export const keyPath = (dir: string): string => join(dir, "audit.key");
/** Path of the verifier key. */
export const verifierKeyPath = (dir: string): string => join(dir, "audit.vkey");

const segmentName = /^audit-(\d{12,16})\.(jsonl|leaves)$/;

/**
 * The segments of a log in their order. Where records and leaf hashes of one are there, a removal was cut short: the records count.
 *
 * @throws when the folder cannot be read.
 */
export function listSegments(dir: string): readonly Segment[] {
  const segments = new Map<number, Segment>();
  for (const file of readdirSync(dir).toSorted()) {
    const [, digits, ending] = segmentName.exec(file) ?? [];
    const first = Number(digits);
    // "jsonl" sorts before "leaves".
    if (digits === undefined || segments.has(first)) continue;
    segments.set(first, { kind: ending === "jsonl" ? "records" : "leaves", first, file });
  }
  return [...segments.values()].toSorted((left, right) => left.first - right.first);
}

/** A line within {@linkcode LineReader.buffer}, without its line feed. The byte before it may be overwritten. */
export interface FoundLine {
  readonly start: number;
  readonly end: number;
  /** Where it begins in the file. */
  readonly offset: number;
  /** `torn`: no line feed ends it; `long`: it has more bytes than a record may have. */
  readonly kind: "whole" | "torn" | "long";
}

const chunkBytes = 1024 * 1024;

/** Reads a file line by line, in one buffer that it uses again. */
export class LineReader {
  /** A spare byte, the rest of a line, a chunk of the file. */
  readonly buffer: Buffer = Buffer.allocUnsafe(1 + lineBytesMax + 1 + chunkBytes);
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** The lines from a place in the file on. After one that is not whole, none comes. */
  *lines(from: number = 0): Generator<FoundLine> {
    const { buffer } = this;
    const file = openSync(this.#path, "r");
    try {
      let position = from; // of the next chunk
      let end = 1; // of what is in the buffer
      let start = 1; // of the line that is being found
      while (true) {
        const read = readSync(file, buffer, end, buffer.length - end, position);
        if (read === 0) break;
        position += read;
        const filled = end + read;
        for (let feed = feedIn(buffer, end, filled); feed !== -1; feed = feedIn(buffer, start, filled)) {
          const kind = feed - start > lineBytesMax ? "long" : "whole";
          yield { start, end: feed, offset: position - (filled - start), kind };
          if (kind === "long") return;
          start = feed + 1;
        }
        const offset = position - (filled - start);
        if (filled - start > lineBytesMax) return yield { start, end: start + lineBytesMax, offset, kind: "long" };
        buffer.copyWithin(1, start, filled);
        end = 1 + filled - start;
        start = 1;
      }
      if (end > start) yield { start, end, offset: position - (end - start), kind: "torn" };
    } finally {
      closeSync(file);
    }
  }
}

function feedIn(buffer: Buffer, from: number, end: number): number {
  const feed = buffer.indexOf(0x0a, from);
  return feed < end ? feed : -1;
}
