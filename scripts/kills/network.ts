/**
 * A network of real programs under a supervisor: whichever is killed is started again a second later.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { stringify } from "@std/toml";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { makeNetworkWorld, type NetworkWorld } from "../bench/network/network_world.ts";
import type { Runtime } from "../check/runtimes.ts";
import { endAll, type LogEvent, NodeProcess, runOnce } from "../demo/processes.ts";
import { commandOf, scriptOf } from "../demo/runtimes.ts";
import { freePort } from "../program/free_ports.ts";

/** The supervisor starts a process again after this, in milliseconds. */
const restartMs = 1_000;
const readyMs = 120_000;
/** A drain is over within this, in milliseconds: a node's own limit is ten seconds by default. */
const drainMs = 40_000;
const submitMs = 60_000;
const root = fileURLToPath(new URL("../..", import.meta.url));
/** What an executor may read of this tree. */
const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json", "deno.json", "mod.ts"];
const part = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const price = { bid: 20, max: 100 };

/** Elements of the model: a push, a mean and a checkpoint take some hundredths of a second each. */
const elements = 2_000_000;
/** Bytes of a whole update. */
export const updateBytes = elements * 4;
/** Rounds of a training: it is killed in the second. */
export const rounds = 3;
export const trainers = 2;
export const schedulerName = "scheduler-1";

/** What is trained, and by how many. */
export interface SupervisedPlan {
  /** Elements of the model. */
  readonly elements: number;
  readonly rounds: number;
  readonly trainers: number;
  readonly workers: number;
  /** The script of the executor, and its arguments. */
  readonly executor: readonly string[];
  /** Tree of another version, from which all but the scheduler start first. */
  readonly former?: string;
}
/** The plan of most networks. */
export const plan: SupervisedPlan = {
  elements,
  rounds,
  trainers,
  workers: 4,
  executor: [join(root, "scripts/kills/steady_executor.ts")],
};

/** A line of a node's log. */
export interface NodeEvent extends LogEvent {
  readonly node: string;
}

type Role = "gateway" | "data" | "worker" | "scheduler";

/** Nodes that run until they are stopped. */
export class SupervisedNetwork {
  /** Lines of all logs since the last {@linkcode forget}. */
  readonly events: NodeEvent[] = [];
  readonly #world: NetworkWorld;
  readonly #runtime: Runtime;
  readonly #nodes = new Map<string, NodeProcess>();
  readonly #configs = new Map<string, string>();
  readonly #listeners = new Set<(event: NodeEvent) => void>();
  readonly #peers = new Map<string, string>();

  readonly #plan: SupervisedPlan;

  private constructor(world: NetworkWorld, runtime: Runtime, terms: SupervisedPlan) {
    this.#world = world;
    this.#runtime = runtime;
    this.#plan = terms;
  }

  /** Makes the files of a network; starts nothing. */
  static async make(runtime: Runtime, terms: SupervisedPlan = plan): Promise<SupervisedNetwork> {
    return new SupervisedNetwork(await makeNetworkWorld(), runtime, terms);
  }

