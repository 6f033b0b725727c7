/**
 * `openssl` and `hypha-certutil` as processes; the latter on the runtime that runs the test.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Console, Effect } from "effect";
import { programFile } from "./program_file.ts";

/** How a command ended. */
export interface CommandEnded {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const commandTimeoutMs = 60_000;
const scripts = fileURLToPath(new URL("../../scripts/", import.meta.url));

/** Node's compiled modules, compiled once for all tests: processes take half the time from the second on. */
const compiled = fileURLToPath(new URL("../../node_modules/.cache/node-compile", import.meta.url));

/** Runs a program to its end; whatever its exit code. */
function run(program: string, args: readonly string[], cwd: string, input = ""): Promise<CommandEnded> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_COMPILE_CACHE: compiled };
    const options = { cwd, env, timeout: commandTimeoutMs, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === "number") resolve({ code, stdout, stderr });
      else reject(error);
    });
    // A program that reads none of its input ends before it is written.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
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

/**
 * Runs `hypha-certutil` in this process, in the folder `cwd`: a twentieth of the time. What matters about the process
 * itself, its start, exit code and streams, is tested with {@linkcode certutil}.
 */
export async function certutilHere(cwd: string, ...args: readonly string[]): Promise<CommandEnded> {
  process.chdir(cwd);
  const { runCertutil } = await import("../../scripts/certutil/program.ts");
  const printed = { stdout: "", stderr: "" };
  const printer = (stream: "stdout" | "stderr") => (...values: readonly unknown[]) => {
    printed[stream] += `${values.join(" ")}\n`;
  };
  const console = { ...globalThis.console, log: printer("stdout"), error: printer("stderr") };
  const { code, notice } = await runCertutil(args, (effect) => Effect.provideService(effect, Console.Console, console));
  if (notice !== undefined) printed.stderr += `${notice}\n`;
  return { code, ...printed };
}

/** The same as {@linkcode certutil}, with something on its standard input. */
export function certutilWith(cwd: string, input: string, ...args: readonly string[]): Promise<CommandEnded> {
  return runScript(cwd, "hypha_certutil.ts", args, input);
}

/** The same as {@linkcode certutil}, from bash and with a redirection of bash's, which may open other descriptors. */
export function certutilThroughShell(
  cwd: string,
  redirection: string,
  ...args: readonly string[]
): Promise<CommandEnded> {
  const [self, ...words] = commandLine("hypha_certutil.ts", args);
  return run("bash", ["-c", `"$0" "$@" ${redirection}`, self, ...words], cwd);
}

/** Runs another program of `scripts/`, in the folder for temporary files. */
export function program(name: string, ...args: readonly string[]): Promise<CommandEnded> {
  return runScript(tmpdir(), name, args);
}

function runScript(cwd: string, name: string, args: readonly string[], input?: string): Promise<CommandEnded> {
  const [self, ...words] = commandLine(name, args);
  return run(self, words, cwd, input);
}

function commandLine(name: string, args: readonly string[]): readonly [string, ...string[]] {
  const deno = "Deno" in globalThis;
  // Deno's node:child_process rewrites command lines that begin with its own path.
  const self = deno ? `${dirname(process.execPath)}/./${basename(process.execPath)}` : process.execPath;
  const before = deno ? ["run", "--quiet", "--no-check", "-A"] : ["--no-warnings"];
  return [self, ...before, programFile(join(scripts, name)), ...args];
}
