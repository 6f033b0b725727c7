/**
 * A training among many nodes: the scheduler's program leases two trainers and an aggregator of them, and trains the demo's model.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { NetworkWorld } from "./network_world.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const trainer = join(root, "scripts/executors/train_digits.ts");
/** What the executor may read of this tree. */
const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json", "deno.json", "mod.ts"];
/** Longest that a training may take, in milliseconds. */
const trainingMaxMs = 300_000;
const part = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const price = { bid: 20, max: 100 };
/** Workers that can train; a training takes two of them. */
export const trainersInAll = 4;
const trainersTaken = 2;
const rounds = 2;

/** This runtime, as a program that starts others. Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not. */
const isDeno = "Deno" in globalThis;
const runtime = isDeno ? `${dirname(process.execPath)}/./${basename(process.execPath)}` : process.execPath;
const flags = isDeno ? ["run", "-A", "--quiet", "--no-check"] : ["--no-warnings"];

/** The part of a worker's configuration with which it can train. */
export const trainingWorker = {
  executor: { class: "train", name: "diloco-transformer", runtime: "process", cmd: runtime, args: [...flags, trainer] },
  cell: { allow_unconfined: true, read_only: parts.map((name) => join(root, name)) },
} as const;

/** Runs it once. @returns How long the scheduler's program ran, from its start on, in seconds. */
export async function trainOnce(world: NetworkWorld, gateway: string): Promise<number> {
  const config = await world.configFile("trains", "scheduler", {
    gateway_addresses: [gateway],
    scheduler: {
      job: {
        type: "diloco",
        model: {
          repository: "builtin/mlp-64-32-10",
          revision: "seed-7",
          filenames: ["model.safetensors"],
          type: "image-classification",
          input_names: ["pixel_values"],
        },
        dataset: { dataset: basename(world.dataset) },
        inner_optimizer: { "learning-rate": 0.004 },
        outer_optimizer: { "learning-rate": 0.7, momentum: 0.5 },
        resources: {
          num_workers: trainersTaken,
          worker: part,
          parameter_server: part,
          worker_price: price,
          parameter_server_price: price,
        },
        rounds: { update_rounds: rounds, avg_samples_between_updates: 384, max_batch_size: 32 },
      },
    },
  });
  const began = performance.now();
  const script = join(root, "scripts/hypha_scheduler.ts");
  const child = spawn(runtime, [...flags, script, "run", "-c", config], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: trainingMaxMs,
    killSignal: "SIGKILL",
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (piece) => said = `${said}${piece}`.slice(-2_000));
  }
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`the training ended with ${code}: ${said}`);
  return (performance.now() - began) / 1_000;
}
