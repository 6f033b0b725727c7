/**
 * Runs test files, each in a process of its own, on Node and on Deno.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { runCommand } from "./command.ts";

export type Runtime = "node" | "deno";

/** How one file ended on one runtime. */
export interface FileResult {
  readonly file: string;
  readonly runtime: Runtime;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly ms: number;
  /** What the file printed, when it failed or skipped. */
  readonly output: string;
}

/** The commands that run a script on each runtime; memory tests call `gc`. */
export const runtimeCommands: Record<Runtime, readonly string[]> = {
  node: ["node", "--expose-gc", "--no-warnings"],
  deno: ["deno", "run", "-A", "--no-check", "--quiet", "--v8-flags=--expose-gc"],
};

/** Longest time for one file on one runtime, in milliseconds. */
const fileTimeoutMs = 300_000;

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

async function runFile(file: string, runtime: Runtime): Promise<FileResult> {
  const [command = "", ...args] = runtimeCommands[runtime];
  const env = { NO_COLOR: "1", FORCE_COLOR: "0" };
  const result = await runCommand(command, [...args, "scripts/test_file.ts", file], { env, timeoutMs: fileTimeoutMs });
  const line = result.stdout.split("\n").findLast((text) => text.startsWith("@counts "));
  const counts = line === undefined ? undefined : JSON.parse(line.slice("@counts ".length));
  const base = { file, runtime, ms: result.ms };
  const output = `${result.stdout}${result.stderr}`;
  if (counts === undefined) return { ...base, passed: 0, failed: 1, skipped: 0, output };
  const { passed, skipped } = counts;
  const failed = Math.max(counts.failed, result.code === 0 ? 0 : 1);
  return { ...base, passed, failed, skipped, output: failed + skipped > 0 ? output : "" };
}

/** Runs every file on every runtime, `concurrency` at a time. In CI a skipped test is a failed one. */
export async function runTests(
  files: readonly string[],
  runtimes: readonly Runtime[],
  { concurrency, onResult }: { concurrency: number; onResult: (result: FileResult) => void },
): Promise<FileResult[]> {
  const jobs = runtimes.flatMap((runtime) => files.map((file) => ({ file, runtime })));
  const results: FileResult[] = [];
  const worker = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      const result = await runFile(job.file, job.runtime);
      const strict = process.env["CI"] !== undefined && result.skipped > 0;
      const counted = strict ? { ...result, failed: result.failed + result.skipped, skipped: 0 } : result;
      results.push(counted);
      onResult(counted);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return results;
}
