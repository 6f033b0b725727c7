/**
 * Reads small files that other programs write: bounded, and with a signature that changes with the file.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Option } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import { LoadError } from "./load_error.ts";
import { deniedByDeno } from "./denied.ts";
import { readingMs, withinDeadline } from "./patient_files.ts";
import { placeTried } from "./place_tried.ts";
import { shellWord } from "./shell_word.ts";

/** A file as it was read. */
export interface WholeFile {
  readonly text: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What to read. */
export interface ReadOptions {
  readonly path: string;
  /** The kind of file, for messages: `trust bundle`. */
  readonly what: string;
  readonly bytesMax: number;
  /** The configuration key that names the file. */
  readonly key: string;
}

/**
 * Reads a text file whole.
 *
 * Only a regular file (or a link to one) is opened: a FIFO would hold the reader for ever. Bytes that are no UTF-8 become
 * replacement characters, which no parser of PEM accepts inside a block.
 *
 * @returns The text and the mode of one and the same file, even when another takes its place meanwhile.
 */
export function readWhole(options: ReadOptions): Effect.Effect<WholeFile, LoadError, FileSystem> {
  return Effect.map(readChunks(options), ({ chunks, mode }) => ({ text: textOf(chunks), mode }));
}

/** As {@linkcode readWhole}, as bytes. */
export function readBytes(
  options: ReadOptions,
): Effect.Effect<{ readonly bytes: Uint8Array; readonly mode: number }, LoadError, FileSystem> {
  return Effect.map(readChunks(options), ({ chunks, mode }) => ({ bytes: Buffer.concat(chunks), mode }));
}

function readChunks(
  options: ReadOptions,
): Effect.Effect<{ readonly chunks: readonly Uint8Array[]; readonly mode: number }, LoadError, FileSystem> {
  const { path, what, bytesMax } = options;
  const refuse = (problem: LoadError["problem"], detail: string, mend: string) =>
    Effect.fail(new LoadError({ file: path, line: undefined, problem, detail, mend }));
  const checkSize = ({ type, size }: File.Info) => {
    if (type !== "File") {
      return refuse("not-a-file", `the ${what} is a ${type.toLowerCase()}`, `Name a file in ${options.key}.`);
    }
    if (Number(size) <= bytesMax) return Effect.void;
    return refuse("too-large", `the ${what} has ${size} bytes, more than ${bytesMax}`, `Check ${options.key}.`);
  };
  const read = (files: FileSystem) =>
    Effect.gen(function* () {
      const file = yield* files.open(path, { flag: "r" });
      const info = yield* Effect.uninterruptible(file.stat);
      yield* checkSize(info);
      const chunks: Uint8Array[] = [];
      let left = bytesMax + 1;
      for (;;) {
        const size = Math.min(left, Math.max(Number(info.size), 1) + 1);
        const chunk = Option.getOrUndefined(yield* Effect.uninterruptible(file.readAlloc(size)));
        if (chunk === undefined || chunk.length === 0) break;
        chunks.push(chunk);
        left -= chunk.length;
        if (left <= 0) {
          yield* refuse("too-large", `the ${what} grows beyond ${bytesMax} bytes`, `Check ${options.key}.`);
        }
      }
      return { chunks, mode: info.mode & 0o777 };
    });
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const info = yield* withinDeadline(path, Effect.uninterruptible(files.stat(path)));
    yield* checkSize(info);
    return yield* withinDeadline(path, Effect.scoped(read(files)), readingMs(Number(info.size)));
  }).pipe(Effect.mapError((error) => error._tag === "LoadError" ? error : unreadable(error, options)));
}

function textOf(chunks: readonly Uint8Array[]): string {
  const decoder = new TextDecoder();
  return chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("") + decoder.decode();
}

function unreadable(error: PlatformError, { path, what, key }: ReadOptions): LoadError {
  const { reason } = error;
  const common = { file: path, line: undefined };
  const denied = deniedByDeno(error);
  if (denied !== undefined) {
    const detail = `the ${what} cannot be read`;
    return new LoadError({ ...common, problem: "unreadable", detail, mend: denied });
  }
  switch (reason._tag) {
    case "NotFound":
      return new LoadError({
        ...common,
        problem: "missing",
        detail: `there is no such file for the ${what}${placeTried(path)}`,
        mend: `Put it there, or correct ${key}.`,
      });
    case "PermissionDenied":
      return new LoadError({
        ...common,
        problem: "unreadable",
        detail: `this user may not read the ${what}`,
        mend: `Give it to the node's user: chown "$(id -un)" ${path}`,
      });
    case "TimedOut":
      return new LoadError({
        ...common,
        problem: "unreadable",
        detail: `its file system does not answer, so the ${what} cannot be read`,
        mend: `Bring the server of its mount back, or put the file on a local disk and correct ${key}.`,
      });
    default:
      return new LoadError({
        ...common,
        problem: "unreadable",
        detail: `the ${what} cannot be read (${reason._tag})`,
        mend: `Look at it with: ls -l ${shellWord(path)}`,
      });
  }
}

/**
 * What tells one state of a file from another without reading it: device, inode, size and time of the last change.
 * A file that is not there, cannot be looked at, or does not answer, has a signature too. Links are followed.
 */
export function signatureOf(path: string): Effect.Effect<string, never, FileSystem> {
  return Effect.flatMap(
    FileSystem,
    (files) =>
      Effect.match(withinDeadline(path, Effect.uninterruptible(files.stat(path))), {
        onSuccess: ({ dev, ino, size, mtime, mode }) => {
          const changedAt = Option.isSome(mtime) ? mtime.value.getTime() : "-";
          const inode = Option.isSome(ino) ? ino.value : "-";
          return `${dev}/${inode}/${size}/${changedAt}/${mode}`;
        },
        onFailure: (error) => error.reason._tag,
      }),
  );
}
