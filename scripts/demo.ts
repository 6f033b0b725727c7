/**
 * `npm run demo`: from an empty folder to a trained model, over mutual TLS.
 *
 * Makes a PKI, starts one process a node, trains a model on digits by DiLoCo rounds, revokes a trainer's certificate in
 * the middle, lets intruders try the door, and says what happened. Exit 1 names the promise that broke.
 *
 * @module
 */
import { mkdtempSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { chooseCell, unmountAll } from "./demo/cell.ts";
import { makeCertificates, makeIntruders, revokeCertificate } from "./demo/certificates.ts";
import { type Layout, type NodePlan, startable } from "./demo/configuration.ts";
import { writeDataset } from "./demo/dataset.ts";
import { type Display, formatTable, makeDisplay } from "./demo/display.ts";
import { certificatePeer, tryIntruder } from "./demo/intruder.ts";
import { operator, planNodes, startNode, untilHealthy } from "./demo/network.ts";
import { type DemoOptions, readOptions } from "./demo/options.ts";
import {
  BrokenPromise,
  endAll,
  type NodeProcess,
  runtimeBinary,
  shareCompiledCode,
  survivors,
} from "./demo/processes.ts";
import { brokenPromises, closingTimes, type DemoResult, summarise } from "./demo/promises.ts";

const trainers = 3;
const allocationTimeoutMs = 60_000;
const trainingTimeoutMs = 180_000;
const redialTimeoutMs = 30_000;
/** Longer than the promise, so that a late closing is seen and told as late. */
const closedWaitMs = 3_000;
const stopGraceMs = 10_000;
/** A cell that was told to end is torn down by the kernel, after the worker has gone. */
const survivorsGraceMs = 2_000;
const digits = fileURLToPath(new URL("../tests/data/digits.csv", import.meta.url));

interface Network {
  readonly plans: readonly NodePlan[];
  readonly layout: Layout;
  readonly nodes: Map<string, NodeProcess>;
}

async function prepare(options: DemoOptions, folder: string, display: Display): Promise<Network> {
  shareCompiledCode(join(folder, "compiled"));
  const node = await runtimeBinary("node");
  const certificates = join(folder, "certs");
  const plans = await planNodes(options.runtime);
  await makeCertificates(node, certificates, [...plans, { name: operator, role: "gateway" }]);
  const cell = await chooseCell(join(folder, "cell"));
  display.note(cell.said);
  const executor = fileURLToPath(new URL("./executors/train_digits.ts", import.meta.url));
  const layout: Layout = {
    folder,
    certificates,
    gatewayPort: plans[0]?.port ?? 0,
    dataset: writeDataset(digits, folder, options),
    rounds: options.quick ? 10 : 16,
    trainers,
    executor: { cmd: startable(node), args: ["--no-warnings", executor] },
    cell: cell.table,
  };
  return { plans, layout, nodes: new Map() };
}

/** Starts the nodes in the order of their dependence: the gateway, then data and workers, then the scheduler. */
async function start({ plans, layout, nodes }: Network, display: Display): Promise<void> {
  for (const roles of [["gateway"], ["data", "worker"], ["scheduler"]]) {
    const wave = plans.filter(({ role }) => roles.includes(role));
    for (const plan of wave) nodes.set(plan.name, await startNode(plan, layout));
    const waiting = wave.filter(({ role }) => role !== "scheduler");
    const probe = async () => {
      for (let plan = waiting.shift(); plan !== undefined; plan = waiting.shift()) {
        const node = nodes.get(plan.name);
        if (node !== undefined) await untilHealthy(node, plan, layout);
        display.note(`${plan.name} (${plan.runtime}) answers its probe`);
      }
    };
    await Promise.all([probe(), probe()]);
  }
}

function follow(scheduler: NodeProcess, display: Display, rounds: number): void {
  scheduler.listen((event) => {
    if (event.event === "round.evaluated") {
      const accuracy = (Number(event["accuracy"]) * 100).toFixed(1);
      display.progress(Number(event["round"]), rounds, `accuracy on held-out rows ${accuracy} %`);
    }
    if (event.event === "lease.granted") display.note(`${String(event["name"])} leased for ${String(event["class"])}`);
  });
}

interface Revocation {
  readonly name: string;
  readonly closedMs: Record<string, number | null>;
  readonly redialCode: string;
  readonly aggregator: string;
}

/** Whether an event is about a node: by its PeerID, or by the name in its certificate. */
const names = (event: object, name: string, peer: string): boolean => {
  const text = JSON.stringify(event);
  return text.includes(peer) || text.includes(`${name}.hypha.local`);
};

/** Revokes the certificate of a trainer that holds a lease, and sees what becomes of its connections. */
async function revokeTrainer(
  { layout, nodes }: Network,
  scheduler: NodeProcess,
  display: Display,
): Promise<Revocation> {
  const node = await runtimeBinary("node");
  const leaseOf = (wanted: string) => (event: { event: string; [field: string]: unknown }) =>
    event.event === "lease.granted" && event["class"] === wanted;
  const nodeOf = (peer: unknown) =>
    [...nodes.keys()].find((name) => certificatePeer(join(layout.certificates, `${name}-cert.pem`)) === peer);
  const lease = await scheduler.waitFor(leaseOf("train"), "lease for a trainer", allocationTimeoutMs);
  const aggregate = await scheduler.waitFor(leaseOf("aggregate"), "lease for the aggregator", allocationTimeoutMs);
  const name = nodeOf(lease["peer"]);
  const aggregator = nodeOf(aggregate["peer"]);
  if (name === undefined || aggregator === undefined) {
    throw new BrokenPromise("a lease names a peer that is no node here");
  }
  const peer = certificatePeer(join(layout.certificates, `${name}-cert.pem`));
  display.stage(`Revoking ${name}, which trains, in the middle of it`);
  await revokeCertificate(node, layout.certificates, name);
  const written = statSync(join(layout.certificates, "crls.pem")).mtimeMs;
  const others = [...nodes.values()].filter((other) => other.name !== name);
  const closedMs = await untilClosed(() => closingTimes(others, peer, written));
  for (const [other, ms] of Object.entries(closedMs)) display.note(`${other} closed it after ${ms ?? "—"} ms`);
  const gateway = nodes.get("gateway");
  const refusal = await gateway?.waitFor(
    (event) => event.event === "peer.refused" && Date.parse(event.time) >= written && names(event, name, peer),
    `refusal of ${name}'s redial`,
    redialTimeoutMs,
  );
  const redialCode = String(refusal?.["code"]);
  display.note(`its redial was refused: ${redialCode}`);
  return { name, closedMs, redialCode, aggregator };
}

/** Waits until every node has closed, or clearly will not. */
async function untilClosed(look: () => Record<string, number | null>): Promise<Record<string, number | null>> {
  const until = performance.now() + closedWaitMs;
  for (;;) {
    const closedMs = look();
    if (Object.values(closedMs).every((ms) => ms !== null) || performance.now() > until) return closedMs;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What of the demo's processes is still there when all had the time to end. */
async function lasting(folder: string): Promise<readonly string[]> {
  const until = performance.now() + survivorsGraceMs;
  for (;;) {
    const left = survivors(folder);
    if (left.length === 0 || performance.now() > until) return left;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function stopAll({ nodes }: Network): Promise<void> {
  const order = ["scheduler", "worker", "data", "gateway"];
  for (const role of order) {
    await Promise.all([...nodes.values()].filter((node) => node.role === role).map((node) => node.stop(stopGraceMs)));
  }
}

function printResult(result: DemoResult, { plans, nodes }: Network): void {
  const rows = plans.map(({ name, role, runtime }) => {
    const summary = nodes.get(name)?.events.findLast(({ event }) => event === "node.summary");
    const closed = result.revocation.closedMs[name];
    const refused = Object.values((summary?.["refused"] ?? {}) as Record<string, number>).reduce((a, b) => a + b, 0);
    return [
      name,
      role,
      runtime,
      String(summary?.["accepted"] ?? "—"),
      String(refused),
      String(summary?.["bytesSent"] ?? "—"),
      closed === undefined ? "" : `${closed} ms`,
    ];
  });
  const head = ["node", "role", "runtime", "accepted", "refused", "bytes sent", "CRL written → closed"];
  console.log(`\n${formatTable([head, ...rows])}\n`);
  const rounds = result.rounds.map(({ round, accuracy }) => [String(round), `${(accuracy * 100).toFixed(1)} %`]);
  console.log(`${formatTable([["round", "accuracy on held-out rows"], ...rounds])}\n`);
  const refused = Object.entries(result.refused).map(([code, count]) => `${code} ${count}`).join(", ");
  console.log(`handshakes accepted ${result.accepted}; refused: ${refused}`);
  console.log(`bytes moved ${result.bytes}; accuracy ${(result.accuracy * 100).toFixed(1)} %; ${result.seconds} s`);
}

async function perform(options: DemoOptions, folder: string, display: Display): Promise<string[]> {
  const begun = performance.now();
  display.stage("Making a PKI: root → intermediate → one certificate a node, and a revocation list of each CA");
  const network = await prepare(options, folder, display);
  const { layout, nodes } = network;
  display.stage(`Starting ${network.plans.length} nodes, one process each (${options.runtime})`);
  await start(network, display);
  const scheduler = nodes.get("scheduler");
  if (scheduler === undefined) throw new BrokenPromise("there is no scheduler");
  display.stage("Allocating workers, training in rounds");
  follow(scheduler, display, layout.rounds);
  await scheduler.waitFor(({ event }) => event === "round.evaluated", "evaluated round", trainingTimeoutMs);
  const revocation = await revokeTrainer(network, scheduler, display);
  display.stage(`Training goes on without ${revocation.name}`);
  const done = await scheduler.waitFor(({ event }) => event === "training.done", "end of training", trainingTimeoutMs);
  display.stage("Three intruders try to get in");
  const broken: string[] = [];
  for (const intruder of await makeIntruders(layout.certificates, new Date())) {
    const code = await tryIntruder(intruder, layout, nodes.get("gateway"));
    display.note(`${intruder.name}: ${code}`);
    if (code !== intruder.code) broken.push(`the intruder (${intruder.name}) met ${code}, not ${intruder.code}`);
  }
  display.stage("Stopping");
  await stopAll(network);
  const evaluated = scheduler.events.filter(({ event }) => event === "round.evaluated");
  const result: DemoResult = {
    runtime: options.runtime,
    nodes: network.plans.length,
    rounds: evaluated.map(({ round, accuracy }) => ({ round: Number(round), accuracy: Number(accuracy) })),
    accuracy: Number(done["accuracy"]),
    ...summarise([...nodes.values()]),
    revocation: { closedMs: revocation.closedMs },
    seconds: Math.round((performance.now() - begun) / 100) / 10,
  };
  if (revocation.redialCode !== "certificate-revoked") {
    broken.push(`the revoked worker's redial met ${revocation.redialCode}, not certificate-revoked`);
  }
  if (result.rounds.length < layout.rounds) {
    broken.push(`${result.rounds.length} rounds were evaluated, not ${layout.rounds}`);
  }
  for (const survivor of await lasting(folder)) broken.push(`a process survives: ${survivor}`);
  for (const node of nodes.values()) {
    if (node.exitCode !== 0) broken.push(`${node.name} ended with exit code ${node.exitCode}, not 0`);
  }
  for (const left of readdirSync(join(folder, "work")).flatMap((name) => readdirSync(join(folder, "work", name)))) {
    if (left.startsWith("hypha-")) broken.push(`a work directory was left: ${left}`);
  }
  const connectedMin = ["gateway", "scheduler", revocation.aggregator];
  broken.push(...brokenPromises(result, { shuffleLabels: options.shuffleLabels, connectedMin }));
  display.clear();
  if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else printResult(result, network);
  return broken;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "hypha-demo-")));
  const display = makeDisplay(options);
  const clean = () => {
    for (const survivor of endAll(folder)) console.error(`Broken promise: a process survives: ${survivor}`);
    unmountAll(folder);
    if (!options.keep) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    else console.error(`Kept: ${folder}`);
  };
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    process.once(signal, () => {
      clean();
      process.exit(code);
    });
  }
  try {
    const broken = await perform(options, folder, display);
    for (const promise of broken) console.error(`Broken promise: ${promise}`);
    return broken.length === 0 ? 0 : 1;
  } catch (error) {
    display.clear();
    const reason = error instanceof BrokenPromise
      ? error.message
      : error instanceof Error
      ? error.stack
      : String(error);
    console.error(`Broken promise: ${reason}`);
    if (!options.keep) console.error("Run again with --keep to read the nodes' logs.");
    return 1;
  } finally {
    clean();
  }
}

process.exit(await main());
