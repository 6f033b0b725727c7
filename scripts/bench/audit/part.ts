/**
 * The part `audit` of the performance table: how fast records are on the disk, how fast a log is verified, and what handshakes and
 * requests cost a gateway's program that keeps a log, compared with two that keep none. What these two differ by is a row of its own: it is
 * how much this run can tell. Two processes of the same program differ by up to 7 %, and their order of start counts: each set is of new
 * processes, the sets have each order equally often, and each gateway is warm before it is measured. A round takes a second, since the
 * machine's speed changes within minutes: the three have their turns within it.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate, setTimeout as pause } from "node:timers/promises";
import { AuditFinding } from "../../../actors/audit/finding.ts";
import { readVerifierKey, verifyLog } from "../../../actors/audit/verify_log.ts";
import { keepAudit } from "../../program/audit.ts";
import { makePorts } from "../../program/ports.ts";
import type { Command } from "../gate/end_process.ts";
import { type GatewayProgram, startGateway } from "../gate/gateway_program.ts";
import { EndProcess } from "../gate/pair.ts";
import { type BenchWorld, type EndFiles, makeBenchWorld } from "../gate/world.ts";
import { type BenchRow, makeRow } from "../row.ts";

interface Sizes {
  /** Records of the log that is written and verified. */
  readonly records: number;
  /** Sets of gateways, one for each order of start. */
  readonly orders: readonly Order[];
  readonly rounds: number;
  /** Of each member that dials: before the first round, and in a round. */
  readonly warmUp: number;
  readonly handshakes: number;
  readonly requests: number;
  /** Members that ask in turns: each may use a tenth of a core. */
  readonly members: number;
  /** Members that connect and leave again, at the same time. */
  readonly diallers: number;
}
const variants = ["without", "again", "withLog"] as const;
type Variant = typeof variants[number];
type Order = readonly Variant[];
const orders: readonly Order[] = [
  ["without", "again", "withLog"],
  ["withLog", "again", "without"],
  ["again", "withLog", "without"],
  ["without", "withLog", "again"],
  ["again", "without", "withLog"],
  ["withLog", "without", "again"],
];
const full: Sizes = {
  records: 1_000_000,
  orders,
  rounds: 16,
  warmUp: 400,
  handshakes: 40,
  requests: 500,
  members: 40,
  diallers: 4,
};
const short: Sizes = {
  records: 2_000,
  orders: orders.slice(0, 1),
  rounds: 1,
  warmUp: 4,
  handshakes: 4,
  requests: 40,
  members: 2,
  diallers: 2,
};
/** Records in one turn of the event loop. */
const turnRecords = 500;
/** After so many the disk is waited for: more than a log holds in memory would be lost on a slow one. */
const drainRecords = 50_000;

/** Measures it. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const sizes = quick ? short : full;
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-audit-"));
  const world = await makeBenchWorld({ quick: true }); // a short revocation list: a long one is another row's
  try {
    const write = await writeRow(join(folder, "log"), sizes);
    return [write, verifyRow(join(folder, "log"), sizes), ...await costRows(world, join(folder, "gateway"), sizes)];
  } finally {
    world.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Records until all are written and synced. Throws where one was lost. */
