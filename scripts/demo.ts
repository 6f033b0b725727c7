/**
 * `npm run demo`: from an empty folder to a trained model, over mutual TLS.
 *
 * Makes a PKI, starts one process a node, trains a model on digits by DiLoCo rounds, revokes a trainer's certificate in
 * the middle, lets intruders try to join, and reports the results. On exit 1 it names the broken promise.
 *
 * @module
 */
import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { BrokenPromise } from "./demo/broken_promise.ts";
import { chooseCell, unmountAll } from "./demo/cell.ts";
import { makeCertificates, makeIntruders, revokeCertificate } from "./demo/certificates.ts";
import { type Layout, type NodePlan, writeWeights } from "./demo/configuration.ts";
import { writeDataset } from "./demo/dataset.ts";
import { type Display, makeDisplay } from "./demo/display.ts";
import { makeFolder } from "./demo/folder.ts";
import { certificatePeer, tryIntruder } from "./demo/intruder.ts";
import { type DemoModel, operator, planNodes, startNode, takeModel, untilHealthy } from "./demo/network.ts";
import { type DemoOptions, readOptions } from "./demo/options.ts";
import { endAll, type NodeProcess, shareCompiledCode, survivors } from "./demo/processes.ts";
import { closingTimes, type DemoFacts, type DemoResult, evaluate, summarise } from "./demo/promises.ts";
import { printJson, showResult, showVerdict } from "./demo/report.ts";
import { commandOf, missing } from "./demo/runtimes.ts";

const trainers = 3;
const allocationTimeoutMs = 60_000;
const trainingTimeoutMs = 180_000;
const redialTimeoutMs = 30_000;
const resultTimeoutMs = 10_000;
/** Longer than the promise, so that the demo sees a late close and reports it as late. */
const closedWaitMs = 3_000;
const stopGraceMs = 10_000;
/** The kernel removes a cell after its worker has exited. */
const survivorsGraceMs = 2_000;
const digits = fileURLToPath(new URL("../tests/fixtures/digits.csv", import.meta.url));

interface Network {
  readonly plans: readonly NodePlan[];
  readonly layout: Layout;
  readonly nodes: Map<string, NodeProcess>;
}

/** The demo's results so far. They are printed however it ends. */
interface Seen {
  network?: Network;
  closedMs: Record<string, number | null>;
  facts: DemoFacts;
  model?: DemoModel;
}

const roundsOf = ({ quick }: DemoOptions): number => quick ? 10 : 16;

async function prepare(options: DemoOptions, folder: string, display: Display): Promise<Network> {
  shareCompiledCode(join(folder, "compiled"));
  const certificates = join(folder, "certs");
  const plans = await planNodes(options.runtime);
  await makeCertificates(certificates, [...plans, { name: operator, role: "gateway" }]);
  const cell = await chooseCell(folder);
  display.note(cell.description);
  const executor = fileURLToPath(new URL("./executors/train_digits.ts", import.meta.url));
  const [cmd, ...before] = commandOf(options.tools, []);
  const dataset = writeDataset(digits, folder, options);
  const layout: Layout = {
    folder,
    certificates,
    gatewayPort: plans[0]?.port ?? 0,
    dataset,
    weights: writeWeights(folder),
    rounds: roundsOf(options),
    trainers,
    tools: options.tools,
    executor: { cmd, args: [...before, executor] },
    cell: cell.table,
  };
  return { plans, layout, nodes: new Map() };
}

