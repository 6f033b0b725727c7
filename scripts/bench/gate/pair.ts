/**
 * Two ends in two processes, and what they can be made to do.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { basename, dirname } from "node:path";
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Answer, Command } from "./end_process.ts";
import type { EndSetup, Way } from "./endpoint.ts";

/** Longest that one command may take, in milliseconds. */
const commandMaxMs = 300_000;

/** A process with one end in it. */
export class EndProcess {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  #resolve: ((line: string) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor() {
    const script = fileURLToPath(new URL("./end_process.ts", import.meta.url));
    const { execPath } = process;
    const deno = "Deno" in globalThis;
    // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
    const program = deno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
    const flags = deno ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"] : ["--no-warnings", "--expose-gc"];
    this.#child = spawn(program, [...flags, script], { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! });
    this.#lines.on("line", (line) => this.#resolve?.(line));
    this.#child.on("exit", (code) => this.#reject?.(new Error(`an end's process ended with ${code}`)));
  }

  /** Tells it something; one command at a time. */
  async tell(command: Command): Promise<Answer> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const line = await new Promise<string>((resolve, reject) => {
      [this.#resolve, this.#reject] = [resolve, reject];
      timer = setTimeout(() => reject(new Error(`${command.do} takes longer than ${commandMaxMs} ms`)), commandMaxMs);
      this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
    }).finally(() => clearTimeout(timer));
    const answer = JSON.parse(line) as Answer;
    if (answer.error !== undefined) throw new Error(`${command.do}: ${answer.error}`);
    return answer;
  }

  /** Ends it. */
  stop(): void {
    this.#reject = undefined;
    this.#lines.close();
    this.#child.kill("SIGKILL");
  }
}

/** What a round of handshakes cost. */
export interface HandshakesMeasured {
  readonly perSecond: number;
  /** Processor time of one, in microseconds: of both ends, and of the listener alone. */
  readonly cpuUs: number;
  readonly listenerCpuUs: number;
  readonly latencies: readonly number[];
}

/** What a round of sending came to, in megabytes. */
export interface ThroughputMeasured {
  readonly perSecond: number;
  readonly perCpuSecond: number;
}

/** A listener and a dialler. */
export class Pair {
  readonly way: Way;
  readonly listener = new EndProcess();
  readonly dialler = new EndProcess();
  #address = "";

  constructor(way: Way) {
    this.way = way;
  }

  get address(): string {
    return this.#address;
  }

  /** Sets both ends up. */
  async begin(
    listener: Omit<EndSetup, "way" | "listens">,
    dialler: Omit<EndSetup, "way" | "listens">,
  ): Promise<void> {
    const { way } = this;
    const dials = way === "limited" ? "ours" : way;
    const [{ address }] = await Promise.all([
      this.listener.tell({ do: "setup", setup: { ...listener, way, listens: true } }),
      this.dialler.tell({ do: "setup", setup: { ...dialler, way: dials, listens: false } }),
    ]);
    this.#address = address;
  }

  /** What a command to the dialler takes, and costs each end in processor time. */
  async #both(command: Command): Promise<Answer & { readonly listenerCpuUs: number; readonly diallerCpuUs: number }> {
    const [theirs, ours] = await Promise.all([this.listener.tell({ do: "cpu" }), this.dialler.tell({ do: "cpu" })]);
    const answer = await this.dialler.tell(command);
    const after = await this.listener.tell({ do: "cpu" });
    return { ...answer, listenerCpuUs: after.cpuUs - theirs.cpuUs, diallerCpuUs: answer.cpuUs - ours.cpuUs };
  }

  /** What `work`, done so often by the dialler, costs at both ends. */
  async #cost(command: Command & { readonly count: number }): Promise<HandshakesMeasured> {
    const { ms, latencies, listenerCpuUs, diallerCpuUs } = await this.#both(command);
    const { count } = command;
    return {
      perSecond: count / ms * 1_000,
      cpuUs: (listenerCpuUs + diallerCpuUs) / count,
      listenerCpuUs: listenerCpuUs / count,
      latencies,
    };
  }

  /** Opens connections, so many at once. */
  handshakes(count: number, parallel: number, how: { refused?: boolean } = {}): Promise<HandshakesMeasured> {
    return this.#cost({ do: "connect", address: this.#address, count, parallel, ...how });
  }

  /** Connects over the limit. */
  knocks(count: number): Promise<HandshakesMeasured> {
    return this.#cost({ do: "knock", address: this.#address, count });
  }

  /** Megabytes through so many streams at once: in a second, and in a second of processor time of both ends. */
  async throughput(bytes: number, streams: number): Promise<ThroughputMeasured> {
    const { ms, listenerCpuUs, diallerCpuUs } = await this.#both({
      do: "send",
      address: this.#address,
      bytes,
      streams,
    });
    const megabytes = bytes * streams / 1_000_000;
    return { perSecond: megabytes / ms * 1_000, perCpuSecond: megabytes / (listenerCpuUs + diallerCpuUs) * 1_000_000 };
  }

  /** Bytes that an idle connection keeps at the listener. As many are open before: what is kept once, such as compiled code, is not counted. */
  async memory(count: number): Promise<{ readonly heap: number; readonly rss: number }> {
    const connect = { do: "connect", address: this.#address, count, parallel: 16, keep: true } as const;
    await this.dialler.tell(connect);
    const before = await this.listener.tell({ do: "memory" });
    await this.dialler.tell(connect);
    const after = await this.listener.tell({ do: "memory" });
    await this.dialler.tell({ do: "close" });
    return {
      heap: (after.heapBytes - before.heapBytes) / count,
      rss: Math.max(1, after.rssBytes - before.rssBytes) / count, // pages come and go; a quick run may see none
    };
  }

  stop(): void {
    this.listener.stop();
    this.dialler.stop();
  }
}