async function writeRow(dir: string, { records }: Sizes): Promise<BenchRow> {
  const failures: string[] = [];
  const audit = keepAudit({ dir, keepMs: 30 * 86_400_000, now: Date.now });
  const ports = makePorts(({ level, message }) => {
    if (level === "error") failures.push(message);
  });
  await audit.begin(() => "spiffe://acme.example/gateway/gateway-01", ports);
  const begun = performance.now();
  for (let made = 0; made < records;) {
    const until = Math.min(records, made + turnRecords);
    for (; made < until; made++) {
      const detail = { address: "/ip4/192.0.2.1/tcp/4001", index: made };
      audit.inbox.record({ type: "refusal", outcome: "unknown-issuer", peer: `worker-${made}`, detail });
    }
    await setImmediate();
    while (made % drainRecords === 0 && audit.inbox.log?.isWaiting === true) await pause(1);
  }
  while (audit.inbox.log?.isWaiting === true) await pause(1);
  await audit.end(ports);
  const seconds = (performance.now() - begun) / 1_000;
  await ports.dispose();
  if (failures.length > 0 || audit.inbox.lost > 0) {
    throw new Error(`${audit.inbox.lost} of ${records} records were lost: ${failures[0]}`);
  }
  return makeRow({
    id: "A.write",
    what: `records written and synced, ${records} in a row`,
    unit: "/s",
    value: records / seconds,
    op: ">=",
    target: 50_000,
  });
}

function verifyRow(dir: string, { records }: Sizes): BenchRow {
  const key = readVerifierKey(dir);
  if (key instanceof AuditFinding) throw new Error(key.message);
  const begun = performance.now();
  const verified = verifyLog(dir, key);
  const value = (performance.now() - begun) / 1_000;
  if (verified instanceof AuditFinding) throw new Error(verified.message);
  if (verified.records < records) throw new Error(`${verified.records} of ${records} records are in the log`);
  return makeRow({ id: "A.verify", what: `verifying ${records} records`, unit: "s", value, op: "<=", target: 10 });
}

/** Of one handshake or request, in microseconds: the time by the clock, and processor time. */
interface Cost {
  readonly clock: number;
  readonly gateway: number;
  readonly both: number;
}
/** Processes that work with a gateway, and what of it is measured. */
interface Act {
  readonly count: number;
  readonly ends: readonly EndProcess[];
  readonly command: Command;
}

const whats = { handshakes: "a handshake and its connection's end", requests: "a request for its health" };
type ActName = keyof typeof whats;
const actNames = ["handshakes", "requests"] as const;
/** Of each set, the mean of its rounds. */
type Seen = Readonly<Record<ActName, Record<Variant, Cost>[]>>;

/** Gateways that keep a log, and ones that do not, in sets of three. */
async function costRows(world: BenchWorld, dir: string, sizes: Sizes): Promise<readonly BenchRow[]> {
  const files = await world.members(sizes.members + sizes.diallers);
  const seen: Seen = { handshakes: [], requests: [] };
  const diallers = Array.from({ length: sizes.diallers }, () => new EndProcess());
  try {
    for (const [index, dialler] of diallers.entries()) {
      await dialler.tell({ do: "setup", setup: { ...files[index]!, way: "hybrid", listens: false } });
    }
    for (const [index, order] of sizes.orders.entries()) {
      await measureSet({
        world,
        dir: `${dir}-${index}`,
        order,
        diallers,
        members: files.slice(sizes.diallers),
        sizes,
        seen,
      });
    }
  } finally {
    for (const dialler of diallers) dialler.stop();
  }
  return actNames.flatMap((name) => costRow(name, seen[name]));
}

interface Measuring {
  readonly world: BenchWorld;
  readonly dir: string;
  readonly order: Order;
  readonly diallers: readonly EndProcess[];
  readonly members: readonly EndFiles[];
  readonly sizes: Sizes;
  readonly seen: Seen;
}

/** A gateway, and the process whose members send it requests. */
interface Measured {
  readonly gateway: GatewayProgram;
  readonly asking: EndProcess;
}

