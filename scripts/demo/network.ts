/**
 * The demo's network: which nodes there are, how each is started and known to be ready.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Runtime } from "../check/runtimes.ts";
import { permissionsFor } from "../program/deno_permissions.ts";
import { freePorts } from "../program/free_ports.ts";
import { BrokenPromise } from "./broken_promise.ts";
import type { Certifier, Place } from "./certifier.ts";
import type { Layout, NodePlan } from "./configuration.ts";
import type { DemoOptions } from "./options.ts";
import { NodeProcess, runOnce } from "./processes.ts";
import { commandOf, scriptOf } from "./runtimes.ts";

const readyTimeoutMs = 180_000;
const probePauseMs = 150;
const probeTimeoutMs = 60_000;
const resultTimeoutMs = 60_000;
/** The demo's own certificate: it probes as an operator would. */
export const operator = "operator";

/** What runs, before it runs. */
export interface NetworkPlan {
  /** The nodes that are there from the beginning. */
  readonly nodes: readonly NodePlan[];
  readonly gateway: NodePlan;
  /** The worker that joins in the middle of training. */
  readonly late: NodePlan;
  readonly ca: { readonly runtime: Runtime; readonly port: number };
  /** The demo's own certificate: it probes as an operator would. */
  readonly operator: NodePlan;
}

/** A gateway, a data node, four workers and a scheduler; a CA, and a worker for later; on the runtimes asked for. */
export async function planNetwork({ runtime, tools }: Pick<DemoOptions, "runtime" | "tools">): Promise<NetworkPlan> {
  const names: [name: string, role: NodePlan["role"]][] = [
    ["gateway", "gateway"],
    ["data", "data"],
    ["worker-1", "worker"],
    ["worker-2", "worker"],
    ["worker-3", "worker"],
    ["worker-4", "worker"],
    ["scheduler", "scheduler"],
  ];
  const of = (index: number): Runtime => (runtime === "mixed" ? (index % 2 === 0 ? "node" : "deno") : runtime);
  const ports = await freePorts(names.length + 3);
  const port = (index: number) => ports[index] ?? 0;
  const nodes = names.map(([name, role], index) => ({ name, role, runtime: of(index), port: port(index) }));
  const [gateway] = nodes;
  if (gateway === undefined) throw new BrokenPromise("there is no gateway");
  const count = nodes.length;
  return {
    nodes,
    gateway,
    ca: { runtime: of(count), port: port(count) },
    late: { name: "worker-5", role: "worker", runtime: of(count + 1), port: port(count + 1) },
    operator: { name: "operator", role: "gateway", runtime: tools, port: port(count + 2) },
  };
}

/** Starts one node with its command-line program, on Deno with the least permissions that its role needs. */
export function startNode({ name, role, runtime }: NodePlan, layout: Layout, certifier: Certifier): NodeProcess {
  for (const part of ["logs", join("work", name)]) {
    mkdirSync(join(layout.folder, part), { recursive: true, mode: 0o700 });
  }
  const { config, cert, cwd } = certifier.placeOf(name);
  const run = [scriptOf(role), "run", "-c", config, "--log-format", "json", "--log-level", "info"];
  const permissions = permissionsFor(role, {
    configPath: config,
    certificateFolder: dirname(cert),
    certificates: certifier.way === "ca" ? "renewed" : "read",
    executors: role === "scheduler",
    readPaths: role === "data" ? [layout.dataset.slices] : [],
    addresses: ["127.0.0.1"],
  });
  const [command, ...before] = commandOf(runtime, permissions);
  const args = [...before, ...run];
  const logFile = join(layout.folder, "logs", `${name}.log`);
  return new NodeProcess({ name, role, runtime, command, args, logFile, cwd });
}

/** The model that the training left, as `hypha-scheduler result` writes it for its user. */
export interface DemoModel {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
  /** The round after which it is the model. */
  readonly round: number;
}

/** Writes the model of a training to `path`. */
export async function takeModel(
  trainingId: string,
  { path, tools, place: { config, cwd } }: { readonly path: string; readonly tools: Runtime; readonly place: Place },
): Promise<DemoModel> {
  const [command, ...before] = commandOf(tools, ["-A"]);
  const args = [...before, scriptOf("scheduler"), "result", trainingId, "-o", path, "-c", config];
  const { code, stdout, stderr } = await runOnce(command, args, { timeoutMs: resultTimeoutMs, cwd });
  const [, round, bytes, sha256] = /round (\d+), (\d+) bytes, SHA-256 ([0-9a-f]{64})/.exec(stdout) ?? [];
  if (code !== 0 || sha256 === undefined) throw new BrokenPromise(`there is no model: ${stderr.trim()}`);
  return { path, sha256, bytes: Number(bytes), round: Number(round) };
}

/** Waits until the node logs that it is ready. */
export const untilReady = (node: NodeProcess) =>
  node.waitFor(({ event }) => event === "node.ready", "readiness", readyTimeoutMs);

/** Waits until the node logs that it is ready, then until it answers the prober's `probe` healthy. */
export async function untilHealthy(
  node: NodeProcess,
  { name, port }: NodePlan,
  { place: { config, cwd }, tools }: { readonly place: Place; readonly tools: Runtime },
): Promise<void> {
  const until = performance.now() + readyTimeoutMs;
  // A probe costs a process, so it starts only after the node has logged that it is ready.
  await untilReady(node);
  const address = `/ip4/127.0.0.1/tcp/${port}`;
  const [command, ...before] = commandOf(tools, ["-A"]);
  const args = [...before, scriptOf("gateway"), "probe", "-c", config, address, "--timeout", "5000"];
  let last = "";
  while (performance.now() < until) {
    const { code, stderr } = await runOnce(command, args, { timeoutMs: probeTimeoutMs, cwd });
    if (code === 0) return;
    last = stderr.trim();
    if (node.exitCode !== undefined) break;
    await new Promise((resolve) => setTimeout(resolve, probePauseMs));
  }
  throw new BrokenPromise(`${name} did not become healthy within ${readyTimeoutMs / 1_000} s: ${last}`);
}
