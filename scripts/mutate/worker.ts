/**
 * Evaluates mutants in one process, one after the other: `worker.ts TREE`, a job a line on standard input, an answer a line
 * on standard output.
 *
 * Starting a process and loading the packages costs a second, a mutant's tests a few hundred milliseconds. So the packages
 * stay loaded, and the worker loads our modules again for each mutant, from a separate path: a copy of the tree of hard links
 * with the mutated file in place of the original. No module and no state of ours outlives its mutant.
 *
 * @module
 */
import { linkSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { type Answer, answerMark, type Job } from "./job.ts";

type Suite = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;

/** The reporter's mark of a test that failed. */
const failureMark = "✘";
/** Longest account of a failure. */
const whatMax = 300;

function linkTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) linkTree(join(from, entry.name), join(to, entry.name));
    else if (entry.isFile()) linkSync(join(from, entry.name), join(to, entry.name));
  }
}

/** The tree's copy for one mutant. */
function grow(tree: string, { job, change }: Job): string {
  const own = join(tree, `mutant-${process.pid}-${job}`);
  linkTree(join(tree, "original"), own);
  symlinkSync(join(tree, "node_modules"), join(own, "node_modules"));
  if (change !== undefined) {
    rmSync(join(own, change.file)); // the link, not the file behind it
    writeFileSync(join(own, change.file), change.text);
  }
  return own;
}

let trouble: string | undefined;
const note = (what: string) => (error: unknown) => {
  trouble ??= `${what}: ${error instanceof Error ? error.message : String(error)}`;
};
process.on("uncaughtException", note("uncaught exception"));
process.on("unhandledRejection", note("unhandled rejection"));

const say = process.stdout.write.bind(process.stdout);
let ending = false;
/** uvu runs a suite to its end. It writes its marks through this: throwing at a failure ends the suite, hooks and all. */
process.stdout.write = ((text: string | Uint8Array) => {
  if (!ending && typeof text === "string" && text.includes(failureMark)) throw new Error("a test failed");
  return true;
}) as typeof process.stdout.write;

/** Runs one file. Returns the failure, or undefined. */
async function runFile(path: string): Promise<string | undefined> {
  const queue: Suite[][] = [[]];
  Object.assign(globalThis, { UVU_DEFER: 1, UVU_QUEUE: queue });
  let count = 0;
  try {
    await import(pathToFileURL(path).href);
    for (const suite of queue.flat()) {
      const [errors, passed, , total] = await suite();
      if (typeof errors === "string") return errors;
      if (passed !== total) return "a before hook threw";
      if (trouble !== undefined) return trouble;
      count += total;
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return count === 0 ? "no test ran" : trouble;
}

async function evaluate(tree: string, job: Job): Promise<Answer> {
  const own = grow(tree, job);
  process.chdir(own);
  const ms: Record<string, number> = {};
  let failed: Answer["failed"];
  trouble = undefined;
  for (const test of job.tests) {
    say(`${answerMark}${JSON.stringify({ job: job.job, begins: test })}\n`);
    const start = performance.now();
    const what = await runFile(join(own, test));
    ms[test] = performance.now() - start;
    if (what === undefined) continue;
    failed = { test, what: what.slice(0, whatMax) };
    break;
  }
  process.chdir(tree);
  rmSync(own, { recursive: true, force: true });
  return { job: job.job, failed, ms, rssBytes: process.memoryUsage().rss };
}

const tree = process.argv[2];
if (tree !== undefined) {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await evaluate(tree, JSON.parse(line) as Job);
    say(`${answerMark}${JSON.stringify(answer)}\n`);
  }
  ending = true;
  process.exit(0);
}
