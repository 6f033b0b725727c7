/**
 * The nodes under attack, in a process of their own: whole nodes with their roles, gates and default limits.
 *
 * Reads lines of JSON on standard input, {@linkcode VictimCommand}, and answers each with one. Lines of the nodes' logs go out
 * unasked, as `{"line": …}`.
 *
 * @module
 */
import process from "node:process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { logAlone } from "../../../actors/trust/audit.ts";
import type { RoleConfig } from "../../../actors/config/config.ts";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { nodeMachine } from "../../../actors/node/node.ts";
import type { Ports, Report } from "../../../actors/runtime/ports.ts";
import { headFiles, witnessFolder } from "../../../actors/witness/head_files.ts";
import type { WitnessPort } from "../../../actors/witness/witness_port.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import { keepAudit } from "../../program/audit.ts";
import { makePorts } from "../../program/ports.ts";
import { countedGates, type GateCounts } from "../counted_gates.ts";
import { p99 } from "../gate/honest.ts";
import { memoryAfterCollection, openSockets, spentMs } from "../own_process.ts";
import { nodeName, type VictimPlace, victimRoles } from "./world.ts";

/** What the process is told. */
export type VictimCommand =
  | { readonly type: "start"; readonly name: string; readonly config: RoleConfig }
  | { readonly type: "footprint" }
  /** Sockets and gates, without a collection. The answer is {@linkcode MembersCounts}. */
  | { readonly type: "counts" }
  /** All nodes take leave: a job's directory may be a mount, which only its worker removes. */
  | { readonly type: "drain" };

/** A line of a node's log. */
export interface VictimLine {
  readonly node: string;
  readonly level: string;
  readonly event: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What can be counted without a collection. */
export interface MembersCounts {
  /** Open sockets. */
  readonly fds: number;
  /** Gates that live. */
  readonly actors: number;
}

/** What the process says about itself. */
export interface MembersFootprint extends MembersCounts {
  /** After a collection, as all bytes here. */
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly rssBytes: number;
  /** The most since the last footprint. */
  readonly rssPeakBytes: number;
  readonly unhandled: number;
  /** How late timers of its event loop were since the last footprint, in milliseconds. */
  readonly lag: { readonly p99Ms: number; readonly maxMs: number };
  /** Most processor time between two ticks of a timer since the last footprint, in milliseconds: the longest piece of work. */
  readonly turnMaxMs: number;
  /** Processor time since the last footprint, in milliseconds. */
  readonly cpuMs: number;
}

/** A timer is due this often, in milliseconds; so many delays are kept. */
const tickMs = 5;
const delaysMax = 100_000;
/** How often the memory is looked at, in milliseconds. */
const rssEveryMs = 100;

let unhandled = 0;
const complain = (what: string) => (error: unknown) => {
  unhandled += 1;
  process.stderr.write(`${what}: ${error instanceof Error ? error.stack : error}\n`);
};
process.on("unhandledRejection", complain("unhandled"));
process.on("uncaughtException", complain("uncaught"));

const running: { readonly drain: () => void; readonly over: Promise<void> }[] = [];
const gates: GateCounts = { alive: 0, accepted: {} };
/** Names of all nodes under attack, as in their certificates: they link with each other as they need, and not when idle. */
const nodeNames = new Set(victimRoles.map(nodeName));
const say = (what: unknown) => process.stdout.write(`${JSON.stringify(what)}\n`);

let delays: number[] = [];
let due = performance.now() + tickMs;
let spentBefore = spentMs();
let turnMaxMs = 0;
setInterval(() => {
  const now = performance.now();
  if (delays.length < delaysMax) delays.push(Math.max(0, now - due));
  due = now + tickMs;
  // Other programs make a timer late, not this work longer.
  const spent = spentMs();
  turnMaxMs = Math.max(turnMaxMs, spent - spentBefore);
  spentBefore = spent;
}, tickMs);
let rssPeakBytes = 0;
setInterval(() => rssPeakBytes = Math.max(rssPeakBytes, process.memoryUsage.rss()), rssEveryMs);
let cpu = process.cpuUsage();

/** Starts a node; resolves when it listens. */
function start(name: string, config: RoleConfig): Promise<VictimPlace> {
  return new Promise((resolve) => {
    const report = ({ level, event, message, fields = {} }: Report) => {
      const line: VictimLine = { node: name, level, event, message, fields };
      say({ line });
      if (event !== "node.listening") return;
      const { peer, addresses } = fields as { readonly peer: string; readonly addresses: readonly string[] };
      resolve({ peer, address: addresses.find((address) => !address.includes("p2p-circuit")) ?? "" });
    };
    const ports = makePorts(report);
    const witness = witnessOf(config, ports);
    const { promise: over, resolve: isOver } = Promise.withResolvers<void>();
    const actor = superviseRoot(nodeMachine, {
      id: name,
      input: {
        config,
        ports,
        transport: transportLogic,
        makeGate: countedGates(makeGateFactory({ ports }), gates, (peer) => nodeNames.has(peer)),
        audit: logAlone,
        evaluator: undefined,
        witness,
      },
      onError: complain(name),
      onDone: isOver,
    });
    running.push({ drain: () => actor.send({ type: "drain", reason: "the attacks are over" }), over });
  });
}

/** The gateway keeps an audit log, and witnesses those of others more often than it would. */
function witnessOf({ role, stateDir }: RoleConfig, ports: Ports): WitnessPort | undefined {
  if (role !== "gateway" || stateDir === undefined) return undefined;
  const audit = keepAudit({ dir: join(stateDir, "audit"), keepMs: 86_400_000, now: Date.now });
  void audit.begin(() => `spiffe://attacked.hypha/gateway/${nodeName(role)}`, ports);
  for (let record = 0; record < 2_000; record++) audit.inbox.record({ type: "peer.established", outcome: "done" });
  return { log: audit.log, heads: headFiles(witnessFolder(stateDir)), everyMs: 6_000 };
}

function footprint(): MembersFootprint {
  const lag = { p99Ms: p99(delays), maxMs: delays.reduce((most, delay) => Math.max(most, delay), 0) };
  const spent = process.cpuUsage(cpu);
  const longestMs = turnMaxMs;
  const peak = Math.max(rssPeakBytes, process.memoryUsage().rss);
  const memory = memoryAfterCollection();
  // The collection is this question's own.
  [delays, due, cpu, rssPeakBytes] = [[], performance.now() + tickMs, process.cpuUsage(), 0];
  [turnMaxMs, spentBefore] = [0, spentMs()];
  return {
    fds: openSockets(),
    ...memory,
    rssBytes: process.memoryUsage().rss,
    rssPeakBytes: peak,
    actors: gates.alive,
    unhandled,
    lag,
    turnMaxMs: longestMs,
    cpuMs: (spent.user + spent.system) / 1_000,
  };
}

/** Those that depend on others first. */
async function drain(): Promise<object> {
  for (const node of running.toReversed()) node.drain();
  await Promise.all(running.map(({ over }) => over));
  return {};
}

async function obey(command: VictimCommand): Promise<unknown> {
  if (command.type === "start") return await start(command.name, command.config);
  if (command.type === "counts") return { fds: openSockets(), actors: gates.alive };
  return command.type === "footprint" ? footprint() : await drain();
}

for await (const text of createInterface({ input: process.stdin })) {
  say(await obey(JSON.parse(text)));
}
process.exit(0);
