/**
 * A job's work directory in memory, with the interface and the path rules of the real one.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { parsePath, type PathError, WorkFileFailed } from "../files/path_refused.ts";
import type { ReadableFile, WorkDirectory, WritableFile } from "../files/contained_files.ts";

/** A work directory that a simulation can inspect. */
export interface MemoryDirectory extends WorkDirectory {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Whether the disk is full: then writing fails. */
  isFull: () => boolean;
  /** Called when a file was committed. */
  onCommit: (name: string) => void;
}

/** Makes an empty work directory. */
export function makeMemoryDirectory(path: string): MemoryDirectory {
  const files = new Map<string, Uint8Array>();
  const checked = <A>(name: string, then: () => Effect.Effect<A, PathError>): Effect.Effect<A, PathError> =>
    Effect.suspend(() => {
      const parsed = parsePath(name);
      return Result.isFailure(parsed) ? Effect.fail(parsed.failure) : then();
    });
  const missing = (name: string) =>
    Effect.fail(new WorkFileFailed({ code: "not-found", path: name, detail: "there is no such file" }));
  const directory: MemoryDirectory = {
    path,
    files,
    isFull: () => false,
    onCommit: () => {},
    openForReading: (name) =>
      checked(name, () => {
        const bytes = files.get(name);
        return bytes === undefined ? missing(name) : Effect.succeed(readable(bytes));
      }),
    create: (name) => checked(name, () => Effect.sync(() => writable(directory, files, name))),
    makeDirectory: (name) => checked(name, () => Effect.void),
    *walk() {
      for (const [name, { length: sizeBytes }] of files) yield { name, sizeBytes };
    },
    unnamed: () => new Map(),
    remove: (name) => checked(name, () => files.delete(name) ? Effect.void : missing(name)),
    socketAddress: (name) => `${path}/${name}`,
    giveSocket: () => Effect.void,
  };
  return directory;
}

function readable(bytes: Uint8Array): ReadableFile {
  return {
    fd: -1,
    sizeBytes: bytes.length,
    read: (into, position) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + into.length);
        into.set(piece);
        return piece.length;
      }),
  };
}

function writable(directory: MemoryDirectory, files: Map<string, Uint8Array>, name: string): WritableFile {
  const pieces: Uint8Array[] = [];
  const room = Effect.suspend(() =>
    directory.isFull()
      ? Effect.fail(new WorkFileFailed({ path: name, code: "ENOSPC", detail: "no space left" }))
      : Effect.void
  );
  return {
    fd: -1,
    write: (bytes) => Effect.andThen(room, Effect.sync(() => void pieces.push(bytes.slice()))),
    commit: Effect.andThen(
      room,
      Effect.sync(() => {
        const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
        let at = 0;
        for (const piece of pieces) {
          whole.set(piece, at);
          at += piece.length;
        }
        files.set(name, whole);
        directory.onCommit(name);
      }),
    ),
  };
}
