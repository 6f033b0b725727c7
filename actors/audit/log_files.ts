/**
 * Writes chunks of a log to their places: in the background for most records, at once for those that an answer waits for.
 *
 * Each kind opens its file itself, so that both can run at once: the bytes of a place are always the same.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { syncFolderNow } from "../files/sync_folder.ts";
import type { KeptFile } from "./kept_file.ts";
import type { Chunk } from "./log_chain.ts";
import { segmentFile } from "./segments.ts";

const flags = constants.O_WRONLY | constants.O_CREAT;
const mode = 0o600;

const pathOf = (dir: string, segment: number): string => join(dir, segmentFile(segment));
const bytesOf = ({ lines, bytes }: Chunk): Buffer => Buffer.concat(lines as Buffer[], bytes);

/** Writes chunks and syncs them. Rejects with the system's error. */
export async function writeChunks(dir: string, chunks: readonly Chunk[], file: KeptFile): Promise<void> {
  for (const chunk of chunks) {
    await file.write(pathOf(dir, chunk.segment), bytesOf(chunk), chunk.offset);
    if (chunk.offset === 0) syncFolderNow(dir);
  }
}

/** As {@linkcode writeChunks}, before it returns. Throws the system's error. */
export function writeChunksNow(dir: string, chunks: readonly Chunk[]): void {
  for (const chunk of chunks) {
    const file = openSync(pathOf(dir, chunk.segment), flags, mode);
    try {
      const bytes = bytesOf(chunk);
      for (let done = 0; done < bytes.length;) {
        done += writeSync(file, bytes, done, bytes.length - done, chunk.offset + done);
      }
      fdatasyncSync(file);
    } finally {
      closeSync(file);
    }
    if (chunk.offset === 0) syncFolderNow(dir);
  }
}

/** What may have been written of records that were taken back. */
export interface TakenBack {
  /** The segment that the log goes on in. */
  readonly segment: number;
  /** Where the log ends in it. */
  readonly end: number;
  /** The segment that began with them. */
  readonly begun: number | undefined;
}

/** Removes records that were taken back. Throws the system's error. */
export function removeTakenBack(dir: string, { segment, end, begun }: TakenBack): void {
  if (begun !== undefined) rmSync(pathOf(dir, begun), { force: true });
  cutFile(pathOf(dir, segment), end);
  // A folder that is away must not look clean.
  syncFolderNow(dir);
}

/** Cuts a file to a length, where there is one. Throws the system's error. */
export function cutFile(path: string, length: number): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= length) return;
  const file = openSync(path, constants.O_WRONLY);
  try {
    ftruncateSync(file, length);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
