/**
 * Many whole nodes in one process: reads one command a line from standard input, and answers each with one line of JSON.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { Result } from "effect";
import { parseConfig } from "../../../actors/config/load.ts";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { nodeMachine } from "../../../actors/node/node.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import { logAlone } from "../../../actors/trust/audit.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import { makePorts } from "../../program/ports.ts";

/** A node that is to be started. */
export interface NodeSetup {
  readonly name: string;
  readonly role: "worker" | "data";
  /** Its configuration, TOML. */
  readonly toml: string;
}

/** What a host can be told. */
export type HostCommand =
  /** Starts nodes, one after the other; the answer has how long each took to be ready. */
  | { readonly do: "start"; readonly nodes: readonly NodeSetup[] }
  | { readonly do: "look" }
  /** The times at which nodes offered since the last look at them, in milliseconds since the epoch. */
  | { readonly do: "offers" };

/** What it answers; what a command does not measure is zero or empty. */
export interface HostAnswer {
  /** Of each node that was started, in milliseconds. */
  readonly joinMs: readonly number[];
  /** Members that each node is linked with. */
  readonly links: readonly number[];
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly offers: readonly { readonly node: string; readonly at: number }[];
  readonly error?: string;
}

const nothing: HostAnswer = { joinMs: [], links: [], cpuMs: 0, rssBytes: 0, offers: [] };
/** How long a node may take to be ready, in milliseconds. */
const readyMaxMs = 60_000;

const links = new Map<string, number>();
let offers: { node: string; at: number }[] = [];

async function startNode({ name, role, toml }: NodeSetup): Promise<number> {
  const config = Result.getOrThrow(parseConfig(role, { file: name, text: toml }, { environment: {}, flags: {} }));
  const began = performance.now();
  const ready = Promise.withResolvers<number>();
  links.set(name, 0);
  const ports = makePorts(({ event, message }) => {
    if (event === "node.ready") ready.resolve(performance.now() - began);
    else if (event === "peer.established") links.set(name, links.get(name)! + 1);
    else if (event === "peer.closed") links.set(name, links.get(name)! - 1);
    else if (event === "offer.made") offers.push({ node: name, at: Date.now() });
    else if (event === "node.draining") ready.reject(new Error(`${name}: ${message}`));
  });
  superviseRoot(nodeMachine, {
    id: name,
    input: { config, ports, transport: transportLogic, makeGate: makeGateFactory({ ports }), audit: logAlone },
    onError: (error) => ready.reject(error),
    onDone: () => ready.reject(new Error(`${name} ended`)),
  });
  const timer = setTimeout(() => ready.reject(new Error(`${name} was not ready in time`)), readyMaxMs);
  return await ready.promise.finally(() => clearTimeout(timer));
}

async function answer(command: HostCommand): Promise<Partial<HostAnswer>> {
  switch (command.do) {
    case "start": {
      const joinMs: number[] = [];
      for (const node of command.nodes) joinMs.push(await startNode(node));
      return { joinMs };
    }
    case "look": {
      const { user, system } = process.cpuUsage();
      return { links: [...links.values()], cpuMs: (user + system) / 1_000, rssBytes: process.memoryUsage.rss() };
    }
    case "offers": {
      const made = offers;
      offers = [];
      return { offers: made };
    }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await answer(JSON.parse(line) as HostCommand).catch((error: unknown) => ({
    error: error instanceof Error ? error.message : String(error),
  }));
  process.stdout.write(`${JSON.stringify({ ...nothing, ...said })}\n`);
}
process.exit(0);
