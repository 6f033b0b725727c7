/**
 * Evaluates mutants, two at a time, in a copy of the tree.
 *
 * @module
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { applied, type Mutant } from "./mutants.ts";
import { type Ended, killWorkers, Worker } from "./pool.ts";

/** How a mutant fared. */
export interface Verdict {
  readonly id: string;
  readonly outcome: "killed" | "timed out" | "survived";
  /** The test file that noticed, or ran too long. */
  readonly by?: string | undefined;
}

/** The options of a run. */
export interface RunOptions {
  readonly root: string;
  readonly mutants: readonly Mutant[];
  readonly testsOf: (source: string) => readonly string[];
  /** When to take up no more mutants, on the clock of `performance.now`. */
  readonly endsAt: number;
  /** Test files after a failure of which the worker is thrown away: they hold sockets and processes. */
  readonly isApart: (test: string) => boolean;
  readonly onVerdict: (verdict: Verdict) => void;
  readonly say: (text: string) => void;
}

/** Mutants evaluated at once. */
const workersMax = 2;
/** Mutants that one process evaluates, and the memory above which it evaluates no more. */
const jobsMax = 80;
const rssMaxBytes = 900 * 1024 * 1024;
/** After so many killed mutants a process is asked whether the tests still pass in it without one. */
const killedMax = 15;
/** The time limit of a test file: a multiple of its usual time, plus milliseconds. */
const slower = 8;
const graceMs = 6_000;
/** How much longer the second trial of a mutant may take that took too long in the first. */
const patience = 4;
/** Nothing is known of a test's time yet. */
const unknownMs = 120_000;

/** The parts of the tree that a copy needs. */
const parts = ["pki", "transport", "actors", "scripts", "tests", "mod.ts", "package.json", "deno.json", "docs"];

/** Copies the tree, the packages and the worker into a new folder. The caller removes it. */
function layTree(root: string): string {
  const tree = mkdtempSync(join(tmpdir(), "hypha-mutants-"));
  mkdirSync(join(tree, "original"));
  for (const part of parts.filter((part) => existsSync(join(root, part)))) {
    cpSync(join(root, part), join(tree, "original", part), { recursive: true });
  }
  for (const file of ["package.json", "deno.json"]) {
    if (existsSync(join(root, file))) cpSync(join(root, file), join(tree, file));
  }
  symlinkSync(fileURLToPath(new URL("../../node_modules", import.meta.url)), join(tree, "node_modules"));
  for (const file of ["worker.ts", "job.ts"]) cpSync(fileURLToPath(new URL(file, import.meta.url)), join(tree, file));
  return tree;
}

interface Waiting {
  readonly mutant: Mutant;
  /** A process evaluates this mutant and no other. */
  readonly alone: boolean;
}

/** A test failed although nothing was changed. */
export class BrokenWithoutMutant extends Error {
  override readonly name = "BrokenWithoutMutant";
}

/** One process, and its kills since the last check. */
class Life {
  readonly worker: Worker;
  readonly killed: { readonly mutant: Mutant; readonly verdict: Verdict }[] = [];
  constructor(tree: string) {
    this.worker = new Worker(tree);
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #tree: string;
  readonly #ms = new Map<string, number>();
  #jobs = 0;

  constructor(options: RunOptions, tree: string) {
    this.#options = options;
    this.#tree = tree;
  }

  readonly #allowedMs = (test: string) => {
    const ms = this.#ms.get(test);
    return ms === undefined ? unknownMs : graceMs + slower * ms;
  };

