/**
 * The processes of a siege: the node under attack, and its attackers.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Footprint } from "./victim.ts";

/** A process that reads lines and answers each with a line of JSON. */
class LineProcess {
  readonly #child: ChildProcess;
  readonly #lines: ((line: string) => void)[] = [];
  exits = 0;

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.on("exit", () => this.exits += 1);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#lines.shift()?.(line));
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

  async end(line: string | undefined, graceMs: number): Promise<void> {
    this.#child.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (line === undefined) this.#child.stdin!.end();
    else this.send(line);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, graceMs).unref())]);
    this.#child.kill("SIGKILL");
  }
}

const answerMs = 30_000;
const graceMs = 3_000;
const scriptAt = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The node under attack. */
export class Victim {
  readonly #process: LineProcess;

  /** @param file Its setup; see `victim.ts`. */
  constructor(runtime: "node" | "deno", program: string, file: string, timeoutMs: number) {
    const flags = runtime === "deno"
      ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"]
      : ["--no-warnings", "--expose-gc"];
    this.#process = new LineProcess(program, [...flags, scriptAt("victim.ts"), file, String(timeoutMs)]);
  }

  get exits(): number {
    return this.#process.exits;
  }

  /** Its first line, when it listens. */
  started(): Promise<{ readonly addresses: readonly string[] }> {
    return this.#process.next(answerMs);
  }

  /** Makes it dial. Returns `let in`, or the code of the refusal. */
  dial(address: string): Promise<string> {
    this.#process.send(`dial ${address}`);
    return this.#process.next(answerMs);
  }

  footprint(): Promise<Footprint> {
    this.#process.send("footprint");
    return this.#process.next(answerMs);
  }

  stop(): Promise<void> {
    return this.#process.end("stop", graceMs);
  }
}

/** Longest that one assault may take, in milliseconds. */
const assaultMs = 15 * 60_000;

/** The attackers. They run on Node, because a socket of Deno cannot choose its local address. */
export class Attackers {
  readonly #process: LineProcess;

  /** @param file Their world; see `attacker.ts`. */
  constructor(node: string, file: string) {
    this.#process = new LineProcess(node, ["--no-warnings", scriptAt("attacker.ts"), file]);
  }

  /** Attacks `count` times. Returns the forbidden results. */
  async assail(id: string, count: number): Promise<readonly string[]> {
    this.#process.send(JSON.stringify({ id, count }));
    const { problems } = await this.#process.next<{ readonly problems: readonly string[] }>(assaultMs);
    return problems;
  }

  stop(): Promise<void> {
    return this.#process.end(undefined, graceMs);
  }
}
