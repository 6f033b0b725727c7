/**
 * A process that reads lines and answers each with a line of JSON.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** How a process is started. */
interface LineProcessOptions {
  /** Takes a line that answers nothing; false: it is an answer. */
  readonly unasked?: (line: string) => boolean;
}

/** A child process. */
export class LineProcess {
  readonly #child: ChildProcess;
  readonly #lines: ((line: string) => void)[] = [];
  exits = 0;

  constructor(program: string, args: readonly string[], { unasked = () => false }: LineProcessOptions = {}) {
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.on("exit", () => this.exits += 1);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      if (!unasked(line)) this.#lines.shift()?.(line);
    });
  }

  /** Waits for its next line. */
  next<T>(withinMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${withinMs / 1_000} s`)), withinMs);
      this.#lines.push((line) => {
        clearTimeout(timer);
        resolve(JSON.parse(line));
      });
    });
  }

  send(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** Tells it to end, by this line or by the end of its input, and kills it after the grace. */
  async end(line: string | undefined, graceMs: number): Promise<void> {
    this.#child.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (line === undefined) this.#child.stdin!.end();
    else this.send(line);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, graceMs).unref())]);
    this.#child.kill("SIGKILL");
  }
}

/** The flags of a runtime for a script that collects garbage when it is told to. */
export function flagsOf(runtime: "node" | "deno"): readonly string[] {
  return runtime === "deno" ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"] : ["--no-warnings", "--expose-gc"];
}
