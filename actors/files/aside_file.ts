/**
 * A large file that appears whole or not at all: written aside piece by piece, synced, then moved into place.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { basename, dirname, join } from "node:path";
import { Effect, type Scope } from "effect";
import { FileSystem } from "effect/FileSystem";
import { type FileNotWritten, notWritten, syncFolder } from "./write_whole.ts";

/** A file in the making. It has its name only after `commit`; without it nothing remains. */
export interface AsideFile {
  /** Writes all of `bytes` after what was written before. Their memory may be used again then. */
  write(bytes: Uint8Array): Effect.Effect<void, FileNotWritten>;
  /** Syncs the file, gives it its name, and syncs its folder. */
  readonly commit: Effect.Effect<void, FileNotWritten>;
}

/** Bytes that are gathered for one write. */
const gatheredBytes = 256 * 1024;

/** A buffer with the same beginning and room for so many bytes: a small file needs no large one. */
function grown(buffer: Buffer, bytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafeSlow(Math.min(gatheredBytes, Math.max(bytes, 2 * buffer.length)));
  larger.set(buffer);
  return larger;
}

/** The name of a file in the making, where there is one writer for each path. */
export function asidePath(path: string): string {
  return join(dirname(path), `.${basename(path)}.tmp`);
}

/**
 * Begins a file, and removes what an earlier writer left of it.
 *
 * @param temporary Its name in the making: another for each writer where a path may have several.
 */
export function openAside(
  path: string,
  temporary = asidePath(path),
): Effect.Effect<AsideFile, FileNotWritten, FileSystem | Scope.Scope> {
  const begin = Effect.gen(function* () {
    const files = yield* FileSystem;
    const remove = Effect.ignore(files.remove(temporary, { force: true }));
    yield* remove;
    yield* Effect.addFinalizer(() => remove);
    const handle = yield* files.open(temporary, { flag: "wx", mode: 0o600 });
    let held = Buffer.alloc(0);
    let fill = 0;
    const flush = Effect.suspend(() => {
      if (fill === 0) return Effect.void;
      const bytes = held.subarray(0, fill);
      fill = 0;
      return handle.writeAll(bytes);
    });
    const hold = (bytes: Uint8Array) => {
      if (fill + bytes.length > held.length) held = grown(held, fill + bytes.length);
      held.set(bytes, fill);
      fill += bytes.length;
    };
    const write = (bytes: Uint8Array) =>
      Effect.suspend(() => {
        if (fill + bytes.length <= gatheredBytes) return Effect.sync(() => hold(bytes));
        const rest = bytes.length < gatheredBytes ? Effect.sync(() => hold(bytes)) : handle.writeAll(bytes);
        return Effect.flatMap(flush, () => rest);
      });
    const commit = Effect.gen(function* () {
      yield* flush;
      yield* handle.sync;
      yield* files.rename(temporary, path);
      yield* syncFolder(files, dirname(path));
    });
    const mapped = <A>(effect: Effect.Effect<A, Parameters<typeof notWritten>[1]>) =>
      Effect.mapError(effect, (error) => notWritten(path, error));
    return { write: (bytes: Uint8Array) => mapped(write(bytes)), commit: Effect.uninterruptible(mapped(commit)) };
  });
  return Effect.mapError(begin, (error) => notWritten(path, error));
}
