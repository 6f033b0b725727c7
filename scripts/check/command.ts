/**
 * Child processes for the build tools: bounded in time, output kept. None runs on after its tool.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";

/** The exit code of a command whose time was over, as `timeout` has it. */
export const stoppedCode = 124;

/** The result of a command. `code` is {@linkcode stoppedCode} after a timeout. */
interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** How a command runs. */
interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Called with the text on standard error, as the command writes it. */
  readonly onStderr?: (text: string) => void;
}

const outputMax = 4_000_000;

/** How long commands may take to end after the tool got a signal, in milliseconds. */
const leaveMs = 3_000;
/** The processes of the commands that run: each leads a group. */
const running = new Set<number>();
/** Ends this process. Undefined until a signal came. */
let finish: (() => never) | undefined;

function signalGroups(groups: Iterable<number>, signal: NodeJS.Signals): void {
  for (const group of groups) {
    try {
      process.kill(-group, signal);
    } catch {
      // It ended in the meantime.
    }
  }
}

/** Commands end in order first: tests and tools have programs of their own, in other groups. A second signal kills what is left. */
function leave(code: number): void {
  finish?.();
  const groups = [...running];
  finish = () => {
    signalGroups(groups, "SIGKILL");
    process.exit(code);
  };
  signalGroups(groups, "SIGTERM");
  setTimeout(finish, leaveMs);
}

const listeners: readonly (readonly [string, () => void])[] = [
  ["SIGINT", () => leave(130)],
  ["SIGTERM", () => leave(143)],
  ["SIGHUP", () => leave(129)],
  ["exit", () => signalGroups(running, "SIGKILL")],
];

/** While no command runs, signals are the caller's. */
function follow(pid: number): void {
  if (running.size === 0) { for (const [event, listener] of listeners) process.on(event, listener); }
  running.add(pid);
}

function forget(pid: number): void {
  running.delete(pid);
  if (running.size > 0) return;
  finish?.();
  for (const [event, listener] of listeners) process.off(event, listener);
}

/** Runs a command to its end; kills its whole process group when its time is over. After a signal to this process it does not come back. */
export function runCommand(
  command: string,
  args: readonly string[],
  { cwd, env, timeoutMs, onStderr = () => {} }: CommandOptions,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    if (finish !== undefined) return;
    const start = performance.now();
    const child = spawn(command, args, {
      ...(cwd === undefined ? {} : { cwd }),
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let stdout = "";
    let stderr = "";
    let late = false;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (stdout.length < outputMax) stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (stderr.length < outputMax) stderr += text;
      onStderr(text);
    });
    const timer = setTimeout(() => {
      late = true;
      if (child.pid !== undefined) signalGroups([child.pid], "SIGKILL");
    }, timeoutMs);
    if (child.pid !== undefined) follow(child.pid);
    const end = (code: number) => {
      clearTimeout(timer);
      if (child.pid !== undefined) forget(child.pid);
      if (finish === undefined) resolve({ code, stdout, stderr, ms: performance.now() - start });
    };
    child.on("error", (error) => {
      stderr += `Cannot run ${command}: ${error.message}\n`;
      end(127);
    });
    child.on("close", (code) => {
      if (late) stderr += `\nStopped after ${timeoutMs / 1_000} s: it did not end by itself\n`;
      end(late ? stoppedCode : code ?? 1);
    });
  });
}
