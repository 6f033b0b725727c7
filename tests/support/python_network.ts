/**
 * A network of real nodes whose trainers are Python programs in cells: a gateway, a data node and workers in this process, the scheduler as
 * a program.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { ExecutorConfig } from "../../actors/config/config.ts";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { makeNodeNetwork, type NodeNetwork, type RunningNode } from "./node_network.ts";
import { type LoggedEvent, startProgram } from "./program.ts";

/** What a network trains. */
export interface PythonTraining {
  readonly trainers: number;
  readonly rounds: number;
  /** Samples of all trainers in a round. */
  readonly samples: number;
  readonly learningRate: number;
  /** Memory of a trainer, in GB. */
  readonly memory: number;
  /** The program that trains, and the one that evaluates: the scheduler's own where undefined. */
  readonly cmd: string;
  readonly trains: readonly string[];
  readonly evaluates?: readonly string[];
  /** What a cell has to show the programs. */
  readonly folders: readonly string[];
  /** A safetensors file. */
  readonly weights: Uint8Array;
  readonly lifeMs: number;
}

/** A training that ended with its model. */
export interface Trained {
  /** The scheduler's evaluations, in order. */
  readonly evaluated: readonly LoggedEvent[];
  readonly events: readonly LoggedEvent[];
  /** The model's digest, as the scheduler reports it. */
  readonly sha256: string;
  /** The newest lines of the workers' logs, those of their executors among them. */
  readonly output: readonly string[];
}

const part = (memory: number) => `{ cpu = 1.0, memory = ${memory.toFixed(1)}, storage = 1.0, gpu = 0.0 }`;
const outputMax = 400;

/** A worker's executors, and its cell, which shows them the interpreter and the package. */
function pythonWorker({ cmd, trains, folders }: PythonTraining) {
  const train = { class: "train", name: "diloco-transformer", runtime: "process", cmd, args: ["-B", ...trains] };
  const aggregate = {
    class: "aggregate",
    name: "parameter-server",
    runtime: "parameter-server",
    cmd: undefined,
    args: [],
  };
  return {
    executors: [train, aggregate] as unknown as readonly ExecutorConfig[],
    cell: { ...cellDefault, allowUnconfined: true, readOnly: folders },
  };
}

/** The scheduler's own program that evaluates. */
const evaluator = ({ cmd, evaluates = [], folders }: PythonTraining) => `
[[executors]]
class = "evaluate"
name = "measure"
runtime = "process"
cmd = "${cmd}"
args = ${JSON.stringify(["-B", ...evaluates])}

[cell]
allow_unconfined = true
read_only = ${JSON.stringify(folders)}
`;

async function startScheduler(network: NodeNetwork, gateway: string, training: PythonTraining) {
  const { rounds, trainers, samples, learningRate, memory, lifeMs, evaluates } = training;
  const node = await network.pki.node("scheduler-01", { role: "scheduler" });
  const at = join(network.folder, "scheduler-01");
  mkdirSync(at);
  const crls = await network.pki.crls({ number: 1n });
  const { certPath, keyPath, trustPath, crlsPath } = await network.pki.write(at, node, crls);
  const weights = join(at, "init.safetensors");
  writeFileSync(weights, training.weights);
  const config = join(at, "scheduler.toml");
  writeFileSync(
    config,
    `cert_pem = "${certPath}"
key_pem = "${keyPath}"
trust_pem = "${trustPath}"
crls_pem = "${crlsPath}"
state_dir = "${join(at, "state")}"
gateway_addresses = ["${gateway}"]
listen_addresses = ["/ip4/127.0.0.1/tcp/0"]
exclude_cidr = []
${evaluates === undefined ? "" : evaluator(training)}
[scheduler.job]
type = "diloco"
dataset = { dataset = "digits" }
inner_optimizer = { learning-rate = ${learningRate} }
outer_optimizer = { learning-rate = 0.7, momentum = 0.5 }
evaluation = { held_out = "${network.heldOut}"${evaluates === undefined ? "" : ', executor = "measure"'} }

[scheduler.job.model]
weights = "${weights}"
type = "image-classification"
input_names = ["pixel_values"]

[scheduler.job.resources]
num_workers = ${trainers}
worker = ${part(memory)}
parameter_server = ${part(1)}
worker_price = { bid = 20.0, max = 100.0 }
parameter_server_price = { bid = 20.0, max = 100.0 }

[scheduler.job.rounds]
update_rounds = ${rounds}
avg_samples_between_updates = ${samples}
max_batch_size = 32
`,
  );
  return startProgram("scheduler", ["run", "-c", config, "--log-format", "json"], { lifeMs });
}

const outputOf = (workers: readonly RunningNode[]): readonly string[] =>
  workers.flatMap(({ name, lines }) =>
    lines.filter(({ level, event }) => level !== "debug" || event.startsWith("job."))
      .map(({ event, message }) => `${name} ${event} ${message}`)
  ).slice(-outputMax);

/** Trains to the end, one worker more than trainers: it aggregates. */
export async function trainInPython(training: PythonTraining): Promise<Trained> {
  const nodes = await makeNodeNetwork();
  try {
    const gateway = await nodes.start("gateway-01", "gateway");
    const [address] = (await gateway.said("node.listening"))["addresses"] as string[];
    const common = { gatewayAddresses: [address as string] };
    const data = await nodes.start("data-01", "data", { ...common, datasetPath: nodes.slices } as never);
    const workers: RunningNode[] = [];
    for (let index = 0; index <= training.trainers; index++) {
      const name = `worker-0${index}`;
      const workDir = join(nodes.folder, "work", name);
      const resources = { cpu: 2, memory: training.memory + 1, storage: 10, gpu: 0 };
      const offer = { price: 10, floor: 1, strategy: "whole" };
      const worker = { ...common, workDir, resources, offer, ...pythonWorker(training) };
      workers.push(await nodes.start(name, "worker", worker as never));
    }
    for (const node of [data, ...workers]) await node.said("node.ready");
    const scheduler = await startScheduler(nodes, address as string, training);
    const { code, stderr } = await scheduler.ended;
    const output = outputOf(workers);
    assert.is(code, 0, `${stderr}\n${output.slice(-40).join("\n")}`);
    const { sha256 } = await scheduler.waitFor("training.model");
    const evaluated = scheduler.events.filter(({ event }) => event === "round.evaluated");
    return { evaluated, events: scheduler.events, sha256: String(sha256), output };
  } finally {
    await nodes.stop();
  }
}
