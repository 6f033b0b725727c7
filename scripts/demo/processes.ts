/**
 * The processes of the demo: each started once, read line by line, and ended for certain.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import process from "node:process";
import type { Runtime } from "../check/runtimes.ts";
import { BrokenPromise } from "./broken_promise.ts";

export { runtimeBinary } from "./runtimes.ts";

/** One line of a node's JSON log. */
export interface LogEvent {
  readonly time: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

/** The folder of Node's compiled code: the second process of a kind starts in half the time. */
let compileCache: string | undefined;

/** Shares compiled code between the demo's processes, in a separate folder where the environment names none. */
export function shareCompiledCode(folder: string): void {
  compileCache = process.env["NODE_COMPILE_CACHE"] ?? folder;
}

const environment = () => ({
  ...process.env,
  ...(compileCache === undefined ? {} : { NODE_COMPILE_CACHE: compileCache }),
});

/** Every child that still runs; {@linkcode endAll} empties it. */
const running = new Set<ChildProcess>();

/** Process ids of the children that run. */
export const runningPids = (): readonly number[] => [...running].flatMap(({ pid }) => pid === undefined ? [] : [pid]);

/** How a command runs. */
export interface RunOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  /** Its standard input. */
  readonly input?: string;
}

/** Runs a command to its end. */
export function runOnce(
  command: string,
  args: readonly string[],
  { timeoutMs, cwd, input = "" }: RunOptions,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: environment(), cwd });
    running.add(child);
    child.stdin.on("error", () => {}); // it ended before it read all
    child.stdin.end(input);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const timer = setTimeout(() => kill(child, "SIGKILL"), timeoutMs);
    child.on("error", (error) => (stderr += error.message));
    child.on("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ code: code ?? 1, stdout, stderr });
    });
  });
}

/** A long-running node. */
export class NodeProcess {
  readonly name: string;
  readonly role: string;
  readonly runtime: Runtime;
  readonly events: LogEvent[] = [];
  readonly #child: ChildProcess;
  readonly #listeners = new Set<(event: LogEvent) => void>();
  readonly ended: Promise<number>;
  exitCode: number | undefined;
  /** The last line that was no event. */
  #lastLine = "";

  constructor(
    { name, role, runtime, command, args, logFile, cwd }: {
      name: string;
      role: string;
      runtime: Runtime;
      command: string;
      args: readonly string[];
      logFile: string;
      cwd?: string;
    },
  ) {
    this.name = name;
    this.role = role;
    this.runtime = runtime;
    // In a group of its own: a terminal's Ctrl-C is for the demo, which stops its nodes. With it they would get two signals.
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: environment(),
      cwd,
      detached: true,
    });
    this.#child = child;
    running.add(child);
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on("line", (line) => this.#read(line, logFile));
    }
    this.ended = new Promise((resolve) => {
      child.on("error", () => resolve(127));
      child.on("close", (code, signal) => {
        running.delete(child);
        this.exitCode = code ?? (signal === null ? 1 : 128);
        resolve(this.exitCode);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Why it ended, in its own words: its last error, or its last line. */
  get lastWords(): string {
    const error = this.events.findLast(({ level }) => level === "error");
    return String(error?.["message"] ?? this.#lastLine).split("\n")[0] || "it printed nothing";
  }

  #read(line: string, logFile: string): void {
    try {
      appendFileSync(logFile, `${line}\n`);
    } catch {
      // The file is a copy, for people: the disk may be full.
    }
    if (!line.startsWith("{")) {
      if (line.trim() !== "") this.#lastLine = line.trim();
      return;
    }
    try {
      const event = JSON.parse(line) as LogEvent;
      this.events.push(event);
      for (const listener of this.#listeners) listener(event);
    } catch {
      // A line that only looks like JSON stays in the log file.
    }
  }

  /** Calls `listener` for every event from now on. */
  listen(listener: (event: LogEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The first event, past or to come, that fits; refuses when the node ends or the time is over. */
  waitFor(fits: (event: LogEvent) => boolean, what: string, timeoutMs: number): Promise<LogEvent> {
    const past = this.events.find(fits);
    if (past !== undefined) return Promise.resolve(past);
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer);
        stop();
        act();
      };
      const late = () => reject(new BrokenPromise(`${this.name}: no ${what} within ${timeoutMs / 1_000} s`));
      const timer = setTimeout(() => finish(late), timeoutMs);
      const stop = this.listen((event) => {
        if (fits(event)) finish(() => resolve(event));
      });
      void this.ended.then((code) =>
        finish(() => reject(new BrokenPromise(`${this.name} ended (exit ${code}) before ${what}: ${this.lastWords}`)))
      );
    });
  }

  /** Has the node read its files again. */
  reload(): void {
    kill(this.#child, "SIGHUP");
  }

  /** Ends the node at once, as a crash would. */
  async kill(): Promise<void> {
    kill(this.#child, "SIGKILL");
    await this.ended;
  }

  /** Asks the node to drain, then ends it. */
  async stop(graceMs: number): Promise<void> {
    if (this.exitCode !== undefined) return;
    kill(this.#child, "SIGTERM");
    const timer = setTimeout(() => kill(this.#child, "SIGKILL"), graceMs);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Killed processes are gone within this, in milliseconds: a loaded machine removes a cell slowly. */
const endMaxMs = 5_000;
const endPollMs = 20;

/**
 * Ends every started process that still runs, including those that a killed worker left behind. Returns when all are gone,
 * or after {@linkcode endMaxMs} with the rest. It blocks, so that a signal handler can call it.
 */
export function endAll(folder: string): readonly string[] {
  for (const child of running) kill(child, "SIGKILL");
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const until = performance.now() + endMaxMs;
  for (;;) {
    // Looked for again each time: a worker may have started an executor while it was being killed.
    const left = survivors(folder);
    if (left.length === 0 || performance.now() > until) return left;
    for (const survivor of left) kill({ pid: Number(survivor.split(" ")[0]) }, "SIGKILL");
    Atomics.wait(sleeper, 0, 0, endPollMs);
  }
}

/** (Deno's own `child.kill` forgets how the process ended.) */
function kill({ pid }: { readonly pid?: number | undefined }, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended in the meantime.
  }
}

/** Processes on this machine whose command line or environment names `folder`: no process of the demo may survive it. */
export function survivors(folder: string): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      const ours = command.includes(folder) || environment.includes(folder);
      const state = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "")[0];
      return ours && state !== "Z" ? [`${pid} ${command.slice(0, 120)}`] : [];
    } catch {
      return []; // It ended while we looked.
    }
  });
}
