/**
 * The checkpoints of a log, as its file has them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename } from "node:path";
import {
  type AuditKey,
  type CheckpointProblem,
  noteCharactersMax,
  openCheckpoint,
  type SignedHead,
  type TreeHead,
} from "./checkpoint.ts";
import { AuditFinding, type FindingCode } from "./finding.ts";
import { LineReader } from "./segments.ts";

/** A checkpoint in its file. */
export interface FoundCheckpoint extends SignedHead {
  /** Name of the file. */
  readonly file: string;
  /** The line that it begins with, from 1. */
  readonly line: number;
}

/** Checkpoints, and the bytes of the file that whole ones take. */
export interface FoundCheckpoints {
  readonly checkpoints: readonly FoundCheckpoint[];
  readonly bytes: number;
}

const problems: Readonly<Record<CheckpointProblem, readonly [code: FindingCode, detail: string]>> = {
  malformed: ["checkpoint-malformed", "it is no signed checkpoint"],
  unsigned: ["checkpoint-signature", "the log's key has not signed it"],
  forged: ["checkpoint-signature", "its signature does not verify"],
};

/**
 * Reads checkpoints of a log and verifies their signatures. An incomplete one at the end is passed over.
 *
 * @param order `growing`: each covers more records than the one before, as in the log's own file.
 */
export function readCheckpoints(
  path: string,
  key: AuditKey,
  order: "growing" | "any" = "growing",
): FoundCheckpoints | AuditFinding {
  const file = basename(path);
  const checkpoints: FoundCheckpoint[] = [];
  let bytes = 0;
  try {
    for (const { note, line, end } of notesOf(path)) {
      const head = openCheckpoint(note, key);
      const finding = typeof head === "string"
        ? problems[head]
        : placeProblem(head, key, order === "any" ? undefined : checkpoints.at(-1));
      if (finding !== undefined) return new AuditFinding({ code: finding[0], file, line, detail: finding[1] });
      checkpoints.push({ ...head as TreeHead, file, line, note });
      bytes = end;
    }
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ENOENT" && order === "growing") return { checkpoints, bytes };
    const detail = `it cannot be read (${error instanceof Error ? error.message : String(error)})`;
    return new AuditFinding({ code: "unreadable", file, line: undefined, detail });
  }
  return { checkpoints, bytes };
}

/** A note, the line that it begins with, and where the next one begins. */
interface FoundNote {
  readonly note: string;
  readonly line: number;
  readonly end: number;
}

/** The whole notes of a file. One that is too long is empty, and the last. */
function* notesOf(path: string): Generator<FoundNote> {
  const reader = new LineReader(path);
  let note = "";
  let bodyEnd = 0; // behind the empty line inside the note
  let first = 1;
  let line = 0;
  for (const { start, end, offset, kind } of reader.lines()) {
    if (kind === "torn") return;
    if (kind === "long" || note.length > noteCharactersMax) return yield { note: "", line: first, end: offset };
    line += 1;
    const isEmpty = start === end && note.length > bodyEnd;
    if (isEmpty && bodyEnd > 0) {
      yield { note, line: first, end: offset + 1 };
      note = "";
      bodyEnd = 0;
      first = line + 1;
    } else {
      note += `${reader.buffer.toString("utf8", start, end)}\n`;
      if (isEmpty) bodyEnd = note.length;
    }
  }
}

/** Bytes at the end of the file that the newest checkpoint is found in: two of the longest. */
const tailBytes = 16_384;

/** The newest checkpoint of a log, and the bytes of the file up to its end. */
export interface NewestCheckpoint extends SignedHead {
  readonly bytes: number;
}

/**
 * Reads the last checkpoint of a log's own file and verifies its signature alone. An incomplete one behind it is passed over.
 *
 * @returns Undefined where there is none at the file's end. Throws the system's error.
 */
export function readNewestCheckpoint(path: string, key: AuditKey): NewestCheckpoint | undefined {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return undefined;
  const from = Math.max(0, size - tailBytes);
  const tail = readFrom(path, from, size - from);
  for (let feed = tail.lastIndexOf("\n\n"); feed > 0; feed = tail.lastIndexOf("\n\n", feed - 1)) {
    // A note ends with a line of a signature; the other empty line is in its midst.
    if (!tail.subarray(tail.lastIndexOf("\n", feed - 1) + 1, feed).toString().startsWith("\u2014 ")) continue;
    const inner = tail.lastIndexOf("\n\n", feed - 1);
    const before = inner <= 0 ? -1 : tail.lastIndexOf("\n\n", inner - 1);
    if (before === -1 && from > 0) return undefined;
    const note = tail.subarray(before === -1 ? 0 : before + 2, feed + 1).toString();
    const head = openCheckpoint(note, key);
    return typeof head === "string" || head.origin !== key.name ? undefined : { ...head, note, bytes: from + feed + 2 };
  }
  return undefined;
}

function readFrom(path: string, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const file = openSync(path, "r");
  try {
    for (let done = 0; done < length;) {
      const read = readSync(file, bytes, done, length - done, from + done);
      if (read === 0) return bytes.subarray(0, done);
      done += read;
    }
    return bytes;
  } finally {
    closeSync(file);
  }
}

function placeProblem(
  { origin, size }: TreeHead,
  { name }: AuditKey,
  before: TreeHead | undefined,
): readonly [code: FindingCode, detail: string] | undefined {
  if (origin !== name) return ["checkpoint-malformed", `it is a checkpoint of ${origin}, not of ${name}`];
  if (before === undefined || size > before.size) return undefined;
  return ["checkpoint-order", `it covers ${size} records, the checkpoint before it ${before.size}`];
}
