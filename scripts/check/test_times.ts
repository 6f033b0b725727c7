/**
 * The times of test files. They are kept from run to run; the slowest files, and those over the limit, are reported.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Runtime } from "./runtimes.ts";

/** The time of a file on a runtime. */
interface TimedFile {
  readonly file: string;
  readonly runtime: Runtime;
  readonly ms: number;
}

/** Below node_modules: known on this machine, gone with an installation. */
const memory = "node_modules/.cache/hypha/test_times.json";
const list = "scripts/check/slow_files.json";
const waitingList = "scripts/check/waiting_files.json";
/** A file that nothing is known of, in milliseconds: half of all files take less. */
const unknownMs = 3_000;
const slowestMax = 10;

/** Longest time of a file on one runtime, unless {@linkcode slowFiles} lists it. */
const fileBudgetMs = 20_000;
/** A shared machine is noisy: only a file that takes three times its budget fails, and in CI alone. */
const toleranceInCi = 3;

type Times = Record<string, number>;

function read(path: string): Record<string, unknown> {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return {};
  }
}

/** Writes the measured times. Where the file cannot be written, they are lost. */
export function remember(results: readonly TimedFile[]): void {
  const times = read(memory) as Times;
  for (const { file, runtime, ms } of results) times[`${file} ${runtime}`] = Math.round(ms);
  try {
    mkdirSync(dirname(memory), { recursive: true });
    writeFileSync(memory, `${JSON.stringify(times, undefined, 1)}\n`);
  } catch {
    // The tree belongs to another user.
  }
}

/** The milliseconds that a file took on this machine the last time, or a guess. */
export function expectedMs(runtime: Runtime): (file: string) => number {
  const times = read(memory) as Times;
  const listed = slowFiles();
  return (file) => times[`${file} ${runtime}`] ?? (file in listed ? 2 * fileBudgetMs : unknownMs);
}

/** The files that may take longer than the budget, each with the reason. Throws where the list is missing or broken. */
export function slowFiles(): Readonly<Record<string, string>> {
  return JSON.parse(readFileSync(list, "utf8")) as Record<string, string>;
}

/** The files that take less than half a processor while they run. Throws where the list is missing or broken. */
export function waitingFiles(): ReadonlySet<string> {
  return new Set(JSON.parse(readFileSync(waitingList, "utf8")) as string[]);
}

/** Files in the order in which they begin: the listed slow ones first, so that none of them is alone at the end. */
export function slowFirst(files: readonly string[]): readonly string[] {
  const listed = slowFiles();
  return [...files.filter((file) => file in listed), ...files.filter((file) => !(file in listed))];
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1).padStart(6)} s`;

/** The slowest ten, slowest first, one line each. */
export function slowestLines(results: readonly TimedFile[]): readonly string[] {
  const slowest = results.toSorted((a, b) => b.ms - a.ms).slice(0, slowestMax);
  return slowest.map(({ file, runtime, ms }) => `${seconds(ms)}  ${file} [${runtime}]`);
}

/** Files over their budget without a listed reason; `fails` if the excess is too large for machine noise. */
export function overBudget(
  results: readonly TimedFile[],
  listed: Readonly<Record<string, string>>,
): readonly { readonly line: string; readonly fails: boolean }[] {
  return results.filter(({ file, ms }) => ms > fileBudgetMs && !(file in listed)).map(({ file, runtime, ms }) => ({
    line: `${file} [${runtime}] took ${seconds(ms).trim()}, more than ${fileBudgetMs / 1_000} s: make it faster, or ` +
      `give the reason in ${list}`,
    fails: ms > toleranceInCi * fileBudgetMs,
  }));
}
