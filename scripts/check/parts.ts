/**
 * The parts of a run: their counts, their times, and the summary.
 *
 * @module
 */
import process from "node:process";
import { runCommand } from "./command.ts";
import { type Lacking, sumLacking } from "./coverage.ts";
import { remember, slowestLines, waitingFiles } from "./test_times.ts";
import { type FileResult, type RunOptions, runTests } from "./test_runner.ts";
import type { Runtime } from "./runtimes.ts";

/** The counts of a part. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** A part that ended. */
export interface Part extends Counts {
  readonly name: string;
  readonly seconds: number;
}

const commandMs = 240_000;
const concurrency = 2;

/** All parts of one run. */
export class Parts {
  readonly say: (text: string) => void;
  readonly parts: Part[] = [];
  readonly files: FileResult[] = [];
  readonly #start = performance.now();

  /** @param say Called with progress, one or more lines at a time. */
  constructor(say: (text: string) => void) {
    this.say = say;
  }

  /** Seconds since the run began. */
  get seconds(): number {
    return (performance.now() - this.#start) / 1_000;
  }

  get lacking(): Lacking {
    return sumLacking(this.files.map(({ lacking }) => lacking));
  }

  /** Sums one count over all parts. */
  total(key: keyof Counts): number {
    return this.parts.reduce((sum, part) => sum + part[key], 0);
  }

  /** Runs a part and reports its result. */
  async part(name: string, work: () => Counts | Promise<Counts>): Promise<void> {
    const start = performance.now();
    const counts = await work();
    const seconds = (performance.now() - start) / 1_000;
    this.parts.push({ name, ...counts, seconds });
    this.say(`${counts.failed === 0 ? "ok  " : "FAIL"} ${name} (${seconds.toFixed(1)} s)`);
  }

  /** A command that passes by ending with 0. */
  command(name: string, [command, ...args]: readonly [string, ...string[]]): Promise<void> {
    return this.part(name, async () => {
      const result = await runCommand(command, args, { env: { NO_COLOR: "1" }, timeoutMs: commandMs });
      if (result.code !== 0) this.say(`${result.stdout}${result.stderr}`);
      return { passed: result.code === 0 ? 1 : 0, failed: result.code === 0 ? 0 : 1, skipped: 0 };
    });
  }

  /** Test files on one runtime. */
  tests(
    runtime: Runtime,
    chosen: readonly string[],
    more: Pick<RunOptions, "allowance" | "group" | "env"> = {},
  ): Promise<void> {
    const onResult = ({ file, passed, failed, skipped, ms, output }: FileResult) => {
      const counts = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
      this.say(`  ${failed === 0 ? "ok  " : "FAIL"} ${file} [${runtime}] ${counts} (${(ms / 1_000).toFixed(1)} s)`);
      if (output !== "") this.say(output.replace(/^/gm, "    "));
    };
    return this.part(`tests on ${runtime}`, async () => {
      const options = {
        concurrency,
        onResult,
        waiting: waitingFiles(),
        ...more,
      };
      const results = await runTests(chosen, [runtime], options);
      this.files.push(...results);
      remember(results.filter(({ failed, skipped }) => failed + skipped === 0));
      const sum = (key: keyof Counts) => results.reduce((total, result) => total + result[key], 0);
      return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
    });
  }

  /** Prints the slowest files, the time of each part, and the tests that are left out. */
  closing(notCovered: readonly string[]): void {
    if (this.files.length > 1) {
      this.say(`Slowest of ${this.files.length} files:`);
      for (const line of slowestLines(this.files)) this.say(line);
    }
    if (this.parts.length > 1) {
      const slowest = this.parts.toSorted((a, b) => b.seconds - a.seconds);
      this.say(`Parts: ${slowest.map(({ name, seconds }) => `${name} ${seconds.toFixed(1)} s`).join(", ")}`);
    }
    for (const line of notCovered) this.say(line);
  }

  /** The last line, or the whole as JSON on standard output; sets the exit code. */
  end(json: boolean, runtimes: readonly Runtime[], notCovered: readonly string[]): void {
    const [passed, failed, skipped] = [this.total("passed"), this.total("failed"), this.total("skipped")];
    const seconds = Math.round(this.seconds);
    if (json) {
      const summary = { runtimes, passed, failed, skipped, seconds, notCovered, parts: this.parts };
      process.stdout.write(`${JSON.stringify(summary)}\n`);
    } else {
      this.say(`${seconds} s`);
      this.say(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
    }
    process.exitCode = failed === 0 ? 0 : 1;
  }
}
