/**
 * Workers that evaluate mutants: started, timed, stopped and replaced.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { type Answer, answerMark, type Begun, type Job } from "./job.ts";

/** How a job ended. */
export type Ended =
  | { readonly type: "answered"; readonly answer: Answer }
  | { readonly type: "timed out" }
  | { readonly type: "died"; readonly detail: string };

/** Longest that a worker may take to start and to lay out a tree, in milliseconds. */
const startMs = 30_000;
const erroredMax = 2_000;

const flags = "Deno" in globalThis
  ? ["run", "-A", "--no-check", "--quiet", "--v8-flags=--expose-gc"]
  : ["--no-warnings", "--expose-gc"];

const alive = new Set<Worker>();

/** Ends every worker there is. */
export function killWorkers(): void {
  for (const worker of [...alive]) worker.kill();
}

/** One worker process. It takes one job at a time. */
export class Worker {
  readonly #child: ChildProcess;
  #errors = "";
  #settle: ((ended: Ended) => void) | undefined;
  #begins: ((test: string) => void) | undefined;
  #jobs = 0;
  #alive = true;

  /** @param tree The folder that `layTree` made. */
  constructor(tree: string) {
    this.#child = spawn(process.execPath, [...flags, join(tree, "worker.ts"), tree], {
      cwd: tree,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0", DENO_DIR: `${tree}/deno` },
      detached: true, // a separate group: the processes of its tests end with it
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-erroredMax);
    });
    this.#child.stdin?.on("error", () => {}); // it died; "close" reports it
    if (this.#child.stdout === null) throw new Error("a worker without output");
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const mark = line.indexOf(answerMark);
      if (mark < 0) return;
      const message = JSON.parse(line.slice(mark + answerMark.length)) as Answer | Begun;
      if ("begins" in message) this.#begins?.(message.begins);
      else this.#end({ type: "answered", answer: message });
    });
    alive.add(this);
    this.#child.on("error", (error) => this.#die(error.message));
    this.#child.on("close", (code, signal) => this.#die(`exit ${code ?? signal}: ${this.#errors.trim()}`));
  }

  /** Whether it can take a job. */
  get alive(): boolean {
    return this.#alive;
  }

  /** How many jobs it was given. */
  get jobs(): number {
    return this.#jobs;
  }

  /** Runs one job; it kills a worker that needs more than `allowedMs` for a test file. */
  run(job: Job, allowedMs: (test: string) => number): Promise<Ended> {
    return new Promise((resolve) => {
      const late = () => {
        this.kill();
        this.#end({ type: "timed out" });
      };
      let timer = setTimeout(late, startMs);
      this.#begins = (test) => {
        clearTimeout(timer);
        timer = setTimeout(late, allowedMs(test));
      };
      this.#settle = (ended) => {
        clearTimeout(timer);
        resolve(ended);
      };
      this.#jobs += 1;
      if (this.#alive) this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
      else this.#end({ type: "died", detail: "before its job" });
    });
  }

  /** Ends it and all processes of its tests. */
  kill(): void {
    this.#alive = false;
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, "SIGKILL");
    } catch {
      // It ended in the meantime.
    }
  }

  #die(detail: string): void {
    this.#alive = false;
    alive.delete(this);
    this.#end({ type: "died", detail });
  }

  #end(ended: Ended): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(ended);
  }
}
