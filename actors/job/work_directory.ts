/**
 * A job's directory, from its creation to its removal: `<work_dir>/hypha-<uuid>`, 0700, with a record of its owner next to it.
 * It is removed with the scope that created it. The next worker sweeps the directories of a killed one.
 *
 * @module
 */
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { Effect, type Scope } from "effect";
import { removeCgroups } from "./cell/cgroup.ts";
import { endUser } from "./cell/job_user.ts";
import { type DiskSize, isJobDisk, mountDisk, unmountDisk } from "./cell/disk.ts";
import { identifyProcess, isAlive, type ProcessIdentity } from "./process_identity.ts";
import { appendExecutor, type OwnerRecord, readOwner, removeOwner, writeOwner } from "./owner_record.ts";
import { runTool } from "./cell/tool.ts";
import { openWorkDirectory, type WorkDirectory } from "../files/contained_files.ts";
import { isOwn } from "../files/own_status.ts";
import { removeTree, unnameable } from "../files/remove_tree.ts";
import { type PathError, WorkFileFailed } from "../files/path_refused.ts";

/** Tries of a removal, and the pause between two: together longer than the grace of processes that still write there. */
const removalAttemptsMax = 100;
const removalPauseMs = 100;
/** Directories that a sweep removes at once. */
const sweptAtOnce = 8;

const directoryName = /^hypha-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The owner of a work directory. */
export interface DirectoryOwner {
  /** The job's own user; the worker's where undefined. */
  readonly user?: number | undefined;
  /** Makes it a file system of its own, of this size; for a job with its own user. */
  readonly disk?: Omit<DiskSize, "user"> | undefined;
}

/**
 * Creates and opens a work directory, and removes it when the scope closes. The caller ends its processes before that.
 *
 * @param workDir The worker's `work_dir`; created (0700) where it is missing.
 * @param uuid Names the directory.
 */
export function makeWorkDirectory(
  workDir: string,
  uuid: string,
  { user, disk }: DirectoryOwner = {},
): Effect.Effect<WorkDirectory, PathError, Scope.Scope> {
  const path = join(resolve(workDir), `hypha-${uuid}`);
  const make = Effect.tryPromise({
    try: async () => {
      mkdirSync(resolve(workDir), { recursive: true, mode: 0o700 });
      if (user !== undefined) letJobUsersIn(resolve(workDir));
      // The record is written first, so that every directory of ours has one.
      await writeOwner(path, ownIdentity());
      try {
        mkdirSync(path, { mode: 0o700 });
        if (user !== undefined) chownSync(path, user, user);
      } catch (error) {
        removeOwner(path);
        throw error;
      }
    },
    catch: (error) => asFailure(path, error),
  });
  const mount = user === undefined || disk === undefined ? Effect.void : Effect.mapError(
    mountDisk(path, { ...disk, user }),
    (error) => new WorkFileFailed({ code: "disk", path, detail: error.message }),
  );
  return Effect.acquireRelease(make, () => Effect.ignore(removeWorkDirectory(path))).pipe(
    Effect.andThen(mount),
    Effect.andThen(openWorkDirectory(path, { user })),
  );
}

/** A job's own user has to reach its directory. The other directories stay closed to it: they are 0700. Removes no right. */
function letJobUsersIn(workDir: string): void {
  const mode = statSync(workDir).mode & 0o7777;
  if ((mode & 0o001) === 0) chmodSync(workDir, mode | 0o011);
}

/** Records the process that runs in the directory, so that a sweep can end it if this worker cannot. */
export function recordExecutor(directory: WorkDirectory, pid: number): Effect.Effect<void, WorkFileFailed> {
  return Effect.try({
    try: () => {
      const executor = identifyProcess(pid);
      if (executor !== undefined) appendExecutor(directory.path, executor);
    },
    catch: (error) => asFailure(directory.path, error),
  });
}

/** Removes a work directory and its record, if they exist. */
export function removeWorkDirectory(path: string): Effect.Effect<void, WorkFileFailed> {
  const attempt = Effect.andThen(
    Effect.ignore(unmountDisk(path)),
    Effect.tryPromise({
      try: (signal) => removeTree(path, signal),
      catch: (error) => asFailure(path, error),
    }),
  ).pipe(Effect.catch((failure) => failure.code === unnameable ? removeUnnamed(path) : Effect.fail(failure)));
  const again = (attemptsLeft: number): Effect.Effect<void, WorkFileFailed> =>
    Effect.catch(attempt, (failure) =>
      attemptsLeft <= 1 ? Effect.fail(failure) : Effect.andThen(
        Effect.sleep(removalPauseMs),
        Effect.suspend(() => again(attemptsLeft - 1)),
      ));
  return again(removalAttemptsMax).pipe(
    Effect.andThen(Effect.try({ try: () => removeOwner(path), catch: (error) => asFailure(path, error) })),
  );
}

