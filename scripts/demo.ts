/**
 * `npm run demo`: from an empty folder to a trained model, over mutual TLS.
 *
 * Makes a CA that runs as a member of the network, starts one process a node, each with a certificate that it got by a token, and
 * trains a model on digits by DiLoCo rounds. In the middle a worker joins, a trainer takes another key, the aggregator is killed, and
 * another trainer's certificate is revoked. Intruders try to join. On exit 1 it names the broken promise.
 *
 * @module
 */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { BrokenPromise } from "./demo/broken_promise.ts";
import { ByCa } from "./demo/by_ca.ts";
import { findParts, joinLate, presentAggregator, renewTrainer, revokeTrainer } from "./demo/changes.ts";
import { type Display, makeDisplay } from "./demo/display.ts";
import { makeFolder } from "./demo/folder.ts";
import { tryIntruder } from "./demo/intruder.ts";
import { makeIntruders } from "./demo/intruders.ts";
import { type DemoModel, takeModel } from "./demo/network.ts";
import { type Joined, type Network, prepare, start } from "./demo/network_start.ts";
import { type DemoOptions, readOptions, roundsOf } from "./demo/options.ts";
import { endAll, type NodeProcess, survivors } from "./demo/processes.ts";
import {
  type DemoFacts,
  type DemoResult,
  evaluate,
  type Kill,
  recoveredFrom,
  roundsIn,
  summarise,
} from "./demo/promises.ts";
import { killAggregator } from "./demo/recovery.ts";
import { printJson, showResult, showVerdict } from "./demo/report.ts";
import { missing } from "./demo/runtimes.ts";
import { endStay, untilStopped } from "./demo/stay.ts";
import { unmountAll } from "./demo/unmount_all.ts";

const trainingTimeoutMs = 300_000;
const resultTimeoutMs = 30_000;
const stopGraceMs = 10_000;
/** The kernel removes a cell after its worker has exited. */
const survivorsGraceMs = 2_000;

/** The demo's results so far. They are printed however it ends. */
interface Seen {
  network?: Network;
  joined?: Joined;
  closedMs: Readonly<Record<string, number | null>>;
  kills: readonly Kill[];
  facts: DemoFacts;
  model?: DemoModel;
}

function follow(scheduler: NodeProcess, display: Display, rounds: number): void {
  scheduler.listen((event) => {
    if (event.event === "round.evaluated") {
      const accuracy = (Number(event["accuracy"]) * 100).toFixed(1);
      display.progress(Number(event["round"]), rounds, `held-out accuracy ${accuracy} %`);
    }
    if (event.event === "evaluation.cell") display.note(String(event["message"]));
    if (event.event === "lease.granted") display.note(`${String(event["name"])} leased for ${String(event["class"])}`);
  });
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
  const order = ["scheduler", "worker", "data", "gateway", "ca"];
  for (const role of order) {
    await Promise.all([...nodes.values()].filter((node) => node.role === role).map((node) => node.stop(stopGraceMs)));
  }
}

function sum(seen: Seen, options: DemoOptions, begun: number): DemoResult {
  const nodes = [...seen.network?.nodes.values() ?? []];
  const events = seen.network?.nodes.get("scheduler")?.events ?? [];
  const done = events.find(({ event }) => event === "training.done");
  return {
    runtime: options.runtime,
    nodes: nodes.length,
    rounds: roundsIn(events),
    accuracy: done === undefined ? null : Number(done["accuracy"]),
    model: seen.model ?? null,
    executor: options.executor,
    recovered: recoveredFrom(seen.kills, events),
    ...summarise(nodes),
    revocation: { closedMs: seen.closedMs },
    joined: seen.joined ?? null,
    seconds: Math.round((performance.now() - begun) / 100) / 10,
  };
}

/** Work directories of jobs and of evaluations that are still there. */
function leftovers(folder: string): string[] {
  const all = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return all.filter((path) => /(^|\/)(work\/[^/]+|evaluations)\/hypha-[^/]+$/.test(path))
    .map((path) => `a work directory was left: ${path}`);
}

/** What a network with a CA can do in the middle of training. */
interface Changes {
  /** When the late worker was ready, in milliseconds since the epoch. */
  readonly readyAt: number;
  readonly renewal: Awaited<ReturnType<typeof renewTrainer>>;
}

/** What happens in the middle of training, one change after the other. */
async function change(
  network: Network,
  scheduler: NodeProcess,
  display: Display,
  seen: Seen,
): Promise<Changes | undefined> {
  const { trainers: [revoked = "", renewing = ""], aggregator: first } = await findParts(network, scheduler);
  let changes: Changes | undefined;
  if (network.layout.way === "ca") {
    display.stage(`${network.plan.late.name} joins, and ${renewing} takes another key, in the middle of training`);
    const both = [joinLate(network, scheduler, display), renewTrainer(network, renewing, display)] as const;
    const [readyAt, renewal] = await Promise.all(both);
    changes = { readyAt, renewal };
  }
  display.stage(`Killing ${first}, which aggregates, in the middle of training`);
  seen.kills = [await killAggregator(network, { scheduler, name: first }, display)];
  const aggregator = presentAggregator(network, scheduler);
  display.stage(`Revoking ${revoked}, which trains, in the middle of it`);
  const { closedMs, ...facts } = await revokeTrainer(network, { name: revoked, aggregator }, display);
  seen.closedMs = closedMs;
  seen.facts = { ...seen.facts, revoked: facts };
  display.stage(`Training goes on without ${revoked}`);
  return changes;
}

