/**
 * The lock on a work directory: one worker each, because two would sweep each other's directories.
 *
 * The lock is the kernel's (flock). A small helper holds it and ends when the pipe to its worker closes, so that a killed worker
 * leaves no lock behind. Neither runtime can lock a file itself. Without the `flock` program there is no lock.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fchmodSync, fstatSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { Data, Effect, Schedule, type Scope } from "effect";
import { helpWithLock } from "../../files/file_lock.ts";

/** Another worker uses the directory, or it cannot be locked. */
export class WorkDirLocked extends Data.TaggedError("WorkDirLocked")<{
  readonly path: string;
  readonly detail: string;
  /** Another process holds the lock. */
  readonly isTaken?: true;
}> {
  override get message(): string {
    return `Cannot use work_dir ${this.path}: ${this.detail}`;
  }
}

/** The exit code of `flock` when another process holds the lock. */
const takenCode = 75;
/** The helper answers within this, in milliseconds. */
const lockMs = 5_000;
/** A helper ends a moment after its worker, or its worker's former key: so often a taken lock is tried again, so far apart (ms). */
const takenTries = { times: 20, everyMs: 100 };

const lockName = "worker.lock";

/**
 * Only the worker's own user may open the file: a user who can open it can hold the lock and keep the worker from starting. The file may
 * belong to the directory's user too. With a second name it may be any file of the machine, whose mode must not change.
 */
function makeLockFile(path: string): void {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const descriptor = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new Error(`${path} is no file: remove it`);
    if (stats.nlink > 1) throw new Error(`${path} has another name too: remove it`);
    if (stats.uid !== process.getuid?.() && stats.uid !== statSync(dirname(path)).uid) {
      throw new Error(`cannot lock ${path}`); // its owner follows
    }
    fchmodSync(descriptor, 0o600);
  } finally {
    closeSync(descriptor);
  }
}

/** Locks a worker's `work_dir` (created where it is missing) until the scope closes. */
export function lockWorkDir(workDir: string): Effect.Effect<"locked" | "no-flock", WorkDirLocked, Scope.Scope> {
  const path = resolve(workDir);
  const fail = (detail: string) => Effect.fail(new WorkDirLocked({ path, detail }));
  const take = Effect.callback<ChildProcess | "no-flock", WorkDirLocked>((resume) => {
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      makeLockFile(join(path, lockName));
    } catch (error) {
      return resume(fail(`${(error as Error).message}${helpWithLock(join(path, lockName), error)}`));
    }
    const args = [
      "-n",
      "-E",
      String(takenCode),
      join(path, lockName),
      "sh",
      "-c",
      "echo locked; exec cat >/dev/null",
    ];
    // Its own group: Ctrl-C in a terminal must reach the worker only, which releases the lock last.
    const child = spawn("flock", args, { detached: true, stdio: ["pipe", "pipe", "ignore"] });
    child.stdin.on("error", () => {/* it ended: `exit` has the reason */});
    child.stdout.once("data", () => resume(Effect.succeed(child)));
    child.once(
      "error",
      (error: NodeJS.ErrnoException) =>
        resume(error.code === "ENOENT" ? Effect.succeed("no-flock") : fail(error.message)),
    );
    child.once(
      "exit",
      (code) =>
        resume(
          code === takenCode
            ? Effect.fail(
              new WorkDirLocked({ path, detail: "another worker uses it; give each worker its own", isTaken: true }),
            )
            : fail(`flock ended with ${code}`),
        ),
    );
    return Effect.sync(() => void child.kill("SIGKILL"));
  }).pipe(
    Effect.timeoutOrElse({ duration: lockMs, orElse: () => fail(`not locked within ${lockMs} ms`) }),
    Effect.retry({
      while: ({ isTaken }) => isTaken === true,
      schedule: Schedule.spaced(takenTries.everyMs),
      times: takenTries.times,
    }),
  );
  const release = (held: ChildProcess | "no-flock") =>
    Effect.sync(() => {
      if (held !== "no-flock") held.stdin?.end();
    });
  return Effect.map(
    Effect.acquireRelease(take, release),
    (held) => {
      if (held === "no-flock") return held;
      held.unref();
      return "locked";
    },
  );
}
