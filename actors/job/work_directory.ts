/**
 * A job's directory from its making to its removal: `<work_dir>/hypha-<uuid>`, 0700, with a record beside it of who made
 * it. It is removed with the scope that made it; one whose worker was killed is swept by the next worker.
 *
 * @module
 */
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { Effect, type Scope } from "effect";
import { removeCgroups } from "./cell/cgroup.ts";
import { endUser } from "./cell/job_user.ts";
import { type DiskSize, mountDisk, unmountDisk } from "./cell/disk.ts";
import { identifyProcess, isAlive } from "./process_identity.ts";
import { type OwnerRecord, readOwner, removeOwner, writeOwner } from "./owner_record.ts";
import { openWorkDirectory, type WorkDirectory } from "../files/contained_files.ts";
import { type PathError, WorkFileFailed } from "../files/path_refused.ts";

/** A removal is tried this often, with this pause: longer than the grace of what still writes there and is being ended. */
const removalAttemptsMax = 100;
const removalPauseMs = 100;
/** Directories opened up for removal, at most: a job may have made a million. */
const openedUpMax = 100_000;

const directoryName = /^hypha-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Whose a work directory is. */
export interface DirectoryOwner {
  /** The job's own user; the worker's where undefined. */
  readonly user?: number | undefined;
  /** Makes it a file system of its own, of that size; for a job with its own user. */
  readonly disk?: Omit<DiskSize, "user"> | undefined;
}

/**
 * Makes and opens a work directory, and removes it when the scope closes. End whatever runs in it before that.
 *
 * @param workDir The worker's `work_dir`; made (0700) if it is missing.
 * @param uuid Names the directory.
 */
export function makeWorkDirectory(
  workDir: string,
  uuid: string,
  { user, disk }: DirectoryOwner = {},
): Effect.Effect<WorkDirectory, PathError, Scope.Scope> {
  const path = join(resolve(workDir), `hypha-${uuid}`);
  const make = Effect.try({
    try: () => {
      mkdirSync(resolve(workDir), { recursive: true, mode: 0o700 });
      // A job's own user has to get to its directory. What is in the others stays closed to it: they are 0700.
      if (user !== undefined) chmodSync(resolve(workDir), 0o711);
      // The record comes first: there is never a directory of ours without one.
      writeOwner(path, ownRecord());
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

/** Writes down which process runs in the directory, so that a sweep can end it if this worker can't. */
export function recordExecutor(directory: WorkDirectory, pid: number): Effect.Effect<void, WorkFileFailed> {
  return Effect.try({
    try: () => {
      const executor = identifyProcess(pid);
      if (executor !== undefined) writeOwner(directory.path, { ...ownRecord(), executor });
    },
    catch: (error) => asFailure(directory.path, error),
  });
}

/** Removes a work directory and its record. One that is gone already is fine. */
export function removeWorkDirectory(path: string): Effect.Effect<void, WorkFileFailed> {
  const attempt = Effect.tryPromise({
    try: () => rm(path, { recursive: true, force: true }),
    catch: (error) => asFailure(path, error),
  });
  const again = (attemptsLeft: number): Effect.Effect<void, WorkFileFailed> =>
    Effect.catch(attempt, (failure) =>
      attemptsLeft <= 1 ? Effect.fail(failure) : Effect.sync(() => openUp(path)).pipe(
        Effect.andThen(Effect.sleep(removalPauseMs)),
        Effect.andThen(Effect.suspend(() => again(attemptsLeft - 1))),
      ));
  return Effect.ignore(unmountDisk(path)).pipe(
    Effect.andThen(again(removalAttemptsMax)),
    Effect.andThen(Effect.try({ try: () => removeOwner(path), catch: (error) => asFailure(path, error) })),
  );
}

/** What a sweep found. Paths. */
export interface Swept {
  readonly removed: readonly string[];
  /** Their worker lives. */
  readonly kept: readonly string[];
  /** Named like ours, but nobody says whose: another program's, left alone. */
  readonly unowned: readonly string[];
  /** Their worker is dead and they could not be removed. */
  readonly failed: readonly WorkFileFailed[];
}

/**
 * Removes the work directories whose worker is dead, and kills the process groups those left running. Only direct
 * children of `workDir` with a record of ours are touched.
 */
export function sweepLeftovers(workDir: string): Effect.Effect<Swept, WorkFileFailed> {
  return Effect.gen(function* () {
    const root = resolve(workDir);
    const removed: string[] = [], kept: string[] = [], unowned: string[] = [], failed: WorkFileFailed[] = [];
    for (const path of yield* Effect.try({ try: () => candidates(root), catch: (error) => asFailure(root, error) })) {
      const owner = readOwner(path);
      if (owner === undefined) unowned.push(path);
      else if (isAlive(owner.worker)) kept.push(path);
      else {
        endExecutor(owner);
        yield* endUser(userOf(path));
        yield* Effect.ignore(removeCgroups(basename(path)));
        yield* Effect.match(removeWorkDirectory(path), {
          onSuccess: () => removed.push(path),
          onFailure: (failure) => failed.push(failure),
        });
      }
    }
    return { removed, kept, unowned, failed };
  });
}

/** Directories named like ours, with or without a record, and records without a directory. */
function candidates(root: string): readonly string[] {
  const found = new Set<string>();
  for (const name of readIfThere(root)) {
    const directory = name.endsWith(".owner") ? name.slice(0, -".owner".length) : name;
    if (directoryName.test(directory)) found.add(join(root, directory));
    // A record half written: of a worker killed while writing it, or about to rename it.
    const [, pid] = /^hypha-[0-9a-f-]{36}\.owner\.([0-9]+)\.tmp$/.exec(name) ?? [];
    if (pid !== undefined && identifyProcess(Number(pid)) === undefined) rmSync(join(root, name), { force: true });
  }
  return [...found].sort();
}

function readIfThere(root: string): readonly string[] {
  try {
    return readdirSync(root);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** The job's own user: what is not one is left alone by `endUser`. */
function userOf(path: string): number {
  return lstatSync(path, { throwIfNoEntry: false })?.uid ?? 0;
}

/** The group of an executor whose leader still is the process that was started. */
function endExecutor({ executor }: OwnerRecord): void {
  if (executor === undefined || !isAlive(executor)) return;
  try {
    process.kill(-executor.pid, "SIGKILL");
  } catch { /* it ended meanwhile */ }
}

/** A job may have taken its own rights away: directories are made searchable again. Links are not followed. */
function openUp(path: string): void {
  const queue = [path];
  for (let opened = 0; opened < openedUpMax; opened++) {
    const directory = queue.pop();
    if (directory === undefined) return;
    try {
      if (!lstatSync(directory).isDirectory()) continue;
      chmodSync(directory, 0o700);
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        if (entry.isDirectory()) queue.push(join(directory, entry.name));
      }
    } catch { /* gone, or not ours: the removal says so */ }
  }
}

function ownRecord(): OwnerRecord {
  return { worker: identifyProcess(process.pid) ?? { bootId: "", pid: process.pid, startTime: "" } };
}

function asFailure(path: string, error: unknown): WorkFileFailed {
  const { code = "unknown", message } = error as NodeJS.ErrnoException;
  return new WorkFileFailed({ code, path, detail: message });
}