/** What the scheduler's log says, once training has ended, of the changes in its middle. */
function factsOf({ readyAt, renewal }: Changes, { events }: NodeProcess): Pick<DemoFacts, "late" | "renewal"> {
  const done = events.find(({ event }) => event === "training.done");
  const lost = events.find(({ event, peer }) => event === "trainer.lost" && peer === renewal.formerPeer);
  const roundsAfter =
    events.filter(({ event, time }) => event === "round.finished" && Date.parse(time) > renewal.at).length;
  return {
    late: { readyAt, doneAt: done === undefined ? 0 : Date.parse(done.time) },
    renewal: { ...renewal, roundsAfter, lost: lost === undefined ? undefined : String(lost["reason"]) },
  };
}

async function letIntrudersTry({ certifier, layout, nodes, plan }: Network, display: Display) {
  const met = [];
  for (const intruder of await makeIntruders(certifier.issuer(), new Date())) {
    const code = await tryIntruder(intruder, layout, nodes.get("gateway"));
    display.note(`${intruder.name}: ${code}`);
    met.push({ name: intruder.name, wanted: intruder.code, met: code });
  }
  if (certifier instanceof ByCa) {
    const code = await certifier.tryUsedToken(plan.late);
    display.note(`a used token: ${code}`);
    met.push({ name: "a used token", wanted: "token-used", met: code });
  }
  return met;
}

async function perform(options: DemoOptions, folder: string, display: Display, seen: Seen): Promise<void> {
  const begun = performance.now();
  display.stage(
    options.byHand
      ? "Making a PKI: root → intermediate → one certificate a node, and a revocation list of each CA"
      : "Making a CA: root → intermediate, their revocation lists, and a service that issues",
  );
  const network = await prepare(options, folder, display);
  seen.network = network;
  const { layout, nodes, plan } = network;
  const how = options.byHand ? "" : ", each with a certificate by its token";
  display.stage(`Starting ${plan.nodes.length} nodes, one process each (${options.runtime})${how}`);
  const joined = await start(network, begun, display);
  if (!options.byHand) seen.joined = joined;
  const scheduler = nodes.get("scheduler");
  if (scheduler === undefined) throw new BrokenPromise("there is no scheduler");
  display.stage("Allocating workers, training in rounds");
  follow(scheduler, display, layout.rounds);
  // An evaluation may last longer than a round, the first one above all.
  await scheduler.waitFor(({ event }) => event === "round.finished", "finished round", trainingTimeoutMs);
  const changes = await change(network, scheduler, display, seen);
  await scheduler.waitFor(({ event }) => event === "training.done", "end of training", trainingTimeoutMs);
  if (changes !== undefined) seen.facts = { ...seen.facts, ...factsOf(changes, scheduler) };
  const kept = await scheduler.waitFor(({ event }) => event === "training.model", "model", resultTimeoutMs);
  const place = network.certifier.placeOf("scheduler");
  seen.model = await takeModel(String(kept["training"]), { path: options.modelOut, tools: options.tools, place });
  display.note(`the model after round ${seen.model.round}: ${seen.model.path}`);
  display.stage("Intruders try to get in");
  seen.facts = { ...seen.facts, intruders: await letIntrudersTry(network, display) };
  if (options.console) {
    display.stage("The network stays up for the gateway's console. Ctrl-C ends it");
    await untilStopped();
  }
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
    kills: [],
    facts: {
      way: options.byHand ? "by-hand" : "ca",
      shuffleLabels: options.shuffleLabels,
      roundsWanted: roundsOf(options),
      stopped: undefined,
    },
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
    showResult(result, { nodes: seen.network.nodes, way: seen.facts.way }, display);
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
  let cleaned: readonly string[] | undefined;
  const clean = () => cleaned ??= cleanOnce();
  const cleanOnce = () => {
    const alive = endAll(folder);
    unmountAll(folder);
    if (!options.keep) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    else console.error(`Kept: ${folder}`);
    return alive;
  };
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    process.on(signal, () => {
      if (endStay()) return;
      display.clear();
      for (const survivor of clean()) console.error(`Broken promise: a process survives: ${survivor}`);
      process.exit(code);
    });
  }
  // Whatever ends this process, its network does not outlive it.
  process.on("exit", clean);
  return await demonstrate(options, folder, display, clean);
}

process.exit(await main());
