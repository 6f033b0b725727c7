/**
 * An executor's process. It has its own process group from the start and is ended as a group: SIGTERM first, SIGKILL after the
 * grace. A process that leaves its group (`setsid`) is contained by the cell (`cell/command_line.ts`), whose command waits at
 * a gate until the worker has recorded the process.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import type { Duplex } from "node:stream";
import { Data, Deferred, Effect, type Scope } from "effect";
import { gateFd, statusFd } from "./cell/command_line.ts";
import type { Command } from "./command.ts";
import { collectOutput, type OutputSink, readOutput } from "./output.ts";
import { plainText } from "./reason.ts";

/** How an executor ended. */
export interface ExecutorExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The end of its output. */
  readonly tail: string;
  /** Milliseconds from its start to its end. Absent in a simulation. */
  readonly lastedMs?: number;
}

/** A running executor. */
export interface Executor {
  readonly pid: number;
  /** Waits for its end, and that of its whole group. */
  readonly exited: Effect.Effect<ExecutorExit>;
  /** Ends it: SIGTERM to the group, SIGKILL after the grace. Returns when it has ended. */
  readonly terminate: Effect.Effect<ExecutorExit>;
  /** Ends it at once: SIGKILL to the group. Returns when it has ended. */
  readonly kill: Effect.Effect<ExecutorExit>;
}

/** The system did not start it. */
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

/** Output is waited for this long after the end: a process outside the group may hold the pipes open forever. */
const drainMs = 250;

/** Characters of bubblewrap's status that are read: its first line names the process. */
const statusCharactersMax = 4_096;

/** Running groups. They are killed when this process exits before it has ended them. */
const groups = new Set<number>();
let watchesExit = false;

/**
 * Starts a command and ends it with the scope.
 *
 * @param options.graceMs From SIGTERM to SIGKILL.
 * @param options.now Milliseconds by a clock that makes no steps, for the rate of the log.
 */
export function startExecutor(
  command: Command,
  options: {
    readonly sink: OutputSink;
    readonly now: () => number;
    readonly graceMs: number;
    /** Runs before the executor's own program starts, where the command has a gate. */
    readonly beforeGo?: (pid: number) => Effect.Effect<void>;
  },
): Effect.Effect<Executor, ExecutorNotStarted, Scope.Scope> {
  return Effect.gen(function* () {
    const started = yield* Effect.acquireRelease(
      Effect.gen(function* () {
        const exit = yield* Deferred.make<ExecutorExit>();
        const child = yield* spawnGroup(command);
        watch(child, exit, options);
        return { child, executor: executor(child, exit, options.graceMs) };
      }),
      ({ executor }) => executor.terminate,
    );
    const { pid, exited } = started.executor;
    if (command.gated === true) yield* Effect.raceFirst(atGate(started.child), neverAtGate(command.file, exited));
    yield* options.beforeGo?.(pid) ?? Effect.void;
    if (command.gated === true) (started.child.stdio[gateFd] as Duplex).write("go\n");
    return started.executor;
  });
}

/** The cell's chain has reached its gate: only the executor's program remains to be started. */
function atGate(child: ChildProcess): Effect.Effect<void> {
  return Effect.callback((resume) => {
    const gate = child.stdio[gateFd] as Duplex;
    const arrived = () => resume(Effect.void);
    gate.once("data", arrived);
    return Effect.sync(() => gate.off("data", arrived));
  });
}

function neverAtGate(file: string, exited: Executor["exited"]): Effect.Effect<never, ExecutorNotStarted> {
  return Effect.flatMap(exited, ({ code, signal, tail }) => {
    const output = plainText(tail).trim();
    return Effect.fail(
      new ExecutorNotStarted({
        file,
        code: "cell",
        detail: output === "" ? `its cell ended with ${code ?? signal}` : output,
      }),
    );
  });
}

function spawnGroup({ file, args, env, cwd, gated }: Command): Effect.Effect<ChildProcess, ExecutorNotStarted> {
  return Effect.callback((resume) => {
    const fail = (error: NodeJS.ErrnoException) =>
      resume(Effect.fail(new ExecutorNotStarted({ file, code: error.code ?? "unknown", detail: error.message })));
    try {
      const more: ["pipe", "pipe"] | [] = gated === true ? ["pipe", "pipe"] : [];
      const child = spawn(file, args, {
        detached: true,
        stdio: ["ignore", "pipe", "pipe", ...more],
        env: { ...env },
        ...(cwd === undefined ? {} : { cwd }),
      });
      for (const stream of child.stdio) stream?.on("error", () => {/* it ended: `exit` has the reason */});
      // The group is known before any other code runs: an exit now kills it.
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
  const readRest = readOutput(child, output, now);
  const startedAt = now();
  child.on("error", () => {/* a signal that could not be sent; the exit is still to come */});
  child.once("exit", (code, signal) => {
    // Its children in the group end with it. The group's number stays in use while one of them lives.
    const pid = child.pid as number, lastedMs = now() - startedAt;
    signalGroup(pid, "SIGKILL");
    groups.delete(pid);
    readRest();
    let told = false;
    const tell = () => {
      if (told) return;
      told = true;
      clearTimeout(timer);
      for (const stream of child.stdio) stream?.destroy();
      output.end();
      Deferred.doneUnsafe(exit, Effect.succeed({ code, signal, tail: output.tail(), lastedMs }));
    };
    const timer = setTimeout(tell, drainMs);
    child.once("close", tell);
  });
}

function executor(child: ChildProcess, exit: Deferred.Deferred<ExecutorExit>, graceMs: number): Executor {
  const pid = child.pid as number;
  const exited = Deferred.await(exit);
  const inside = innerProcess(child);
  const signal = (name: NodeJS.Signals) =>
    Effect.suspend(() => {
      if (!groups.has(pid)) return Effect.void;
      // A signal to bubblewrap would kill everything at once: SIGTERM goes to the executor itself.
      if (name === "SIGKILL" || !signalInside(inside(), name)) signalGroup(pid, name);
      return Effect.void;
    });
  const kill = Effect.andThen(signal("SIGKILL"), exited);
  const terminate = signal("SIGTERM").pipe(
    Effect.andThen(Effect.timeoutOrElse(exited, { duration: graceMs, orElse: () => kill })),
  );
  return { pid, exited, terminate, kill };
}

/** The first process of bubblewrap's namespace, once bubblewrap reported it. */
function innerProcess(child: ChildProcess): () => number | undefined {
  const status = child.stdio[statusFd];
  let output = "", found: number | undefined;
  status?.on("data", (bytes: Uint8Array) => {
    if (found !== undefined || output.length > statusCharactersMax) return;
    output += new TextDecoder().decode(bytes);
    const [, pid] = /"child-pid"\s*:\s*([0-9]+)/.exec(output) ?? [];
    if (pid !== undefined) found = Number(pid);
  });
  return () => found;
}

/** Signals the children of a process; false where that reached none. */
function signalInside(pid: number | undefined, signal: NodeJS.Signals): boolean {
  if (pid === undefined) return false;
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
    for (const child of children) process.kill(Number(child), signal);
    return children.length > 0;
  } catch {
    return false;
  }
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
  } catch { /* the group is empty */ }
}
