/**
 * `openssl` and `hypha-certutil` as processes; the latter on the runtime that runs the test.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** How a command ended. */
export interface CommandEnded {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const commandTimeoutMs = 20_000;
const scripts = fileURLToPath(new URL("../../scripts/", import.meta.url));

/** Node's compiled modules, for the processes of this test alone: they take half the time from the second on. */
const compiled = mkdtempSync(join(tmpdir(), "hypha-compiled-"));
process.on("exit", () => rmSync(compiled, { recursive: true, force: true }));

/** Runs a program to its end; whatever its exit code. */
function run(program: string, args: readonly string[], cwd: string): Promise<CommandEnded> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_COMPILE_CACHE: compiled };
    const options = { cwd, env, timeout: commandTimeoutMs, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, stdout, stderr });
      else reject(error);
    });
    child.stdin?.end();
  });
}

/** Runs `openssl`. */
export function openssl(cwd: string, ...args: readonly string[]): Promise<CommandEnded> {
  return run("openssl", args, cwd);
}

/** Runs `openssl`, and fails the test where it does not end with 0. */
export async function opensslOk(cwd: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await openssl(cwd, ...args);
  if (code !== 0) throw new Error(`openssl ${args.join(" ")} ended with ${code}:\n${stdout}${stderr}`);
  return stdout + stderr;
}

/** Runs `hypha-certutil`. */
export function certutil(cwd: string, ...args: readonly string[]): Promise<CommandEnded> {
  return runScript(cwd, "hypha_certutil.ts", args);
}

/** Runs another program of `scripts/`, in the folder for temporary files. */
export function program(name: string, ...args: readonly string[]): Promise<CommandEnded> {
  return runScript(tmpdir(), name, args);
}

function runScript(cwd: string, name: string, args: readonly string[]): Promise<CommandEnded> {
  const deno = "Deno" in globalThis;
  // Deno's node:child_process rewrites command lines that begin with its own path.
  const self = deno ? `${dirname(process.execPath)}/./${basename(process.execPath)}` : process.execPath;
  const before = deno ? ["run", "--quiet", "--no-check", "-A"] : ["--no-warnings"];
  return run(self, [...before, join(scripts, name), ...args], cwd);
}
