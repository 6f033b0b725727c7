/**
 * `hypha up`: a whole network on this machine, as programs under one supervisor. For learning and development.
 *
 * Everything lies in one folder. The first start makes a CA there, and each node joins with a token; later ones start what is there.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { parseConfig } from "../../actors/config/load.ts";
import type { Role } from "../../pki/certificate.ts";
import { freePorts } from "../program/free_ports.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import { ownCommand, ownEnvironment, stateDirVariables } from "./own_command.ts";
import { doneCode, EndedEarly, type LogLine, revokedCode, Supervised } from "./supervised.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** The options of `up`. */
export interface UpOptions {
  readonly dir: string;
  readonly workers: number;
  /** The folder of a data set; undefined: no data node. */
  readonly dataset: string | undefined;
}

interface PlannedNode {
  readonly name: string;
  readonly role: Role;
  /** Flags of `join`. */
  readonly flags: readonly string[];
}

const domain = "hypha.local";
/** A port of the system's choice: several networks run on one machine. */
const consoleFlags = ["--console-listen", "127.0.0.1:0"];
/** Nodes and CA listen here: the network is this machine's alone. */
const loopback = "127.0.0.1";
const commandMs = 120_000;
const readyMs = 180_000;
const print = (line: string) => process.stdout.write(`${escapeUnsafe(line)}\n`);

/** Starts the network, and keeps it until `signal` ends it; `atOnce` kills what still runs then. Resolves with the exit code. */
export async function up(options: UpOptions, signal: AbortSignal, atOnce: AbortSignal): Promise<0 | 1> {
  const network = new LocalNetwork(resolve(options.dir), signal);
  const isOver = new Promise<void>((over) => signal.addEventListener("abort", () => over()));
  signal.addEventListener("abort", () => void network.stop());
  // Whatever ends this process, its programs do not outlive it; only SIGKILL cannot be noticed.
  process.on("exit", () => network.kill());
  // The terminal is closed, or the reader of a pipe gone: the programs are ended in order all the same.
  for (const output of [process.stdout, process.stderr]) output.on("error", () => {});
  atOnce.addEventListener("abort", () => network.kill());
  try {
    network.checkDataset(options.dataset);
    await network.begin();
    await network.bring({
      name: "gateway-01",
      role: "gateway",
      flags: ["--listen", network.gatewayAddress, ...consoleFlags],
    });
    // All of them end before anything is stopped: none is forgotten.
    const brought = await Promise.allSettled(nodesOf(options).map((node) => network.bring(node)));
    for (const each of brought) if (each.status === "rejected") throw each.reason;
    if (!signal.aborted) printUp(network, options);
    network.showWarnings();
    if (!signal.aborted) await isOver;
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    process.stderr.write(`Cannot start the network: ${escapeUnsafe((error as Error).message)}\n`);
    return 1;
  } finally {
    print("Stopping");
    await network.stop();
  }
}

const pageLine = (name: string, address: string) => `${`${name}'s page:`.padEnd(22)} ${address}`;

/** The programs of one folder. */
class LocalNetwork {
  readonly dir: string;
  readonly #signal: AbortSignal;
  readonly #caConfig: string;
  /** In the order of their start: the CA, the gateway, the others. */
  readonly #programs: Supervised[] = [];
  /** Commands under way. */
  readonly #commands = new Set<ChildProcess>();
  readonly #lastProblem = new Map<string, string>();
  /** Addresses of the programs' consoles, by the programs' names. */
  readonly consoles = new Map<string, string>();
  #warns = false;
  #stopped: Promise<void> | undefined;

  constructor(dir: string, signal: AbortSignal) {
    this.dir = dir;
    this.#signal = signal;
    this.#caConfig = join(dir, "ca/ca.toml");
  }

  /** A data node that has joined serves the data set of its configuration. */
  checkDataset(dataset: string | undefined): void {
    const file = join(this.dir, "data-01/data.toml");
    if (dataset === undefined || !existsSync(file)) return;
    const around = { environment: process.env, flags: {} };
    const read = parseConfig("data", { file, text: readFileSync(file, "utf8") }, around);
    // The data node itself reports a configuration that cannot be read.
    if (Result.isFailure(read) || resolve(read.success.datasetPath) === resolve(dataset)) return;
    const { datasetPath } = read.success;
    throw new Error(
      `data-01 serves ${datasetPath}, not ${resolve(dataset)}: write dataset_path = "${
        resolve(dataset)
      }" into ${file}, or leave out --dataset`,
    );
  }

