/**
 * The thread that reads a large file of revocation lists, hashes one, and copies lists out of one: the event loop of the node
 * never waits for it.
 *
 * What it finds goes back as plain data; the tables of entries are in shared memory and are not copied.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { parentPort } from "node:worker_threads";
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { CrlReader, type LocatedCrl } from "../../pki/crl_reader.ts";
import { DerCrlsError } from "../../pki/crl_splitter.ts";
import { PemError } from "../../pki/pem.ts";
import type { TrustProblem } from "../../pki/trust_error.ts";
import { CrlFinder, type KeepTarget } from "./crl_finder.ts";

/** What the thread is asked: to read a file. */
export interface CrlWork {
  readonly type: "read";
  readonly path: string;
  readonly bytesMax: number;
  /** DER of the bundle's CAs. */
  readonly cas: readonly Uint8Array[];
  readonly profile: "network" | "rfc5280" | undefined;
}

/** To name the content of a file. */
export interface HashWork {
  readonly type: "hash";
  readonly path: string;
  readonly bytesMax: number;
}

/** To copy lists, DER, out of a file into others: those that are still in it. */
export interface KeepWork {
  readonly type: "keep";
  readonly source: string;
  readonly bytesMax: number;
  readonly targets: readonly KeepTarget[];
}

/** Its answer, one for each question. */
export type CrlWorkEvent =
  /** The targets that were written. */
  | { readonly type: "kept"; readonly written: readonly WrittenFile[] }
  /** SHA-256 of the whole file, lower-case hexadecimal. */
  | { readonly type: "hashed"; readonly sha256: string }
  | { readonly type: "lists"; readonly lists: readonly LocatedCrl[] }
  | { readonly type: "problem"; readonly problem: Omit<TrustProblem, "refusal"> }
  | { readonly type: "too-large" }
  /** An error of the file system. */
  | { readonly type: "unreadable"; readonly code: string };

/** A file that the thread wrote. */
export interface WrittenFile {
  readonly path: string;
  /** Its inode, decimal: tells it from a file that took its place since. */
  readonly inode: string;
}

const chunkBytes = 256 * 1024;

/** Reads the file from beginning to end, a chunk at a time. */
function read({ path, bytesMax, cas, profile }: CrlWork): CrlWorkEvent {
  const authorities = cas.map((der) => Result.getOrThrow(parseCertificate(der))); // they parsed before
  return readChunks(path, bytesMax, (sizeBytes) => {
    const reader = new CrlReader({ cas: authorities, profile, shared: true, sizeBytes });
    const finish = (): CrlWorkEvent =>
      Result.match(reader.finish(), {
        onSuccess: (lists) => ({ type: "lists", lists }),
        onFailure: ({ input, problem, line, detail, hint }) => ({
          type: "problem",
          problem: { input, problem, line, detail, hint },
        }),
      });
    return { push: (chunk) => reader.push(chunk), finish };
  });
}

function keep({ source, bytesMax, targets }: KeepWork): CrlWorkEvent {
  const finder = new CrlFinder(targets);
  const searched = searchFile(finder, source, bytesMax);
  if (searched.type !== "kept") return searched;
  // What contradicts another list may be kept already, and not be in the source any more.
  for (const { path } of targets.filter((target) => !finder.has(target))) searchFile(finder, path, bytesMax);
  const whole = targets.filter((target) => finder.has(target));
  const written = whole.flatMap((target) => {
    const inode = writeAside(target.path, finder.take(target), target.before);
    return inode === undefined ? [] : [{ path: target.path, inode }];
  });
  return { type: "kept", written };
}

function searchFile(finder: CrlFinder, path: string, bytesMax: number): CrlWorkEvent {
  try {
    return readChunks(path, bytesMax, (sizeBytes) => {
      const splitter = finder.splitter(sizeBytes);
      return {
        push: (chunk) => splitter.push(chunk),
        finish: () => {
          splitter.finish();
          splitter.release();
          return { type: "kept", written: [] };
        },
      };
    });
  } catch (error) {
    // It was replaced by another since it was read: that one is read next.
    if (error instanceof PemError || error instanceof DerCrlsError) return { type: "kept", written: [] };
    throw error;
  }
}

interface ChunkReader {
  readonly push: (chunk: Uint8Array) => void;
  readonly finish: () => CrlWorkEvent;
}

function readChunks(path: string, bytesMax: number, begin: (sizeBytes: number) => ChunkReader): CrlWorkEvent {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    const { size } = fstatSync(file);
    if (size > bytesMax) return { type: "too-large" };
    const reader = begin(size);
    const chunk = new Uint8Array(chunkBytes);
    let read = 0;
    for (let got = readSync(file, chunk); got > 0; got = readSync(file, chunk)) {
      read += got;
      if (read > bytesMax) return { type: "too-large" };
      reader.push(chunk.subarray(0, got));
    }
    return reader.finish();
  } catch (error) {
    if (error instanceof Error && "code" in error) return { type: "unreadable", code: String(error.code) };
    throw error;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/**
 * Writes a file whole: aside, synced, moved into place. What a killed process left aside is removed. The file is made anew, so
 * that a link in its place leads nowhere. Returns its inode; undefined where the file that it replaces does not look like `before`.
 */
function writeAside(path: string, content: Uint8Array, before: string): string | undefined {
  const aside = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  rmSync(aside, { force: true });
  const file = openSync(aside, "wx", 0o600);
  try {
    for (let at = 0; at < content.length;) at += writeSync(file, content, at);
    fsyncSync(file);
    const { ino } = fstatSync(file, { bigint: true });
    if (signatureOf(path) !== before) {
      rmSync(aside);
      return undefined;
    }
    renameSync(aside, path);
    return String(ino);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
}

/** As `signatureOf` of `read_whole.ts`: from integers, of which a time is rounded down. */
function signatureOf(path: string): string {
  const look = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (look === undefined) return "NotFound";
  const { dev, ino, size, mtime, mode } = look;
  return `${dev}/${ino}/${size}/${mtime.getTime()}/${mode}`;
}

function hash({ path, bytesMax }: HashWork): CrlWorkEvent {
  return readChunks(path, bytesMax, () => {
    const sum = createHash("sha256");
    return { push: (chunk) => void sum.update(chunk), finish: () => ({ type: "hashed", sha256: sum.digest("hex") }) };
  });
}

function work(asked: CrlWork | HashWork | KeepWork): CrlWorkEvent {
  if (asked.type === "read") return read(asked);
  if (asked.type === "hash") return hash(asked);
  try {
    return keep(asked);
  } catch (error) {
    if (error instanceof Error && "code" in error) return { type: "unreadable", code: String(error.code) };
    throw error;
  }
}

parentPort?.on(
  "message",
  (asked: CrlWork | HashWork | KeepWork) => parentPort?.postMessage(work(asked) satisfies CrlWorkEvent),
);
