/**
 * Runs test files, each in a separate process, on Node and on Deno.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { runCommand, stoppedCode } from "./command.ts";
import type { Lacking } from "./coverage.ts";
import { findRuntime, type Runtime, startable } from "./runtimes.ts";

/** How one file ended on one runtime. */
export interface FileResult {
  readonly file: string;
  readonly runtime: Runtime;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** The tools that its tests need and this machine lacks. */
  readonly lacking: Lacking;
  readonly ms: number;
  /** Whether it was ended because its allowance was over: neither passed nor failed. */
  readonly stopped: boolean;
  /** The output of a file that failed. */
  readonly output: string;
}

/** The arguments with which a runtime runs a script; memory tests call `gc`. */
export const runtimeFlags: Record<Runtime, readonly string[]> = {
  node: ["--expose-gc", "--no-warnings"],
  deno: ["run", "-A", "--no-check", "--quiet", "--v8-flags=--expose-gc"],
};

/** Node compiles a module once for all test files: 0.15 s of each. Deno has its own cache. */
const compiled = resolve("node_modules/.cache/node-compile");
/** Longest time for one file on one runtime, in milliseconds. */
const fileTimeoutMs = 300_000;

/** How files are run. */
export interface RunOptions {
  readonly concurrency: number;
  readonly onResult: (result: FileResult) => void;
  /** Files that wait most of their time: one of them runs beside the others, whose processors it hardly takes. */
  readonly waiting?: ReadonlySet<string>;
  /** Asked before each file: how long it may take, in milliseconds, where that is less than usual; 0 leaves it out. */
  readonly allowance?: (file: string) => number;
}

/** Every `*.test.ts` under a folder, sorted; fixtures and support files are not tests. */
export function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return testFiles(path);
      return entry.name.endsWith(".test.ts") ? [path] : [];
    })
    .sort();
}

async function runFile(file: string, runtime: Runtime, timeoutMs: number): Promise<FileResult> {
  const env = { NO_COLOR: "1", FORCE_COLOR: "0", NODE_COMPILE_CACHE: compiled };
  const command = startable(findRuntime(runtime) ?? runtime);
  const args = [...runtimeFlags[runtime], "scripts/test_file.ts", file];
  const result = await runCommand(command, args, { env, timeoutMs });
  const line = result.stdout.split("\n").findLast((text) => text.startsWith("@counts "));
  const counts = line === undefined ? undefined : JSON.parse(line.slice("@counts ".length));
  const stopped = result.code === stoppedCode && timeoutMs < fileTimeoutMs;
  const base = { file, runtime, ms: result.ms, stopped };
  const output = `${result.stdout}${result.stderr}`;
  if (stopped) return { ...base, passed: 0, failed: 0, skipped: 0, lacking: {}, output: "" };
  if (counts === undefined) return { ...base, passed: 0, failed: 1, skipped: 0, lacking: {}, output };
  const { passed, skipped, lacking = {} } = counts;
  const failed = Math.max(counts.failed, result.code === 0 ? 0 : 1);
  return { ...base, passed, failed, skipped, lacking, output: failed > 0 ? output : "" };
}

/** Whether this is CI, where nothing may be missing. */
export const isCi = (): boolean => !["", "false", undefined].includes(process.env["CI"]);

/** In CI nothing may be left out: a skipped test is a failed one, and so is a file that lacked something. */
function inCi(result: FileResult): FileResult {
  const { skipped } = result;
  const tools = Object.keys(result.lacking);
  if (!isCi() || skipped + tools.length === 0) return result;
  const output = `${result.output}CI is set, and ${
    tools.join(", ") || "something"
  } is missing: no test may be left out\n`;
  return { ...result, failed: result.failed + Math.max(skipped, 1), skipped: 0, output };
}

/** Runs every file on every runtime, `concurrency` at a time, and one of those that wait beside them. */
export async function runTests(
  files: readonly string[],
  runtimes: readonly Runtime[],
  { concurrency, onResult, waiting = new Set(), allowance = () => fileTimeoutMs }: RunOptions,
): Promise<FileResult[]> {
  const jobs = runtimes.flatMap((runtime) => files.map((file) => ({ file, runtime })));
  const [waits, works] = [jobs.filter(({ file }) => waiting.has(file)), jobs.filter(({ file }) => !waiting.has(file))];
  const results: FileResult[] = [];
  /** Takes the files of one list, then those that are left of the other. */
  const worker = async (own: typeof jobs, others: typeof jobs) => {
    const next = () => own.shift() ?? others.shift();
    for (let job = next(); job !== undefined; job = next()) {
      const timeoutMs = Math.min(allowance(job.file), fileTimeoutMs);
      if (timeoutMs <= 0) continue;
      const result = inCi(await runFile(job.file, job.runtime, timeoutMs));
      results.push(result);
      onResult(result);
    }
  };
  const workers = Array.from({ length: concurrency }, () => worker(works, waits));
  await Promise.all(waits.length > 0 ? [...workers, worker(waits, [])] : workers);
  return results;
}
