/**
 * Runs test files in processes on Node and on Deno: each in one of its own, or several in one (`shared_processes.ts`).
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
  /** Added to the environment of each process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Puts files into groups that share a process; each has one of its own otherwise. */
  readonly group?: (files: readonly string[]) => readonly (readonly string[])[];
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

/** The line of a file's counts, as `scripts/test_file.ts` prints it. */
interface PrintedCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly lacking?: Lacking;
  /** Where the process ran several files. */
  readonly ms?: number;
}

const countsMark = "@counts ";

/** Where and how long a process runs. */
interface TestProcess {
  readonly runtime: Runtime;
  readonly timeoutMs: number;
  /** Added to its environment. */
  readonly added: Readonly<Record<string, string>>;
}

/** Runs files in one process. Those that it printed no counts of, if they are several, run alone then. */
async function runProcess(files: readonly string[], process: TestProcess): Promise<FileResult[]> {
  const { runtime, timeoutMs, added } = process;
  const env = { ...added, NO_COLOR: "1", FORCE_COLOR: "0", NODE_COMPILE_CACHE: compiled };
  const command = startable(findRuntime(runtime) ?? runtime);
  const args = [...runtimeFlags[runtime], "scripts/test_file.ts", ...files];
  const result = await runCommand(command, args, { env, timeoutMs });
  const stopped = result.code === stoppedCode && timeoutMs < fileTimeoutMs;
  const outputs = outputsOf(result.stdout);
  const results: FileResult[] = [];
  for (const [at, file] of files.entries()) {
    const { counts, text } = outputs[at] ?? { counts: undefined, text: "" };
    if (counts === undefined && files.length > 1) {
      results.push(...await runProcess([file], process));
      continue;
    }
    const base = { file, runtime, ms: counts?.ms ?? result.ms, stopped };
    const output = `${text}${at === files.length - 1 || counts === undefined ? result.stderr : ""}`;
    if (stopped) results.push({ ...base, passed: 0, failed: 0, skipped: 0, lacking: {}, output: "" });
    else if (counts === undefined) results.push({ ...base, passed: 0, failed: 1, skipped: 0, lacking: {}, output });
    else {
      const { passed, skipped, lacking = {} } = counts;
      const failed = Math.max(counts.failed, result.code === 0 || files.length > 1 ? 0 : 1);
      results.push({ ...base, passed, failed, skipped, lacking, output: failed > 0 ? output : "" });
    }
  }
  return results;
}

/** What each file printed, up to its counts; what follows the last counts belongs to a file that did not end. */
function outputsOf(stdout: string): readonly { readonly counts: PrintedCounts | undefined; readonly text: string }[] {
  const outputs: { counts: PrintedCounts | undefined; text: string }[] = [];
  let text = "";
  for (const line of stdout.split("\n")) {
    text += `${line}\n`;
    if (!line.startsWith(countsMark)) continue;
    outputs.push({ counts: JSON.parse(line.slice(countsMark.length)) as PrintedCounts, text });
    text = "";
  }
  return [...outputs, { counts: undefined, text }];
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

/** Runs every file on every runtime, `concurrency` processes at a time, and one of a file that waits beside them. */
export async function runTests(
  files: readonly string[],
  runtimes: readonly Runtime[],
  options: RunOptions,
): Promise<FileResult[]> {
  const { concurrency, onResult, waiting = new Set(), allowance = () => fileTimeoutMs } = options;
  const { group = (all) => all.map((file) => [file]), env: added = {} } = options;
  const jobs = runtimes.flatMap((runtime) => group(files).map((together) => ({ files: together, runtime })));
  const isWaiting = (job: typeof jobs[number]) => job.files.every((file) => waiting.has(file));
  const [waits, works] = [jobs.filter(isWaiting), jobs.filter((job) => !isWaiting(job))];
  const results: FileResult[] = [];
  /** Takes the jobs of one list, then those that are left of the other. */
  const worker = async (own: typeof jobs, others: typeof jobs) => {
    const next = () => own.shift() ?? others.shift();
    for (let job = next(); job !== undefined; job = next()) {
      const timeoutMs = Math.min(...job.files.map(allowance), fileTimeoutMs);
      if (timeoutMs <= 0) continue;
      for (const result of (await runProcess(job.files, { runtime: job.runtime, timeoutMs, added })).map(inCi)) {
        results.push(result);
        onResult(result);
      }
    }
  };
  const workers = Array.from({ length: concurrency }, () => worker(works, waits));
  await Promise.all(waits.length > 0 ? [...workers, worker(waits, [])] : workers);
  return results;
}
