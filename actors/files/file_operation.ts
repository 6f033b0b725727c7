/**
 * Single file operations as Effects with typed errors. Those that may free a large file run in the thread pool.
 *
 * @module
 */
import { close as closeCallback, closeSync, fstatSync, lstatSync, rmdirSync, unlink as unlinkCallback } from "node:fs";
import { Effect } from "effect";
import { type PathError, type PathRefusalCode, PathRefused, WorkFileFailed } from "./path_refused.ts";

/** Runs file operations and turns what they throw into typed errors. */
export function attempt<A>(path: string, run: () => A): Effect.Effect<A, PathError> {
  return Effect.try({ try: run, catch: (error) => error instanceof PathRefused ? error : pathErrorOf(path, error) });
}

/**
 * Runs a file operation that may free a large file (removing its last name, also by giving the name to another) in the thread pool:
 * the kernel takes 200 ms for a gigabyte. It is not interrupted, so a directory's descriptor in its path stays open until it is done.
 */
export function inPool(
  path: string,
  run: (done: (error?: Error | null) => void) => void,
): Effect.Effect<void, PathError> {
  return Effect.uninterruptible(Effect.callback((resume) => {
    run((error) => resume((error ?? undefined) === undefined ? Effect.void : Effect.fail(pathErrorOf(path, error))));
  }));
}

/** Removes the file, link or empty directory at `at`, which the job knows as `path`. */
export function removeEntry(path: string, at: string): Effect.Effect<void, PathError> {
  return Effect.flatMap(
    attempt(path, () => lstatSync(at).isDirectory()),
    (isDirectory) =>
      isDirectory ? attempt(path, () => rmdirSync(at)) : inPool(path, (done) => unlinkCallback(at, done)),
  );
}

/**
 * Closes a file that was read. Where its last name is gone meanwhile, this frees its blocks: on Node in the thread pool, on Deno,
 * which closes on its loop, there.
 */
export function closeRead(fd: number): Effect.Effect<void> {
  return Effect.suspend(() =>
    fstatSync(fd).nlink > 0
      ? Effect.sync(() => closeSync(fd))
      : Effect.ignore(inPool("", (done) => closeCallback(fd, done)))
  );
}

const refusedErrnos: Readonly<Record<string, PathRefusalCode>> = {
  ELOOP: "symlink",
  ENOTDIR: "not-a-directory",
  EISDIR: "not-a-file",
  ENXIO: "not-a-file",
  ENAMETOOLONG: "too-long",
};

function pathErrorOf(path: string, error: unknown): PathError {
  const refusal = refusedErrnos[(error as NodeJS.ErrnoException).code ?? ""];
  return refusal === undefined
    ? failed(path, error as NodeJS.ErrnoException)
    : new PathRefused({ code: refusal, path });
}

/** The failure of an operation on the file that the job knows as `path`. */
export function failed(path: string, error: NodeJS.ErrnoException): WorkFileFailed {
  const code = error.code ?? "unknown";
  return code === "ENOENT"
    ? new WorkFileFailed({ code: "not-found", path, detail: "no such file or directory" })
    // The message has the whole path; the name of a fetched file may have a secret query.
    : new WorkFileFailed({ code, path, detail: error.message.replace(/, [a-z]+ '.*$/s, "") });
}
