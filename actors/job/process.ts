/**
 * An executor's process: its own group from the first instant, ended as a group, SIGTERM first and SIGKILL after the
 * grace. A process that leaves its group (`setsid`) escapes this; keeping it in is the cell's business, through `Launch`.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { Data, Deferred, Effect, type Scope } from "effect";
import type { Command } from "./command.ts";
import { collectOutput, type OutputSink } from "./output.ts";

/** How an executor ended. */
export interface ExecutorExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The end of what it printed. */
  readonly tail: string;
}

/** A running executor. */
export interface Executor {
  readonly pid: number;
  /** Waits for its end; its whole group is gone then. */
  readonly exited: Effect.Effect<ExecutorExit>;
  /** Ends it: SIGTERM to the group, SIGKILL after the grace. Returns when it is gone. */
  readonly terminate: Effect.Effect<ExecutorExit>;
}

/** The system would not start it. */
export class ExecutorNotStarted extends Data.TaggedError("ExecutorNotStarted")<{
  readonly file: string;
  readonly code: string;
  readonly detail: string;
}> {
  override get message(): string {
    const hint = this.code === "E2BIG" ? " (arguments and environment, the job's JSON among them, are too long)" : "";
    return `Cannot start executor ${this.file}: ${this.detail}${hint}`;
  }
}

/** How long output is waited for after the end: a process outside the group may hold the pipes for ever. */
const drainMs = 250;

/** Groups that run now: when this process exits without having ended them, they are killed. */
const groups = new Set<number>();
let watchesExit = false;

/**
 * Starts a command and ends it with the scope.
 *
 * @param options.graceMs From SIGTERM to SIGKILL.
 * @param options.now Milliseconds, for the rate of the log.
 */
export function startExecutor(
  command: Command,
  options: { readonly sink: OutputSink; readonly now: () => number; readonly graceMs: number },
): Effect.Effect<Executor, ExecutorNotStarted, Scope.Scope> {
  return Effect.acquireRelease(
    Effect.gen(function* () {
      const exit = yield* Deferred.make<ExecutorExit>();
      const child = yield* spawnGroup(command);
      watch(child, exit, options);
      return executor(child.pid as number, exit, options.graceMs);
    }),
    (started) => started.terminate,
  );
}

function spawnGroup({ file, args, env }: Command): Effect.Effect<ChildProcess, ExecutorNotStarted> {
  return Effect.callback((resume) => {
    const fail = (error: NodeJS.ErrnoException) =>
      resume(Effect.fail(new ExecutorNotStarted({ file, code: error.code ?? "unknown", detail: error.message })));
    try {
      const child = spawn(file, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...env } });
      // The group is known before anything else can happen: whoever exits now kills it.
      if (child.pid !== undefined) hold(child.pid);
      child.once("error", fail);
      child.once("spawn", () => resume(Effect.succeed(child)));
    } catch (error) {
      fail(error as NodeJS.ErrnoException);
    }
  });
}

function watch(
  child: ChildProcess,
  exit: Deferred.Deferred<ExecutorExit>,
  { sink, now }: { readonly sink: OutputSink; readonly now: () => number },
): void {
  const output = collectOutput(sink, now);
  child.stdout?.on("data", (bytes: Uint8Array) => output.take("stdout", bytes));
  child.stderr?.on("data", (bytes: Uint8Array) => output.take("stderr", bytes));
  child.on("error", () => {/* a signal that could not be sent; the exit is still to come */});
  child.once("exit", (code, signal) => {
    // What it started in its group ends with it; the group's number stays taken while one of them lives.
    const pid = child.pid as number;
    signalGroup(pid, "SIGKILL");
    groups.delete(pid);
    let told = false;
    const tell = () => {
      if (told) return;
      told = true;
      clearTimeout(timer);
      child.stdout?.destroy();
      child.stderr?.destroy();
      output.end();
      Deferred.doneUnsafe(exit, Effect.succeed({ code, signal, tail: output.tail() }));
    };
    const timer = setTimeout(tell, drainMs);
    child.once("close", tell);
  });
}

function executor(pid: number, exit: Deferred.Deferred<ExecutorExit>, graceMs: number): Executor {
  const exited = Deferred.await(exit);
  const signal = (name: NodeJS.Signals) =>
    Effect.suspend(() => {
      if (groups.has(pid)) signalGroup(pid, name);
      return Effect.void;
    });
  const terminate = signal("SIGTERM").pipe(
    Effect.andThen(Effect.timeoutOrElse(exited, {
      duration: graceMs,
      orElse: () => Effect.andThen(signal("SIGKILL"), exited),
    })),
  );
  return { pid, exited, terminate };
}

function hold(pid: number): void {
  groups.add(pid);
  if (watchesExit) return;
  watchesExit = true;
  process.on("exit", () => {
    for (const group of groups) signalGroup(group, "SIGKILL");
  });
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch { /* nobody is left in it */ }
}
