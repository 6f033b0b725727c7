/**
 * Child processes for the build tools: bounded in time, output kept.
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

/** Runs a command to its end; kills its whole process group when its time is over. */
export function runCommand(
  command: string,
  args: readonly string[],
  { cwd, env, timeoutMs, onStderr = () => {} }: CommandOptions,
): Promise<CommandResult> {
  return new Promise((resolve) => {
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
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It ended in the meantime.
      }
    }, timeoutMs);
    const end = (code: number) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, ms: performance.now() - start });
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
