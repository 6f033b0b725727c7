/**
 * One end in a process of its own: reads one command a line from standard input, and answers each with one line.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { boundYoungGeneration } from "../../program/small_heap.ts";
import { type End, type EndSetup, knock, makeEnd, type Wire } from "./endpoint.ts";
import { type IdleMembers, joinMembers } from "./idle_members.ts";
import type { EndFiles } from "./world.ts";

/** What an end can be told. */
export type Command =
  | { readonly do: "setup"; readonly setup: EndSetup }
  | { readonly do: "cpu" }
  | { readonly do: "memory" }
  /** Handshakes, so many at once. `keep` leaves them open, `brief` closes each at once, `refused` expects none to be let in. */
  | {
    readonly do: "connect";
    readonly address: string;
    readonly count: number;
    readonly parallel: number;
    readonly keep?: boolean;
    readonly brief?: boolean;
    readonly refused?: boolean;
  }
  | { readonly do: "knock"; readonly address: string; readonly count: number }
  | { readonly do: "send"; readonly address: string; readonly bytes: number; readonly streams: number }
  /** Connects so many idle members, and asks them for the health of what they are connected to. */
  | { readonly do: "join"; readonly address: string; readonly members: readonly EndFiles[] }
  | { readonly do: "ask"; readonly count: number }
  | { readonly do: "open" }
  | { readonly do: "trust"; readonly crlsPath: string }
  | { readonly do: "watch" }
  | { readonly do: "lag" }
  | { readonly do: "close" };

/** What it answers; what a command does not measure is zero. */
export interface Answer {
  readonly address: string;
  readonly ms: number;
  readonly cpuUs: number;
  readonly heapBytes: number;
  readonly rssBytes: number;
  readonly open: number;
  /** Of each handshake or question, in milliseconds, sorted. */
  readonly latencies: readonly number[];
  readonly error?: string;
}

const nothing: Answer = { address: "", ms: 0, cpuUs: 0, heapBytes: 0, rssBytes: 0, open: 0, latencies: [] };
/** How often the loop is looked at, in milliseconds. */
const lagEveryMs = 2;

let end: End;
let idle: IdleMembers | undefined;
const kept: Wire[] = [];
let longestLagMs = 0;

const cpuUs = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

async function connectMany(command: Extract<Command, { do: "connect" }>): Promise<Partial<Answer>> {
  const latencies: number[] = [];
  const wires: Wire[] = [];
  let left = command.count;
  const one = async (_: unknown, dialler: number) => {
    while (left-- > 0) {
      const begun = performance.now();
      const wire = await end.connect(command.address, dialler).catch((error: unknown) => {
        if (command.refused !== true) throw error;
        return undefined;
      });
      latencies.push(performance.now() - begun);
      if (wire !== undefined) wires.push(wire);
      if (command.brief === true) wire?.close();
    }
  };
  await Promise.all(Array.from({ length: command.parallel }, one));
  const connections = new Set(wires.map(({ connection }) => connection)).size;
  if (connections !== wires.length) throw new Error(`${wires.length} dials made ${connections} connections`);
  if (command.keep === true) kept.push(...wires);
  else setTimeout(() => wires.forEach((wire) => wire.close()), 0);
  return { latencies: latencies.sort((a, b) => a - b), open: wires.length };
}

async function send({ address, bytes, streams }: Extract<Command, { do: "send" }>): Promise<void> {
  const wire = await end.connect(address);
  await Promise.all(Array.from({ length: streams }, () => wire.send(bytes)));
  wire.close();
}

function watch(): void {
  longestLagMs = 0;
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    longestLagMs = Math.max(longestLagMs, now - last - lagEveryMs);
    last = now;
  }, lagEveryMs);
}

async function memory(): Promise<Partial<Answer>> {
  const { gc } = globalThis as { gc?: () => void };
  for (let round = 0; round < 4; round++) {
    gc?.();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { heapUsed, rss } = process.memoryUsage();
  return { heapBytes: heapUsed, rssBytes: rss };
}

async function obey(command: Command): Promise<Partial<Answer>> {
  switch (command.do) {
    case "setup":
      end = await makeEnd(command.setup);
      return { address: end.address };
    case "cpu":
      return {};
    case "memory":
      return await memory();
    case "connect":
      return await connectMany(command);
    case "knock":
      for (let done = 0; done < command.count; done++) await knock(command.address);
      return {};
    case "send":
      await send(command);
      return {};
    case "join":
      idle = await joinMembers(command.address, command.members);
      return {};
    case "ask":
      return { latencies: await idle!.ask(command.count), open: idle!.open() };
    case "open":
      return { open: kept.filter((wire) => wire.isOpen()).length };
    case "trust":
      end.trust(command.crlsPath);
      return {};
    case "watch":
      watch();
      return {};
    case "lag":
      return { latencies: [longestLagMs] };
    case "close":
      for (const wire of kept.splice(0)) wire.close();
      return {};
  }
}

// As each program does before it serves. The peers' ends have it too.
boundYoungGeneration();
for await (const line of createInterface({ input: process.stdin })) {
  const begun = performance.now();
  const answer = await obey(JSON.parse(line)).catch((error: unknown) => ({
    error: error instanceof Error ? `${error.stack}` : String(error),
  }));
  const ms = performance.now() - begun;
  process.stdout.write(`${JSON.stringify({ ...nothing, ms, cpuUs: cpuUs(), ...answer })}\n`);
}
process.exit(0);