  #run(worker: Worker, tests: readonly string[], mutant?: Mutant, times = 1): Promise<Ended> {
    this.#jobs += 1;
    const original = mutant && readFileSync(join(this.#tree, "original", mutant.file), "utf8");
    const change = mutant && { file: mutant.file, text: applied(original ?? "", mutant) };
    return worker.run({ job: this.#jobs, change, tests }, (test) => times * this.#allowedMs(test));
  }

  /** Runs every test by itself without a mutant, twice: a process's first run loads the packages. */
  async measure(tests: readonly string[]): Promise<void> {
    const left = [...tests];
    await inParallel(workersMax, async () => {
      const worker = new Worker(this.#tree);
      try {
        for (let test = left.shift(); test !== undefined; test = left.shift()) {
          const times: number[] = [];
          for (let round = 0; round < 2; round++) {
            const ended = await this.#run(worker, [test]);
            const failed = ended.type === "answered" ? ended.answer.failed?.what : `${ended.type}`;
            if (ended.type !== "answered" || failed !== undefined) {
              const died = ended.type === "died" ? ended.detail : "";
              throw new BrokenWithoutMutant(`${test} does not pass without a mutant: ${failed} ${died}`);
            }
            times.push(ended.answer.ms[test] ?? 0);
          }
          this.#ms.set(test, Math.min(...times));
        }
      } finally {
        worker.kill();
      }
    });
  }

  /** The tests of a source, the fastest first. */
  #ordered(source: string): readonly string[] {
    const ms = (test: string) => this.#ms.get(test) ?? Infinity;
    return this.#options.testsOf(source).toSorted((a, b) => ms(a) - ms(b));
  }

  async evaluate(): Promise<void> {
    const waiting: Waiting[] = this.#options.mutants.map((mutant) => ({ mutant, alone: false }));
    await inParallel(workersMax, async () => {
      let life: Life | undefined;
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        if (performance.now() > this.#options.endsAt) break;
        if (next.alone && life !== undefined) life = await this.#end(life, waiting);
        life ??= new Life(this.#tree);
        const stays = await this.#evaluateOne(life, next, waiting);
        if (life.killed.length >= killedMax) await this.#settle(life, waiting);
        if (next.alone || !stays || waiting.length === 0 || !life.worker.alive) life = await this.#end(life, waiting);
      }
      if (life !== undefined) await this.#end(life, waiting);
    });
  }

  /** Evaluates one mutant; returns whether the process may evaluate another. */
  async #evaluateOne(life: Life, next: Waiting, waiting: Waiting[]): Promise<boolean> {
    const { mutant, alone } = next;
    const { id } = mutant;
    const ended = await this.#run(life.worker, this.#ordered(mutant.file), mutant, alone ? patience : 1);
    if (ended.type !== "answered") {
      // The cause may be another mutant or a busy machine: each mutant gets a second trial.
      if (!alone) waiting.push({ mutant, alone: true });
      else if (ended.type === "timed out") this.#options.onVerdict({ id, outcome: "timed out" });
      else this.#options.onVerdict({ id, outcome: "killed", by: "its process died" });
      return false;
    }
    const { failed, rssBytes } = ended.answer;
    if (failed === undefined) this.#options.onVerdict({ id, outcome: "survived" });
    else life.killed.push({ mutant, verdict: { id, outcome: "killed", by: failed.test } });
    if (failed !== undefined && this.#options.isApart(failed.test)) return false;
    return life.worker.jobs < jobsMax && rssBytes < rssMaxBytes;
  }

  /**
   * The kills of a process count only where the failed tests still pass in it without a mutant. Otherwise one mutant may have
   * influenced the verdict of another, and each gets a new evaluation in a separate process. The mutants of a process that
   * died get a new evaluation too.
   */
  async #settle({ worker, killed }: Life, waiting: Waiting[]): Promise<void> {
    const open = killed.splice(0);
    if (open.length === 0) return;
    const first = worker.jobs === 1; // nothing went before it
    const tests = [...new Set(open.map(({ verdict }) => verdict.by ?? ""))];
    const control = first || !worker.alive ? undefined : await this.#run(worker, tests);
    const sound = first || (control?.type === "answered" && control.answer.failed === undefined);
    if (sound) { for (const { verdict } of open) this.#options.onVerdict(verdict); }
    else waiting.push(...open.map(({ mutant }) => ({ mutant, alone: control !== undefined })));
    if (!sound) worker.kill();
  }

  async #end(life: Life, waiting: Waiting[]): Promise<undefined> {
    await this.#settle(life, waiting);
    life.worker.kill();
    return undefined;
  }
}

async function inParallel(count: number, work: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, work));
}

/** Evaluates the mutants. Those that are left when the time is over have no verdict. */
export async function run(options: RunOptions): Promise<void> {
  const tree = layTree(options.root);
  const stop = () => {
    killWorkers();
    rmSync(tree, { recursive: true, force: true, maxRetries: 5 });
    process.exit(130);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, stop);
  try {
    const tests = [...new Set(options.mutants.flatMap(({ file }) => options.testsOf(file)))];
    const start = performance.now();
    const working = new Run(options, tree);
    await working.measure(tests);
    options.say(
      `${tests.length} test files pass without a mutant (${((performance.now() - start) / 1_000).toFixed(0)} s)`,
    );
    await working.evaluate();
  } finally {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, stop);
    killWorkers();
    rmSync(tree, { recursive: true, force: true, maxRetries: 5 });
  }
}
