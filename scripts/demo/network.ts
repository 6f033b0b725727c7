/**
 * The demo's network: which nodes there are, how each is started and known to be ready.
 *
 * @module
 */
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { permissionsFor } from "../program/deno_permissions.ts";
import { configurationPath, type Layout, type NodePlan, writeConfiguration } from "./configuration.ts";
import type { Runtime } from "../check/runtimes.ts";
import { BrokenPromise } from "./broken_promise.ts";
import type { DemoOptions } from "./options.ts";
import { NodeProcess, runOnce } from "./processes.ts";
import { commandOf } from "./runtimes.ts";

const script = (role: string) => fileURLToPath(new URL(`../hypha_${role}.ts`, import.meta.url));
const readyTimeoutMs = 60_000;
const probePauseMs = 150;
const probeTimeoutMs = 20_000;
const resultTimeoutMs = 30_000;
/** The demo's own certificate: it probes as an operator would. */
export const operator = "operator";

/** Free ports of the loopback interface, now: all are held until the last is found, so that none comes twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map(async (server) => {
    await once(server.listen(0, "127.0.0.1"), "listening");
    return (server.address() as AddressInfo).port;
  }));
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** A gateway, a data node, four workers and a scheduler, on the runtimes asked for. */
export async function planNodes(runtime: DemoOptions["runtime"]): Promise<NodePlan[]> {
  const nodes: [name: string, role: NodePlan["role"]][] = [
    ["gateway", "gateway"],
    ["data", "data"],
    ["worker-1", "worker"],
    ["worker-2", "worker"],
    ["worker-3", "worker"],
    ["worker-4", "worker"],
    ["scheduler", "scheduler"],
  ];
  const of = (index: number): Runtime => (runtime === "mixed" ? (index % 2 === 0 ? "node" : "deno") : runtime);
  const ports = await freePorts(nodes.length);
  return nodes.map(([name, role], index) => ({ name, role, runtime: of(index), port: ports[index] ?? 0 }));
}

/** Starts one node with its command-line program, on Deno with the least permissions that its role needs. */
export function startNode(plan: NodePlan, layout: Layout): NodeProcess {
  const { name, role, runtime } = plan;
  for (const part of ["config", "logs", join("work", name)]) {
    mkdirSync(join(layout.folder, part), { recursive: true, mode: 0o700 });
  }
  const config = writeConfiguration(plan, layout);
  const run = [script(role), "run", "-c", config, "--log-format", "json", "--log-level", "info"];
  const permissions = permissionsFor(role, {
    configPath: config,
    certificateFolder: layout.certificates,
    readPaths: role === "data"
      ? [layout.dataset.slices]
      : role === "scheduler"
      ? [layout.dataset.heldOut, layout.weights]
      : [],
    addresses: ["127.0.0.1"],
  });
  const [command, ...before] = commandOf(runtime, permissions);
  const args = [...before, ...run];
  return new NodeProcess({ name, role, runtime, command, args, logFile: join(layout.folder, "logs", `${name}.log`) });
}

/** The model that the training left, as `hypha-scheduler result` writes it for its user. */
export interface DemoModel {
  readonly file: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** The round after which it is the model. */
  readonly round: number;
}

/** Writes the model of a training to a file. */
export async function takeModel(trainingId: string, layout: Layout): Promise<DemoModel> {
  const file = join(layout.folder, "model.safetensors");
  const [command, ...before] = commandOf(layout.tools, ["-A"]);
  const config = configurationPath({ name: "scheduler" }, layout);
  const args = [...before, script("scheduler"), "result", trainingId, "-o", file, "-c", config];
  const { code, stdout, stderr } = await runOnce(command, args, resultTimeoutMs);
  const [, round, sizeBytes, sha256] = /round (\d+), (\d+) bytes, SHA-256 ([0-9a-f]{64})/.exec(stdout) ?? [];
  if (code !== 0 || sha256 === undefined) throw new BrokenPromise(`there is no model: ${stderr.trim()}`);
  return { file, sha256, sizeBytes: Number(sizeBytes), round: Number(round) };
}

/** Waits until the node logs that it is ready, then until it answers `probe` healthy. */
export async function untilHealthy(node: NodeProcess, plan: NodePlan, layout: Layout): Promise<void> {
  const until = performance.now() + readyTimeoutMs;
  // A probe costs a process, so it starts only after the node has logged that it is ready.
  await node.waitFor(({ event }) => event === "node.ready", "readiness", readyTimeoutMs);
  const config = writeConfiguration(
    { name: operator, role: "gateway", runtime: layout.tools, port: layout.gatewayPort },
    layout,
  );
  const address = `/ip4/127.0.0.1/tcp/${plan.port}`;
  const [command, ...before] = commandOf(layout.tools, ["-A"]);
  const args = [...before, script("gateway"), "probe", "-c", config, address, "--timeout", "5000"];
  let last = "";
  while (performance.now() < until) {
    const { code, stderr } = await runOnce(command, args, probeTimeoutMs);
    if (code === 0) return;
    last = stderr.trim();
    if (node.exitCode !== undefined) break;
    await new Promise((resolve) => setTimeout(resolve, probePauseMs));
  }
  throw new BrokenPromise(`${plan.name} did not become healthy within ${readyTimeoutMs / 1_000} s: ${last}`);
}