/** Starts the nodes in the order of their dependence: the gateway, then data and workers, then the scheduler. */
async function start({ plans, layout, nodes }: Network, display: Display): Promise<void> {
  for (const roles of [["gateway"], ["data", "worker"], ["scheduler"]]) {
    const wave = plans.filter(({ role }) => roles.includes(role));
    for (const plan of wave) nodes.set(plan.name, startNode(plan, layout));
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
      display.progress(Number(event["round"]), rounds, `held-out accuracy ${accuracy} %`);
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

/** Revokes the certificate of a trainer that holds a lease, and watches its connections. */
async function revokeTrainer(
  { layout, nodes }: Network,
  scheduler: NodeProcess,
  display: Display,
): Promise<Revocation> {
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
  await revokeCertificate(layout.certificates, name);
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

/** Returns the processes of the demo that still run after all had time to end. */
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

function sum(seen: Seen, options: DemoOptions, begun: number): DemoResult {
  const nodes = [...seen.network?.nodes.values() ?? []];
  const events = seen.network?.nodes.get("scheduler")?.events ?? [];
  const done = events.find(({ event }) => event === "training.done");
  const evaluated = events.filter(({ event }) => event === "round.evaluated");
  return {
    runtime: options.runtime,
    nodes: nodes.length,
    rounds: evaluated.map(({ round, accuracy }) => ({ round: Number(round), accuracy: Number(accuracy) })),
    accuracy: done === undefined ? null : Number(done["accuracy"]),
    model: seen.model ?? null,
    ...summarise(nodes),
    revocation: { closedMs: seen.closedMs },
    seconds: Math.round((performance.now() - begun) / 100) / 10,
  };
}

/** Work directories of jobs that are still there. */
function leftovers(folder: string): string[] {
  const work = readdirSync(join(folder, "work")).flatMap((name) => readdirSync(join(folder, "work", name)));
  return work.filter((name) => name.startsWith("hypha-")).map((name) => `a work directory was left: ${name}`);
}

async function perform(options: DemoOptions, folder: string, display: Display, seen: Seen): Promise<void> {
  display.stage("Making a PKI: root → intermediate → one certificate a node, and a revocation list of each CA");
  const network = await prepare(options, folder, display);
  seen.network = network;
  const { layout, nodes } = network;
  display.stage(`Starting ${network.plans.length} nodes, one process each (${options.runtime})`);
  await start(network, display);
  const scheduler = nodes.get("scheduler");
  if (scheduler === undefined) throw new BrokenPromise("there is no scheduler");
  display.stage("Allocating workers, training in rounds");
  follow(scheduler, display, layout.rounds);
  await scheduler.waitFor(({ event }) => event === "round.evaluated", "evaluated round", trainingTimeoutMs);
  const revocation = await revokeTrainer(network, scheduler, display);
  seen.closedMs = revocation.closedMs;
  const connectedMin = ["gateway", "scheduler", revocation.aggregator];
  seen.facts = { ...seen.facts, revoked: { redialCode: revocation.redialCode, connectedMin } };
  display.stage(`Training goes on without ${revocation.name}`);
  await scheduler.waitFor(({ event }) => event === "training.done", "end of training", trainingTimeoutMs);
  const kept = await scheduler.waitFor(({ event }) => event === "training.model", "model", resultTimeoutMs);
  seen.model = await takeModel(String(kept["training"]), layout);
  display.note(`the model after round ${seen.model.round}: ${seen.model.file}`);
  display.stage("Three intruders try to get in");
  const met = [];
  for (const intruder of await makeIntruders(layout.certificates, new Date())) {
    const code = await tryIntruder(intruder, layout, nodes.get("gateway"));
    display.note(`${intruder.name}: ${code}`);
    met.push({ name: intruder.name, wanted: intruder.code, met: code });
  }
  seen.facts = { ...seen.facts, intruders: met };
  display.stage("Stopping");
  await stopAll(network);
  const alive = await lasting(folder);
  const left = [...alive.map((survivor) => `a process survives: ${survivor}`), ...leftovers(folder)];
  const exits = [...nodes.values()].map(({ name, exitCode }) => ({ name, code: exitCode }));
  seen.facts = { ...seen.facts, left, exits };
}

/** Performs the demo, removes its files, and reports the result. */
async function demonstrate(options: DemoOptions, folder: string, display: Display, clean: () => readonly string[]) {
  const begun = performance.now();
  const seen: Seen = {
    closedMs: {},
    facts: { shuffleLabels: options.shuffleLabels, roundsWanted: roundsOf(options), stopped: undefined },
  };
  try {
    if (options.tools === "deno") display.note(`All processes run on Deno: ${missing("node")}`);
    await perform(options, folder, display, seen);
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    const [reason = ""] = message.split("\n");
    const hint = options.keep ? "" : ". Run again with --keep to read the nodes' logs";
    seen.facts = { ...seen.facts, stopped: `${reason}${hint}` };
    if (options.keep && !(error instanceof BrokenPromise)) writeFileSync(join(folder, "failure.txt"), `${stack}\n`);
  }
  const result = sum(seen, options, begun);
  display.clear();
  if (!options.json && seen.network !== undefined && seen.facts.stopped === undefined) {
    showResult(result, seen.network, display);
  }
  const alive = clean().map((survivor) => `a process survives: ${survivor}`);
  const { left } = seen.facts;
  const verdict = evaluate(
    result,
    alive.length === 0 ? seen.facts : { ...seen.facts, left: [...left ?? [], ...alive] },
  );
  if (options.json) printJson(result, verdict);
  const errors = makeDisplay(options, { out: process.stderr, env: process.env });
  showVerdict(verdict, display, errors);
  return verdict.promises.every(({ held }) => held === true) ? 0 : 1;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  let folder: string;
  try {
    folder = makeFolder();
  } catch (error) {
    if (!(error instanceof BrokenPromise)) throw error;
    console.error(error.message);
    return 1;
  }
  const display = makeDisplay(options);
  const clean = () => {
    const alive = endAll(folder);
    unmountAll(folder);
    if (!options.keep) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    else console.error(`Kept: ${folder}`);
    return alive;
  };
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    process.once(signal, () => {
      display.clear();
      for (const survivor of clean()) console.error(`Broken promise: a process survives: ${survivor}`);
      process.exit(code);
    });
  }
  return await demonstrate(options, folder, display, clean);
}

process.exit(await main());
