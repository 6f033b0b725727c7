/**
 * Locks among processes of one machine: a file that only one can create.
 *
 * @module
 */
import process from "node:process";
import { hostname } from "node:os";
import { Clock, Effect, Option, type Scope } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import * as Random from "effect/Random";
import { fileProblem } from "../files/file_problem.ts";
import { CertutilError } from "./certutil_error.ts";

/** How long to wait for another holder; holders need some hundredths of a second. */
export const lockWaitMs = 10_000;
/** How often to look again. */
export const lockPollMs = 25;

/**
 * Holds the lock of a file until the scope ends: `<path>.lock`, with host and process of the holder in it. One left
 * behind by a process of this host that no longer lives is taken over.
 */
export function holdLock(path: string): Effect.Effect<void, CertutilError, FileSystem | Scope.Scope> {
  const lock = `${path}.lock`;
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const mark = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36);
    const owner = `${hostname()} ${process.pid} ${mark}\n`;
    const attempts = Math.ceil(lockWaitMs / lockPollMs);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const outcome = yield* Effect.uninterruptible(tryLock(files, { lock, owner, aside: `${lock}.${mark}` }));
      if (outcome === "held") return;
      if (outcome === "taken" && !(yield* clearStale(files, lock, mark))) yield* Effect.sleep(lockPollMs);
    }
    return yield* new CertutilError({
      what: "lock",
      file: path,
      detail: `another process has held ${lock} for more than ${lockWaitMs / 1_000} s`,
      remedy: `If none is running, remove ${lock}.`,
    });
  });
}

interface Attempt {
  readonly lock: string;
  readonly owner: string;
  /** A name of the attempt's own, next to the lock. */
  readonly aside: string;
}

const tryLock = Effect.fnUntraced(function* (files: FileSystem, { lock, owner, aside }: Attempt) {
  const created = yield* Effect.matchEffect(create(files, { lock, owner, aside }), {
    onSuccess: () => Effect.succeed("held" as const),
    onFailure: (error) =>
      error.reason._tag === "AlreadyExists" ? Effect.succeed("taken" as const) : Effect.fail(cannotLock(lock, error)),
  });
  const release = Effect.flatMap(
    readOwner(files, lock),
    (now) => now === owner ? Effect.ignore(files.remove(lock, { force: true })) : Effect.void,
  );
  if (created === "held") yield* Effect.addFinalizer(() => release);
  return created;
});

/**
 * Makes the lock with its owner in it: a full disk, or a kill in between, leaves no empty one. Folders without hard links get it
 * in two steps.
 */
function create(files: FileSystem, { lock, owner, aside }: Attempt): Effect.Effect<void, PlatformError> {
  const write = (path: string) => files.writeFileString(path, owner, { flag: "wx", mode: 0o644 });
  const link = Effect.catch(
    files.link(aside, lock),
    (error) => error.reason._tag === "AlreadyExists" ? Effect.fail(error) : write(lock),
  );
  return Effect.ensuring(Effect.andThen(write(aside), link), Effect.ignore(files.remove(aside, { force: true })));
}

/** Moves a dead holder's lock away; of several who try, the one whose move shows the dead holder has cleared it. */
const clearStale = Effect.fnUntraced(function* (files: FileSystem, lock: string, mark: string) {
  const seen = yield* readOwner(files, lock);
  if (seen === undefined || (seen === "" ? !(yield* isOld(files, lock)) : isAlive(seen))) return false;
  const aside = `${lock}.${mark}`;
  const moved = yield* Effect.match(files.rename(lock, aside), { onSuccess: () => true, onFailure: () => false });
  if (!moved) return false;
  const got = yield* readOwner(files, aside);
  // A newer holder's lock was moved by mistake: it goes back, unless yet another one has come.
  if (got !== seen) yield* Effect.ignore(files.link(aside, lock));
  yield* Effect.ignore(files.remove(aside, { force: true }));
  return got === seen;
});

const readOwner = (files: FileSystem, path: string) =>
  Effect.match(files.readFileString(path), { onSuccess: (text) => text, onFailure: () => undefined });

/** Whether a lock is older than any that is still being written. */
const isOld = (files: FileSystem, path: string) =>
  Effect.gen(function* () {
    const { mtime } = yield* files.stat(path);
    return (yield* Clock.currentTimeMillis) - Option.getOrElse(mtime, () => new Date(NaN)).getTime() > lockWaitMs;
  }).pipe(Effect.orElseSucceed(() => false));

/** A holder whose state is unknown counts as alive: one on another host for instance. */
function isAlive(owner: string): boolean {
  const match = /^(\S+) (\d+) \S+\n$/.exec(owner);
  if (match === null || match[1] !== hostname()) return true;
  try {
    process.kill(Number(match[2]), 0);
    return true;
  } catch (error) {
    return (error as { code?: unknown }).code !== "ESRCH";
  }
}

function cannotLock(lock: string, error: PlatformError): CertutilError {
  const details: Partial<Record<string, string>> = {
    NotFound: "its folder is missing",
    PermissionDenied: "its folder may not be written",
  };
  const detail = details[error.reason._tag] ?? fileProblem(error);
  const remedy = "Choose a folder that is there and writable.";
  return new CertutilError({ what: "write", file: lock, detail, remedy });
}
