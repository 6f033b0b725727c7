/**
 * A process that hosts many nodes of a network.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { basename, dirname } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { HostAnswer, HostCommand } from "./host_process.ts";

/** Longest that one command may take, in milliseconds. */
const commandMaxMs = 1_200_000;

function start(): ChildProcess {
  const path = fileURLToPath(new URL("./host_process.ts", import.meta.url));
  const { execPath } = process;
  // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
  const isDeno = "Deno" in globalThis;
  const program = isDeno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
  const flags = isDeno ? ["run", "-A", "--quiet"] : ["--no-warnings"];
  return spawn(program, [...flags, path], { stdio: ["pipe", "pipe", "pipe"] });
}

/** A process that hosts nodes. */
export class Host {
  readonly #child = start();
  readonly #lines = createInterface({ input: this.#child.stdout! });
  #pending: PromiseWithResolvers<string> | undefined;
  #errors = "";

  constructor() {
    this.#lines.on("line", (line) => this.#pending?.resolve(line));
    this.#child.stderr!.on("data", (piece) => this.#errors = `${this.#errors}${piece}`.slice(-2_000));
    this.#child.on("exit", (code) => this.#pending?.reject(new Error(`a host ended with ${code}: ${this.#errors}`)));
  }

  /** Tells it something; one command at a time. */
  async tell(command: HostCommand): Promise<HostAnswer> {
    const pending = this.#pending = Promise.withResolvers<string>();
    const late = () => pending.reject(new Error(`${command.do} takes longer than ${commandMaxMs} ms`));
    const timer = setTimeout(late, commandMaxMs);
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    const answer = JSON.parse(await pending.promise.finally(() => clearTimeout(timer))) as HostAnswer;
    if (answer.error !== undefined) throw new Error(`${command.do}: ${answer.error}`);
    return answer;
  }

  stop(): void {
    this.#pending = undefined;
    this.#child.kill("SIGKILL");
  }
}