  /** Starts a gateway, a data node, workers, and a scheduler that waits for jobs. */
  async start(): Promise<void> {
    const world = this.#world;
    const port = await freePort();
    const gateway = `/ip4/127.0.0.1/tcp/${port}`;
    const [command, ...args] = commandOf(this.#runtime, ["-A"]);
    const { elements, executor } = this.#plan;
    const workers = Array.from({ length: this.#plan.workers }, (_, nth) => `worker-${nth + 1}`);
    const tables: readonly (readonly [string, Role, Readonly<Record<string, unknown>>])[] = [
      ["gateway", "gateway", { listen_addresses: [gateway] }],
      ["data-1", "data", { gateway_addresses: [gateway], dataset_path: world.dataset }],
      ...workers.map((name) =>
        [name, "worker", {
          gateway_addresses: [gateway],
          work_dir: world.workDir(name),
          resources: { cpu: 4, memory: 8, storage: 16, gpu: 0 },
          offer: { price: 10, floor: 1, strategy: "flexible" },
          executors: [
            { class: "aggregate", name: "parameter-server", runtime: "parameter-server" },
            { class: "train", name: "steady", runtime: "process", cmd: command, args: [...args, ...executor] },
          ],
          cell: { allow_unconfined: true, read_only: parts.map((name) => join(root, name)) },
        }] as const
      ),
      [schedulerName, "scheduler", { gateway_addresses: [gateway] }],
    ];
    for (const [name, role, own] of tables) {
      this.#configs.set(name, await world.configFile(name, role, own));
      await this.#start(name, role, role === "scheduler" ? undefined : this.#plan.former);
    }
    writeFileSync(
      this.#jobFile("init.safetensors"),
      encodeTensors(new Map([["w", { shape: [elements], values: initialValues(elements) }]])),
    );
  }

  /** Starts a program, of this tree or of another one, and waits until it serves. */
  async #start(name: string, role: Role, tree?: string): Promise<void> {
    const config = this.#configs.get(name) as string;
    const [command, ...before] = commandOf(this.#runtime, ["-A"]);
    const node = new NodeProcess({
      name,
      role,
      runtime: this.#runtime,
      command,
      args: [
        ...before,
        tree === undefined ? scriptOf(role) : join(tree, `scripts/hypha_${role}.ts`),
        "run",
        "-c",
        config,
        "--log-format",
        "json",
        "--log-level",
        "debug",
      ],
      logFile: `${config}.log`,
    });
    this.#nodes.set(name, node);
    node.listen((event) => this.#heard({ ...event, node: name }));
    const last = role === "scheduler" ? "trainings.loaded" : role === "worker" ? "worker.cell" : "node.ready";
    await node.waitFor(({ event }) => event === last, last, readyMs);
  }

  #heard(event: NodeEvent): void {
    if (event.event === "node.listening") this.#peers.set(String(event["peer"]), event.node);
    this.events.push(event);
    for (const listener of this.#listeners) listener(event);
  }

  #jobFile(name: string): string {
    const path = join(this.#world.workDir("jobs"), name);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  /** The processes of all nodes that run. */
  get pids(): readonly number[] {
    return [...this.#nodes.values()].flatMap(({ pid }) => pid === undefined ? [] : [pid]);
  }

  /** The node of a PeerID. */
  nodeOf(peer: unknown): string | undefined {
    return this.#peers.get(String(peer));
  }

  /** Forgets the lines of all logs. */
  forget(): void {
    this.events.length = 0;
  }

  /** Hears lines from now on; returns how to stop. */
  listen(listener: (event: NodeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Where the scheduler keeps a training. */
  trainingFolder(id: string): string {
    return join(dirname(this.#configs.get(schedulerName) as string), `${schedulerName}.state`, "trainings", id);
  }

  /** Submits a job; returns its id. */
  async submit(): Promise<string> {
    const path = this.#jobFile("steady.toml");
    writeFileSync(path, stringify(jobOf(this.#plan)));
    const [command, ...before] = commandOf(this.#runtime, ["-A"]);
    const args = [...before, scriptOf("scheduler"), "submit", path, "-c", this.#configs.get(schedulerName) as string];
    const { code, stdout, stderr } = await runOnce(command, args, { timeoutMs: submitMs });
    // The scheduler may have been killed before it answered; its log names the training.
    const known = this.events.find(({ event }) => event === "training.submitted")?.["training"];
    const id = code === 0 ? stdout.trim() : known;
    if (typeof id !== "string") throw new Error(`the job was not taken: ${stderr}`);
    return id;
  }

  /** Kills a node's process, and starts it again. Resolves when it serves. */
  async kill(name: string): Promise<void> {
    const node = this.#nodes.get(name);
    if (node?.pid === undefined) throw new Error(`Cannot kill ${name}: it does not run`);
    process.kill(node.pid, "SIGKILL");
    await node.ended;
    await pause(restartMs);
    await this.#start(name, node.role as Role);
  }

  /** Has a node drain, and starts it from this tree. Resolves when it serves. */
  async upgrade(name: string): Promise<void> {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new Error(`Cannot upgrade ${name}: it was not started`);
    await node.stop(drainMs);
    await this.#start(name, node.role as Role);
  }

  /** Ends all processes at once. */
  end(): void {
    endAll(dirname(this.#world.workDir("all")));
    this.#world.remove();
  }

  async stop(): Promise<void> {
    for (const node of [...this.#nodes.values()].toReversed()) await node.stop(10_000);
    this.#world.remove();
  }
}

const jobOf = ({ rounds, trainers }: SupervisedPlan) => ({
  type: "diloco",
  dataset: { dataset: "digits" },
  model: { weights: "init.safetensors", type: "image-classification", input_names: ["x"] },
  inner_optimizer: { "learning-rate": 0.01 },
  outer_optimizer: { "learning-rate": 0.7, momentum: 0.5 },
  executors: { train: "steady" },
  resources: {
    num_workers: trainers,
    worker: part,
    parameter_server: part,
    worker_price: price,
    parameter_server_price: price,
  },
  rounds: { update_rounds: rounds, avg_samples_between_updates: 64, max_batch_size: 8 },
});

function initialValues(elements: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: elements }, (_, at) => Math.sin(at) / 8);
}
