/**
 * The configuration files of the demo's nodes, as an operator would write them.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { stringify } from "@std/toml";
import { Result } from "effect";
import { encodeTensors } from "../../actors/learning/mod.ts";
import type { Dataset } from "./dataset.ts";
import type { Runtime } from "../check/runtimes.ts";
import { builtinModel } from "../executors/model.ts";

/** A node of the demo before it runs. */
export interface NodePlan {
  readonly name: string;
  readonly role: "gateway" | "scheduler" | "worker" | "data";
  readonly runtime: Runtime;
  readonly port: number;
}

/** The keys of all configurations. */
export interface Layout {
  readonly folder: string;
  readonly certificates: string;
  readonly gatewayPort: number;
  readonly dataset: Dataset;
  /** The weights that the training begins with. */
  readonly weights: string;
  readonly rounds: number;
  readonly trainers: number;
  /** The runtime of the demo's own commands. */
  readonly tools: Runtime;
  /** Command line that starts the training executor. */
  readonly executor: { readonly cmd: string; readonly args: readonly string[] };
  /** `[cell]` of the workers. */
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

function common({ name, port, role }: NodePlan, { certificates, gatewayPort }: Layout): Record<string, unknown> {
  const address = `/ip4/127.0.0.1/tcp/${port}`;
  return {
    cert_pem: join(certificates, `${name}-cert.pem`),
    key_pem: join(certificates, `${name}-key.pem`),
    trust_pem: join(certificates, "ca-bundle.pem"),
    crls_pem: join(certificates, "crls.pem"),
    require_roles: true,
    listen_addresses: [address],
    // Everything happens on loopback here, which is excluded by default.
    exclude_cidr: [],
    ...(role === "data" ? {} : { external_addresses: [address] }),
    ...(role === "gateway" ? {} : { gateway_addresses: [`/ip4/127.0.0.1/tcp/${gatewayPort}`] }),
  };
}

function worker(plan: NodePlan, layout: Layout): Record<string, unknown> {
  return {
    work_dir: join(layout.folder, "work", plan.name),
    cell: layout.cell,
    resources: { cpu: 2, memory: 4, storage: 10, gpu: 0 },
    offer: { price: 10, floor: 1, strategy: { type: "whole" } },
    executors: [
      { class: "train", name: "diloco-transformer", runtime: "process", ...layout.executor },
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server" },
    ],
  };
}

function scheduler({ dataset, rounds, trainers, weights }: Layout): Record<string, unknown> {
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
    evaluation: { held_out: dataset.heldOut },
  };
  return { scheduler: { job } };
}

/** Where a node's configuration is. */
export const configurationPath = ({ name }: Pick<NodePlan, "name">, { folder }: Pick<Layout, "folder">): string =>
  join(folder, "config", `${name}.toml`);

/** Writes a node's configuration and returns its path. */
export function writeConfiguration(plan: NodePlan, layout: Layout): string {
  const own = {
    gateway: () => ({}),
    data: () => ({ dataset_path: layout.dataset.slices, require_grant: true }),
    worker: () => worker(plan, layout),
    scheduler: () => scheduler(layout),
  }[plan.role]();
  const path = configurationPath(plan, layout);
  writeFileSync(path, `${stringify({ ...common(plan, layout), ...own })}\n`);
  return path;
}
