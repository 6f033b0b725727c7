/**
 * The real programs as processes of the runtime that runs the test.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Role } from "../../pki/certificate.ts";
import { programFile } from "./program_file.ts";

/** How a program is started. */
export interface StartOptions {
  readonly cwd?: string;
  /** Laid over this process's environment without its `HYPHA_*`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Flags for `deno run`; all permissions by default. Node ignores them. */
  readonly permissions?: readonly string[];
  /** Another script than the role's own. */
  readonly script?: URL;
  /** It is killed after this, in milliseconds; two minutes by default. */
  readonly lifeMs?: number;
  /** It leads a process group of its own. */
  readonly detached?: boolean;
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One line of a JSON log. */
export interface LoggedEvent {
  readonly time: string;
  readonly level: string;
  readonly node: string;
  readonly event: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** A program that runs. */
export interface Running {
  readonly child: ChildProcess;
  readonly events: readonly LoggedEvent[];
  readonly ended: Promise<Ended>;
  /** Sends a signal. (Deno's own `child.kill` forgets how the process ended.) */
  signal(name: NodeJS.Signals): void;
  /** The first event of this name, past or to come, that fits; rejects with the log when the process ends or time does. */
  waitFor(event: string, fits?: (event: LoggedEvent) => boolean, timeoutMs?: number): Promise<LoggedEvent>;
}

/** Node compiles a program's modules once for all tests: a third of its start. Built programs lie in a folder that is removed, and so does this. */
const built = process.env["BUILT_PROGRAMS"];
const compileCache = {
  NODE_COMPILE_CACHE: built === undefined
    ? fileURLToPath(new URL("../../node_modules/.cache/node-compile", import.meta.url))
    : join(built, "compiled"),
};

/** Nothing that these tests start takes longer, on two cores shared by many: at a load of 27 a node took more than 30 s to start. */
const waitMs = 60_000;

/** All that were started: whoever ends the test ends them. */
const running = new Set<ChildProcess>();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Starts a role's program. */
export function startProgram(role: Role, args: readonly string[], options: StartOptions = {}): Running {
  const [command = "", ...rest] = programCommand(role, args, options);
  return startCommand(command, rest, options);
}

/** The command that starts a role's program. */
export function programCommand(
  role: Role,
  args: readonly string[],
  options: Pick<StartOptions, "permissions" | "script"> = {},
): readonly string[] {
  const script = programFile(options.script ?? new URL(`../../scripts/hypha_${role}.ts`, import.meta.url));
  const deno = "Deno" in globalThis;
  const before = deno ? ["run", "--quiet", "--no-check", ...(options.permissions ?? ["-A"])] : ["--no-warnings"];
  // Deno's node:child_process rewrites command lines that begin with its own path.
  const self = deno ? `${dirname(process.execPath)}/./${basename(process.execPath)}` : process.execPath;
  return [self, ...before, script, ...args];
}

/** Starts a command that becomes a role's program. */
export function startCommand(
  command: string,
  args: readonly string[],
  options: Omit<StartOptions, "permissions" | "script"> = {},
): Running {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("HYPHA_"));
  const child = spawn(command, args, {
    cwd: options.cwd ?? process.cwd(),
    env: { ...Object.fromEntries(inherited), ...compileCache, ...options.env } as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
    detached: options.detached ?? false,
  });
  return follow(child, options.lifeMs ?? 2 * waitMs);
}

/** Runs a role's program to its end. */
export function runProgramOnce(role: Role, args: readonly string[], options: StartOptions = {}): Promise<Ended> {
  return startProgram(role, args, options).ended;
}

function follow(child: ChildProcess, lifeMs: number): Running {
  running.add(child);
  const events: LoggedEvent[] = [];
  const listeners = new Set<() => void>();
  const output = { stdout: "", stderr: "" };
  let over = false;
  const tell = () => [...listeners].forEach((listener) => listener());
  for (const name of ["stdout", "stderr"] as const) {
    const stream = child[name];
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (line) => {
      output[name] += `${line}\n`;
      if (!line.startsWith("{")) return;
      events.push(JSON.parse(line) as LoggedEvent);
      tell();
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), lifeMs);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      over = true;
      resolve({ code, signal, ...output });
      tell();
    });
  });
  const waitFor: Running["waitFor"] = (name, fits = () => true, timeoutMs = waitMs) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const found = events.find((event) => event.event === name && fits(event));
        if (found === undefined && !over) return;
        done();
        if (found === undefined) reject(new Error(`ended without ${name}:\n${output.stderr}`));
        else resolve(found);
      };
      const timer = setTimeout(() => {
        done();
        reject(new Error(`no ${name} within ${timeoutMs} ms:\n${output.stderr}`));
      }, timeoutMs);
      const done = () => {
        clearTimeout(timer);
        listeners.delete(look);
      };
      listeners.add(look);
      look();
    });
  const signal = (name: NodeJS.Signals) => void (child.pid !== undefined && !over && process.kill(child.pid, name));
  return { child, events, ended, signal, waitFor };
}
