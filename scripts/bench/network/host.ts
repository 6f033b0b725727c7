/**
 * The processes of a network: the gateway's own program, and hosts with many nodes each.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { HostAnswer, HostCommand } from "./host_process.ts";

/** Longest that one command may take, in milliseconds. */
const commandMaxMs = 1_200_000;
/** How long a gateway may take to listen, in milliseconds. */
const listenMaxMs = 60_000;
/** Clock ticks in a second, and octets in a page, as Linux counts them on all machines that Node runs on. */
const ticksPerSecond = 100;
const pageBytes = 4_096;

function start(script: string, args: readonly string[]): ChildProcess {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { execPath } = process;
  // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
  const isDeno = "Deno" in globalThis;
  const program = isDeno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
  const flags = isDeno ? ["run", "-A", "--quiet"] : ["--no-warnings"];
  return spawn(program, [...flags, path, ...args], { stdio: ["pipe", "pipe", "pipe"] });
}

/** A process that hosts nodes. */
export class Host {
  readonly #child = start("./host_process.ts", []);
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

/** The gateway's program. */
export class GatewayProgram {
  readonly #child: ChildProcess;
  readonly address: string;

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  /** Starts it; resolves once it listens. */
  static async start(configPath: string): Promise<GatewayProgram> {
    const child = start("../../hypha_gateway.ts", ["run", "-c", configPath, "--log-format", "json"]);
    const listening = Promise.withResolvers<string>();
    let said = "";
    createInterface({ input: child.stderr! }).on("line", (line) => {
      said = `${said}${line}\n`.slice(-2_000);
      const address = /\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/\w+/.exec(line)?.[0];
      if (address !== undefined) listening.resolve(address);
    });
    child.on("exit", (code) => listening.reject(new Error(`the gateway ended with ${code}: ${said}`)));
    const timer = setTimeout(() => listening.reject(new Error(`the gateway does not listen: ${said}`)), listenMaxMs);
    return new GatewayProgram(child, await listening.promise.finally(() => clearTimeout(timer)));
  }

  /** Processor time so far, in milliseconds. */
  get cpuMs(): number {
    const [, rest = ""] = readFileSync(`/proc/${this.#child.pid}/stat`, "latin1").split(") ");
    const fields = rest.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond * 1_000;
  }

  /** Resident memory now, in octets. */
  get rssBytes(): number {
    return Number(readFileSync(`/proc/${this.#child.pid}/statm`, "latin1").split(" ")[1]) * pageBytes;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}