  /** Makes the CA where there is none, and starts it. */
  async begin(): Promise<void> {
    mkdirSync(join(this.dir, "logs"), { recursive: true, mode: 0o700 });
    if (!existsSync(this.#caConfig)) await this.#makeCa();
    await this.#start("ca-01", "ca", this.#caConfig);
  }

  /** A CA that serves this machine alone, on a free port, and knows where the gateway will listen. It has its name when it is whole. */
  async #makeCa(): Promise<void> {
    const [folder, made] = [join(this.dir, "ca"), join(this.dir, "ca.new")];
    if (existsSync(folder)) throw new Error(`${folder} has no ca.toml: move it away, or name another --dir`);
    rmSync(made, { recursive: true, force: true });
    const [port, gatewayPort] = await freePorts(2);
    const [url, gateway] = [`https://${loopback}:${port}`, `gateway-01=/ip4/${loopback}/tcp/${gatewayPort}`];
    await this.#run("ca", ["init", "--domain", domain, "--url", url, "--gateway", gateway, "-d", made]);
    const config = join(made, "ca.toml");
    const [text, everywhere] = [readFileSync(config, "utf8"), `"0.0.0.0:${port}"`];
    if (!text.includes(everywhere)) throw new Error(`${config} does not say where the CA listens`);
    const shown = `\n[console]\nlisten = "${loopback}:0"\n`;
    writeFileSync(config, text.replace(everywhere, `"${loopback}:${port}"`) + shown);
    renameSync(made, folder);
  }

  /** Where the gateway listens, as the CA tells its nodes. */
  get gatewayAddress(): string {
    const [, address] = /gateway-01=(\/ip4\/127\.0\.0\.1\/tcp\/\d+)/.exec(readFileSync(this.#caConfig, "utf8")) ?? [];
    if (address === undefined) {
      throw new Error(`${this.#caConfig} has no gateway-01 on ${loopback}: name another --dir`);
    }
    return address;
  }

  /** Lets a node join where it has not, and starts it. */
  async bring({ name, role, flags }: PlannedNode): Promise<void> {
    const config = join(this.dir, name, `${role}.toml`);
    if (!existsSync(config) && !this.#signal.aborted) {
      const folder = join(this.dir, name);
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      // A join that did not come to its end may have left a pair, which the CA knows.
      for (const kind of ["cert", "key"]) rmSync(join(folder, `${role}-${kind}.pem`), { force: true });
      const token = await this.#run("ca", ["token", "-c", this.#caConfig, "--role", role, "--name", name, "--replace"]);
      await this.#run(role, ["join", "-", "-o", config, ...flags], token);
    }
    await this.#start(name, role, config);
  }

  /** Runs a command of a program to its end; returns what it printed. */
  #run(program: string, args: readonly string[], input = ""): Promise<string> {
    const [command, ...before] = ownCommand(program);
    return new Promise((resolve, reject) => {
      if (this.#signal.aborted) throw new Error("the network is ending");
      // A group of its own: Ctrl-C reaches the supervisor alone.
      const options = { env: ownEnvironment(), stdio: "pipe", timeout: commandMs, detached: true } as const;
      const child = spawn(command, [...before, ...args], options);
      this.#commands.add(child);
      let [stdout, stderr] = ["", ""];
      child.stdin.on("error", () => {}); // it ended before it read all
      child.stdin.end(input);
      child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
      child.on("error", reject);
      child.on("close", (code) => {
        this.#commands.delete(child);
        const said = stderr.trim() || stdout.trim();
        if (code === 0) resolve(stdout);
        else reject(new Error(`hypha ${program} ${args[0] ?? ""} ended with ${code}: ${said}`));
      });
    });
  }

  async #start(name: string, program: string, config: string): Promise<void> {
    if (this.#signal.aborted) return;
    const logFile = join(this.dir, "logs", `${name}.log`);
    const printFinal = (code: number) => {
      const why = new Map([[doneCode, "it was drained, or its work is done"], [
        revokedCode,
        "its certificate was revoked",
      ]]);
      print(`${name} ended with ${code} and is not started again: ${why.get(code) ?? `see ${logFile}`}`);
    };
    const supervised = new Supervised({
      name,
      command: [...ownCommand(program), "run", "-c", config, "--log-format", "json"],
      logFile,
      readyEvent: program === "ca" ? "ca.listening" : "node.ready",
      onLine: (line) => this.#show(name, line),
      onReady: () => print(`${name} runs`),
      onUnlogged: ({ message }) => process.stderr.write(`Cannot write ${logFile}: ${message}\n`),
      onEnded: (code, againMs) =>
        againMs === undefined
          ? printFinal(code)
          : print(`${name} ended with ${code}, started again in ${againMs / 1_000} s`),
    });
    this.#programs.push(supervised);
    try {
      await supervised.start(readyMs);
    } catch (error) {
      // The network runs without it.
      const isFinal = error instanceof EndedEarly && [doneCode, revokedCode].includes(error.code);
      if (!isFinal || this.#signal.aborted) throw error;
      printFinal(error.code);
    }
  }

  /** From now on warnings are shown too: while programs start, they miss each other. */
  showWarnings(): void {
    this.#warns = true;
  }

  /** Prints the errors and warnings of a program, the same one only once in a row; the address of its console after a new start. */
  #show(name: string, { level, event, message }: LogLine): void {
    const [address] = event === "console.listening" ? /http:\S+/.exec(message) ?? [] : [];
    if (address !== undefined) {
      if (this.consoles.has(name)) print(pageLine(name, address));
      this.consoles.set(name, address);
    }
    if (level !== "error" && (level !== "warn" || !this.#warns)) return;
    if (this.#lastProblem.get(name) === message) return;
    this.#lastProblem.set(name, message);
    process.stderr.write(`${name}: ${escapeUnsafe(message)}\n`);
  }

  /** Ends all; the gateway and the CA last, since the others close their connections in order. */
  stop(): Promise<void> {
    const stopAll = async () => {
      this.#killCommands();
      const [ca, gateway, ...others] = this.#programs;
      await Promise.all(others.map((each) => each.stop()));
      await gateway?.stop();
      await ca?.stop();
    };
    return this.#stopped ??= stopAll();
  }

  kill(): void {
    this.#killCommands();
    for (const program of this.#programs) program.kill();
  }

  /** What they leave unfinished, the next start makes again. */
  #killCommands(): void {
    for (const command of this.#commands) command.kill("SIGKILL");
  }
}

function nodesOf({ workers, dataset }: UpOptions): readonly PlannedNode[] {
  const flags = ["--listen", `/ip4/${loopback}/tcp/0`];
  const names = Array.from({ length: workers }, (_, index) => `worker-${String(index + 1).padStart(2, "0")}`);
  return [
    ...(dataset === undefined
      ? []
      : [{ name: "data-01", role: "data", flags: [...flags, "--dataset-path", resolve(dataset)] } as const]),
    { name: "scheduler-01", role: "scheduler", flags: [...flags, ...consoleFlags] },
    ...names.map((name) => ({ name, role: "worker", flags } as const)),
  ];
}

function printUp({ dir, consoles }: LocalNetwork, { dataset }: UpOptions): void {
  const variables = stateDirVariables();
  const lines = [
    "",
    `The network ${domain} is up. Each node's folder below ${dir} has its configuration; logs are in ${dir}/logs.`,
    `  a node:      hypha gateway status -c ${shellWord(`${dir}/gateway-01/gateway.toml`)}`,
    `  all nodes:   hypha ca nodes -c ${shellWord(`${dir}/ca/ca.toml`)}`,
    ...[...consoles].map(([name, address]) => `  ${pageLine(name, address)}`),
    `  a training:  hypha scheduler submit -c ${shellWord(`${dir}/scheduler-01/scheduler.toml`)} JOB.toml`,
    ...(variables.length === 0 ? [] : [`Unset ${variables.join(" and ")} in a shell that runs these commands.`]),
    `Programs that train belong into ${dir}/worker-01/worker.toml: [[executors]].`,
    ...(dataset === undefined ? ["No data node runs: name a data set's folder with --dataset."] : []),
    "Ctrl-C ends it.",
  ];
  for (const line of lines) print(line);
}