async function measureSet({ world, dir, order, diallers, members, sizes, seen }: Measuring): Promise<void> {
  const limits = ["[limits]", "handshakes_per_second = 1000000", "handshakes_burst = 1000000"];
  const limited = [...limits, "connections_per_peer_max = 1000000"];
  const audit = ["[audit]", `dir = ${JSON.stringify(dir)}`];
  const set = new Map<Variant, Measured>();
  try {
    for (const name of order) {
      const gateway = await startGateway(world.listener, name === "withLog" ? [...limited, ...audit] : limited);
      const asking = new EndProcess();
      set.set(name, { gateway, asking });
      await asking.tell({ do: "join", address: gateway.address, members });
    }
    const connect = ({ gateway }: Measured, count: number): Act => ({
      count: count * diallers.length,
      ends: diallers,
      command: { do: "connect", address: gateway.address, count, parallel: 1, brief: true },
    });
    const ask = ({ asking }: Measured, count: number): Act => ({
      count,
      ends: [asking],
      command: { do: "ask", count },
    });
    for (const name of order) {
      await costOf(set.get(name)!, connect(set.get(name)!, sizes.warmUp));
      await costOf(set.get(name)!, ask(set.get(name)!, sizes.warmUp * 5));
    }
    for (const name of actNames) {
      const acts = { handshakes: connect, requests: ask };
      const rounds: Record<Variant, Cost[]> = { without: [], again: [], withLog: [] };
      for (let round = 0; round < sizes.rounds; round++) {
        for (const variant of round % 2 === 0 ? order : order.toReversed()) {
          const measured = set.get(variant)!;
          rounds[variant].push(await costOf(measured, acts[name](measured, sizes[name])));
        }
      }
      seen[name].push({
        without: meanOf(rounds.without),
        again: meanOf(rounds.again),
        withLog: meanOf(rounds.withLog),
      });
    }
  } finally {
    for (const { gateway, asking } of set.values()) {
      gateway.stop();
      asking.stop();
    }
  }
}

/** Not the median: processor time comes in ticks of 10 ms, of which a round has some fifty. */
function meanOf(costs: readonly Cost[]): Cost {
  const of = (side: keyof Cost) => costs.reduce((sum, cost) => sum + cost[side], 0) / costs.length;
  return { clock: of("clock"), gateway: of("gateway"), both: of("both") };
}

async function costOf({ gateway }: Measured, { count, ends, command }: Act): Promise<Cost> {
  const tell = async (each: Command) => {
    const answers = await Promise.all(ends.map((end) => end.tell(each)));
    return answers.reduce((sum, { cpuUs }) => sum + cpuUs, 0);
  };
  const before = [gateway.cpuUs(), await tell({ do: "cpu" })] as const;
  const begun = performance.now();
  const theirs = await tell(command) - before[1];
  const clock = (performance.now() - begun) * 1_000;
  const ours = gateway.cpuUs() - before[0];
  return { clock: clock / count, gateway: ours / count, both: (ours + theirs) / count };
}

/** Of each side: with a log compared with without one, and two without one compared. The mean of the sets: each order weighs the same. */
function costRow(name: ActName, sets: Seen[ActName]): readonly BenchRow[] {
  const rows = (suffix: string, what: string, side: keyof Cost) => {
    const mean = (variant: Variant) => sets.reduce((sum, set) => sum + set[variant][side], 0) / sets.length;
    const [one, other] = [mean("without"), mean("again")];
    for (const set of sets) {
      const [first, second, log] = variants.map((variant) => Math.round(set[variant][side]));
      console.error(`    one set: ${first} and ${second} without a log, ${log} with one`);
    }
    const common = { unit: "µs", op: "<=", target: 1.03 } as const;
    return [
      makeRow({
        ...common,
        id: `A.${name}${suffix}`,
        what: `${what} of ${whats[name]}, at a gateway with an audit log`,
        value: mean("withLog"),
        peer: { name: "without an audit log", value: (one + other) / 2 },
      }),
      makeRow({
        ...common,
        id: `A.${name}${suffix}.control`,
        what: "the same of two gateways without an audit log, the dearer one",
        value: Math.max(one, other),
        peer: { name: "the other", value: Math.min(one, other) },
      }),
    ];
  };
  return [
    ...rows("", "time by the clock", "clock"),
    ...rows(".gateway", "processor time of the gateway", "gateway"),
    ...rows(".both", "processor time of both ends", "both"),
  ];
}
