/**
 * The part `audit` of the performance table: how fast records are on the disk, how fast a log is verified, and what handshakes and
 * requests cost a gateway's program that keeps a log, compared with one that keeps none. Rounds alternate, and medians are compared. Two
 * processes of the same program differ by up to 7 %, so each pair is of new ones.
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
import { type BenchRow, makeRow, median } from "../row.ts";

interface Sizes {
  /** Records of the log that is written and verified. */
  readonly records: number;
  /** Pairs of gateways, and rounds of each. */
  readonly pairs: number;
  readonly rounds: number;
  readonly handshakes: number;
  readonly requests: number;
  /** Members that ask in turns: each may use a tenth of a core. */
  readonly members: number;
  /** Members that connect and leave again, at the same time. */
  readonly diallers: number;
}
const full: Sizes = {
  records: 1_000_000,
  pairs: 8,
  rounds: 3,
  handshakes: 150,
  requests: 2_000,
  members: 40,
  diallers: 4,
};
const short: Sizes = { records: 2_000, pairs: 1, rounds: 1, handshakes: 4, requests: 40, members: 2, diallers: 2 };
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

/** Processor time, in microseconds. */
interface Cost {
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
const variants = ["without", "withLog"] as const;
type Seen = Readonly<Record<typeof variants[number], Cost[]>>;

/** Gateways that keep a log, and ones that do not, in pairs. */
async function costRows(world: BenchWorld, dir: string, sizes: Sizes): Promise<readonly BenchRow[]> {
  const files = await world.members(sizes.members + sizes.diallers);
  const seen: Readonly<Record<ActName, Seen>> = {
    handshakes: { without: [], withLog: [] },
    requests: { without: [], withLog: [] },
  };
  const diallers = Array.from({ length: sizes.diallers }, () => new EndProcess());
  try {
    for (const [index, dialler] of diallers.entries()) {
      await dialler.tell({ do: "setup", setup: { ...files[index]!, way: "hybrid", listens: false } });
    }
    for (let pair = 0; pair < sizes.pairs; pair++) {
      await measurePair({ world, dir: `${dir}-${pair}`, diallers, members: files.slice(sizes.diallers), sizes, seen });
    }
  } finally {
    for (const dialler of diallers) dialler.stop();
  }
  return actNames.flatMap((name) => costRow(name, seen[name]));
}

interface Measuring {
  readonly world: BenchWorld;
  readonly dir: string;
  readonly diallers: readonly EndProcess[];
  readonly members: readonly EndFiles[];
  readonly sizes: Sizes;
  readonly seen: Readonly<Record<ActName, Seen>>;
}

async function measurePair({ world, dir, diallers, members, sizes, seen }: Measuring): Promise<void> {
  const limits = ["[limits]", "handshakes_per_second = 1000000", "handshakes_burst = 1000000"];
  const limited = [...limits, "connections_per_peer_max = 1000000"];
  const audit = ["[audit]", `dir = ${JSON.stringify(dir)}`];
  const asking = { without: new EndProcess(), withLog: new EndProcess() };
  const gateways: GatewayProgram[] = [];
  try {
    const without = await startGateway(world.listener, limited);
    gateways.push(without);
    const withLog = await startGateway(world.listener, [...limited, ...audit]);
    gateways.push(withLog);
    const pair = { without, withLog };
    for (const name of variants) await asking[name].tell({ do: "join", address: pair[name].address, members });
    const acts = (name: typeof variants[number]): Readonly<Record<ActName, Act>> => {
      const { handshakes: count, requests } = sizes;
      const command = { do: "connect", address: pair[name].address, count, parallel: 1, brief: true } as const;
      return {
        handshakes: { count: count * diallers.length, ends: diallers, command },
        requests: { count: requests, ends: [asking[name]], command: { do: "ask", count: requests } },
      };
    };
    for (const act of actNames) {
      // The first round compiles the code and is not counted.
      for (let round = sizes.rounds > 1 ? -1 : 0; round < sizes.rounds; round++) {
        for (const name of round % 2 === 0 ? variants : variants.toReversed()) {
          const cost = await costOf(pair[name], acts(name)[act]);
          if (round >= 0) seen[act][name].push(cost);
        }
      }
    }
  } finally {
    for (const each of [...Object.values(asking), ...gateways]) each.stop();
  }
}

async function costOf(gateway: GatewayProgram, { count, ends, command }: Act): Promise<Cost> {
  const tell = async (each: Command) => {
    const answers = await Promise.all(ends.map((end) => end.tell(each)));
    return answers.reduce((sum, { cpuUs }) => sum + cpuUs, 0);
  };
  const before = [gateway.cpuUs(), await tell({ do: "cpu" })] as const;
  const theirs = await tell(command) - before[1];
  const ours = gateway.cpuUs() - before[0];
  return { gateway: ours / count, both: (ours + theirs) / count };
}

function costRow(name: ActName, seen: Seen): readonly BenchRow[] {
  const row = (suffix: string, whose: string, side: keyof Cost) => {
    const [without, withLog] = variants.map((variant) => median(seen[variant].map((cost) => cost[side])));
    return makeRow({
      id: `A.${name}${suffix}`,
      what: `processor time of ${whats[name]}, ${whose}`,
      unit: "µs",
      value: withLog!,
      peer: { name: "without an audit log", value: without! },
      op: "<=",
      target: 1.03,
    });
  };
  return [row("", "of a gateway with an audit log", "gateway"), row(".both", "of both ends", "both")];
}