/** The result of a sweep, as paths. */
export interface Swept {
  readonly removed: readonly string[];
  /** Their worker runs. */
  readonly kept: readonly string[];
  /** Named like ours and without a record of ours: they may be another program's and are kept. */
  readonly unowned: readonly string[];
  /** Their worker is dead and they could not be removed. */
  readonly failed: readonly WorkFileFailed[];
}

/**
 * Removes the work directories whose worker is dead, and kills their running process groups. Touches only direct children of
 * `workDir` with a record of ours, or with a disk of a job mounted on them: a worker that was killed early left no record.
 *
 * @param options.isLocked No other worker uses `workDir`. Then a damaged record is that of a dead one.
 */
export function sweepLeftovers(
  workDir: string,
  { isLocked }: { readonly isLocked: boolean },
): Effect.Effect<Swept, WorkFileFailed> {
  return Effect.gen(function* () {
    const root = resolve(workDir);
    const removed: string[] = [], kept: string[] = [], unowned: string[] = [], failed: WorkFileFailed[] = [];
    const removing = (path: string) =>
      Effect.match(removeWorkDirectory(path), {
        onSuccess: () => removed.push(path),
        onFailure: (failure) => failed.push(failure),
      });
    const sweep = (path: string) =>
      Effect.gen(function* () {
        const owner = readOwner(path);
        const hasRecord = owner === "damaged" ? isLocked : owner !== undefined;
        if (!hasRecord && !isJobDisk(path)) return void unowned.push(path);
        if (owner !== undefined && owner !== "damaged") {
          if (isAlive(owner.worker)) return void kept.push(path);
          endExecutor(owner);
        }
        if (hasRecord) {
          yield* endUser(userOf(path));
          yield* Effect.ignore(removeCgroups(basename(path)));
        }
        yield* removing(path);
      });
    const paths = yield* Effect.try({ try: () => candidates(root), catch: (error) => asFailure(root, error) });
    yield* Effect.forEach(paths, sweep, { concurrency: sweptAtOnce, discard: true });
    return { removed, kept, unowned, failed };
  });
}

/** Directories named like ours, with or without a record, and records without a directory. */
function candidates(root: string): readonly string[] {
  const found = new Set<string>();
  for (const name of readIfThere(root)) {
    const directory = name.endsWith(".owner") ? name.slice(0, -".owner".length) : name;
    if (directoryName.test(directory)) found.add(join(root, directory));
    // A partly written record, of a worker that was killed while writing or before renaming it.
    const [, pid] = /^hypha-[0-9a-f-]{36}\.owner\.([0-9]+)\.tmp$/.exec(name) ?? [];
    if (pid !== undefined && identifyProcess(Number(pid)) === undefined) removeOwnFile(join(root, name));
  }
  return [...found].sort();
}

function removeOwnFile(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() === true && isOwn(stats)) rmSync(path, { force: true });
}

function readIfThere(root: string): readonly string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** The directory's user. `endUser` ignores users that are not a job's own. */
function userOf(path: string): number {
  return lstatSync(path, { throwIfNoEntry: false })?.uid ?? 0;
}

/** Ends an executor's group, if its leader still is the process that was started. */
function endExecutor({ executor }: OwnerRecord): void {
  if (executor === undefined || !isAlive(executor)) return;
  try {
    process.kill(-executor.pid, "SIGKILL");
  } catch { /* it ended meanwhile */ }
}

/**
 * Removes what this runtime cannot name, by the system's `rm`; Deno's own removal needs a descriptor and stack for each level. Root's
 * `rm` needs no rights: between its look at a directory and `chmod`, `find` can be led elsewhere.
 */
function removeUnnamed(path: string): Effect.Effect<void, WorkFileFailed> {
  const lacksRights = ["-type", "d", "!", "-perm", "-700", "-execdir", "chmod", "700", "{}", ";"];
  const giveRights = process.getuid?.() === 0 ? Effect.void : Effect.ignore(runTool("find", [path, ...lacksRights]));
  return giveRights.pipe(
    Effect.andThen(runTool("rm", ["-rf", "--", path])),
    Effect.asVoid,
    Effect.mapError((failure) => asFailure(path, failure)),
  );
}

function ownIdentity(): ProcessIdentity {
  return identifyProcess(process.pid) ?? { bootId: "", pid: process.pid, startTime: "" };
}

function asFailure(path: string, error: unknown): WorkFileFailed {
  const { code = "unknown", message } = error as NodeJS.ErrnoException;
  return new WorkFileFailed({ code, path, detail: message });
}
