/**
 * The configurations of the demo's nodes, as an operator would write them; where their certificates lie, the certifier adds.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Result } from "effect";
import { encodeTensors } from "../../actors/learning/mod.ts";
import type { Dataset } from "./dataset.ts";
import type { Runtime } from "../check/runtimes.ts";
import { builtinModel } from "../executors/model.ts";
import type { Way } from "./certifier.ts";

/** A node of the demo before it runs. */
export interface NodePlan {
  readonly name: string;
  readonly role: "gateway" | "scheduler" | "worker" | "data";
  readonly runtime: Runtime;
  readonly port: number;
}

/** A command line. */
interface Program {
  readonly cmd: string;
  readonly args: readonly string[];
}

/** The keys of all configurations. */
export interface Layout {
  readonly folder: string;
  readonly way: Way;
  readonly gatewayPort: number;
  readonly dataset: Dataset;
  /** The weights that the training begins with. */
  readonly weights: string;
  readonly rounds: number;
  readonly trainers: number;
  /** The program that trains, at the workers. */
  readonly trainer: Program;
  /** The program that evaluates each round's model, at the scheduler. */
  readonly evaluator: Program;
  /** Whether the gateway and the scheduler serve consoles. */
  readonly console: boolean;
  /** `[cell]` of the workers and of the scheduler. */
  readonly cell: Readonly<Record<string, unknown>>;
}

/** Of the demo's model: a two-layer perceptron on digits, its initial weights drawn from a seed. */
const initial = { repository: "builtin/mlp-64-32-10", revision: "seed-7" };

/** Writes the weights that the demo begins with, and returns their path. */
export function writeWeights(folder: string): string {
  const path = join(folder, "scheduler", "init.safetensors");
  const { parameters } = Result.getOrThrow(builtinModel(initial.repository, initial.revision));
  writeFileSync(path, encodeTensors(parameters));
  return path;
}

/** Roles whose consoles show the most: the connections, the training. */
const consoleRoles: readonly NodePlan["role"][] = ["gateway", "scheduler"];

function common({ port, role }: NodePlan, { way, gatewayPort, console }: Layout): Record<string, unknown> {
  const address = `/ip4/127.0.0.1/tcp/${port}`;
  return {
    listen_addresses: [address],
    ...(role === "data" ? {} : { external_addresses: [address] }),
    ...(console && consoleRoles.includes(role) ? { console: { listen: "127.0.0.1:0" } } : {}),
    // A CA names the gateways to those that join.
    ...(role === "gateway" || way === "ca" ? {} : { gateway_addresses: [`/ip4/127.0.0.1/tcp/${gatewayPort}`] }),
  };
}

function worker(plan: NodePlan, layout: Layout): Record<string, unknown> {
  return {
    work_dir: join(layout.folder, "work", plan.name),
    cell: layout.cell,
    resources: { cpu: 2, memory: 4, storage: 10, gpu: 0 },
    offer: { price: 10, floor: 1, strategy: { type: "whole" } },
    executors: [
      { class: "train", name: "diloco-transformer", runtime: "process", ...layout.trainer },
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server" },
    ],
  };
}

function scheduler({ dataset, rounds, trainers, weights, evaluator, cell }: Layout): Record<string, unknown> {
  const job = {
    type: "diloco",
    model: { weights, type: "image-classification", input_names: ["pixel_values"] },
    dataset: { dataset: basename(dataset.slices) },
    inner_optimizer: { "learning-rate": 0.01 },
    outer_optimizer: { "learning-rate": 0.7, momentum: 0.5 },
    resources: {
      num_workers: trainers,
      worker: { cpu: 1, memory: 1, storage: 1, gpu: 0 },
      parameter_server: { cpu: 1, memory: 1, storage: 1, gpu: 0 },
      worker_price: { bid: 20, max: 100 },
      parameter_server_price: { bid: 20, max: 100 },
    },
    rounds: { update_rounds: rounds, avg_samples_between_updates: 2_880, max_batch_size: 32 },
    evaluation: { held_out: dataset.heldOut, executor: "digits" },
  };
  const executors = [{ class: "evaluate", name: "digits", runtime: "process", ...evaluator }];
  return { cell, executors, scheduler: { job } };
}

/** The keys of a node's configuration, in tables as in TOML. */
export function valuesOf(plan: NodePlan, layout: Layout): Record<string, unknown> {
  const own = {
    gateway: () => ({}),
    data: () => ({ dataset_path: layout.dataset.slices, require_grant: true }),
    worker: () => worker(plan, layout),
    scheduler: () => scheduler(layout),
  }[plan.role]();
  // A key that looks older than this, and than its certificate, is replaced although the worker is not idle.
  const renewal = layout.way === "ca" && plan.role === "worker" ? { membership: { new_key_every: "1h" } } : {};
  return { ...common(plan, layout), ...own, ...renewal };
}
