/**
 * The demo's network: which nodes there are, how each is started and known to be ready.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { permissionsFor } from "../program/deno_permissions.ts";
import { type Layout, type NodePlan, writeConfiguration } from "./configuration.ts";
import type { DemoOptions, Runtime } from "./options.ts";
import { BrokenPromise, NodeProcess, runOnce, runtimeBinary } from "./processes.ts";

const script = (role: string) => fileURLToPath(new URL(`../hypha_${role}.ts`, import.meta.url));
const readyTimeoutMs = 60_000;
const probePauseMs = 150;
/** The demo's own certificate: it probes as an operator would. */
export const operator = "operator";

/** A free port of the loopback interface, now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
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
  return await Promise.all(
    nodes.map(async ([name, role], index) => ({ name, role, runtime: of(index), port: await freePort() })),
  );
}

/** Starts one node with its command-line program, on Deno with the least permissions that its role needs. */
export async function startNode(plan: NodePlan, layout: Layout): Promise<NodeProcess> {
  const { name, role, runtime } = plan;
  for (const part of ["config", "logs", join("work", name)]) {
    mkdirSync(join(layout.folder, part), { recursive: true, mode: 0o700 });
  }
  const config = writeConfiguration(plan, layout);
  const command = await runtimeBinary(runtime);
  const run = [script(role), "run", "-c", config, "--log-format", "json", "--log-level", "info"];
  const permissions = permissionsFor(role, {
    configPath: config,
    certificateFolder: layout.certificates,
    readPaths: role === "data" ? [layout.dataset.slices] : role === "scheduler" ? [layout.dataset.heldOut] : [],
    addresses: ["127.0.0.1"],
  });
  const args = runtime === "node"
    ? ["--no-warnings", ...run]
    : ["run", "--quiet", "--no-check", ...permissions, ...run];
  return new NodeProcess({ name, role, runtime, command, args, logFile: join(layout.folder, "logs", `${name}.log`) });
}

/** Waits until the node answers `probe` healthy. */
export async function untilHealthy(node: NodeProcess, plan: NodePlan, layout: Layout): Promise<void> {
  const command = await runtimeBinary("node");
  const config = writeConfiguration(
    { name: operator, role: "gateway", runtime: "node", port: layout.gatewayPort },
    layout,
  );
  const address = `/ip4/127.0.0.1/tcp/${plan.port}`;
  const args = ["--no-warnings", script("gateway"), "probe", "-c", config, address, "--timeout", "5000"];
  const until = performance.now() + readyTimeoutMs;
  let last = "";
  while (performance.now() < until) {
    if (node.exitCode !== undefined) {
      throw new BrokenPromise(`${plan.name} ended (exit ${node.exitCode}) before it was ready: ${lastLines(node)}`);
    }
    const { code, stderr } = await runOnce(command, args, 20_000);
    if (code === 0) return;
    last = stderr.trim();
    await new Promise((resolve) => setTimeout(resolve, probePauseMs));
  }
  throw new BrokenPromise(`${plan.name} did not become healthy within ${readyTimeoutMs / 1_000} s: ${last}`);
}

/** The end of what a node said, for a message. */
export function lastLines(node: NodeProcess): string {
  return node.events.slice(-5).map(({ event, message }) => `${event} ${String(message ?? "")}`).join("; ") ||
    "(silent)";
}
