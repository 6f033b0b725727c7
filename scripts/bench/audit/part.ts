/**
 * The part `audit` of the performance table: how fast records are on the disk, how fast a log is verified, and what handshakes and
 * requests cost a gateway's program that keeps a log, compared with one that keeps none. Rounds alternate, and medians are compared.
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
import { type GatewayProgram, startGateway } from "../gate/gateway_program.ts";
import { EndProcess } from "../gate/pair.ts";
import { type BenchWorld, makeBenchWorld } from "../gate/world.ts";
import { type BenchRow, makeRow, median } from "../row.ts";

interface Sizes {
  /** Records of the log that is written and verified. */
  readonly records: number;
  readonly rounds: number;
  readonly handshakes: number;
  readonly requests: number;
  /** Members that ask in turns: each may use a tenth of a core. */
  readonly members: number;
  /** Members that connect and leave again, at the same time. */
  readonly diallers: number;
}
const full: Sizes = { records: 1_000_000, rounds: 7, handshakes: 150, requests: 2_000, members: 40, diallers: 4 };
const short: Sizes = { records: 2_000, rounds: 1, handshakes: 4, requests: 40, members: 2, diallers: 2 };
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

/** The processor time of one act at a gateway, in microseconds. */
type Act = (gateway: GatewayProgram) => Promise<number>;

/** A gateway that keeps a log, and one that does not, in turns. */
async function costRows(world: BenchWorld, dir: string, sizes: Sizes): Promise<readonly BenchRow[]> {
  const limits = ["[limits]", "handshakes_per_second = 1000000", "handshakes_burst = 1000000"];
  const limited = [...limits, "connections_per_peer_max = 1000000"];
  const audit = ["[audit]", `dir = ${JSON.stringify(dir)}`];
  const [without, withLog] = await Promise.all([
    startGateway(world.listener, limited),
    startGateway(world.listener, [...limited, ...audit]),
  ]);
  const diallers = Array.from({ length: sizes.diallers }, () => new EndProcess());
  const members = new Map([without, withLog].map((gateway) => [gateway, new EndProcess()]));
  try {
    const files = await world.members(sizes.members + sizes.diallers);
    for (const [index, dialler] of diallers.entries()) {
      await dialler.tell({ do: "setup", setup: { ...files[index]!, way: "hybrid", listens: false } });
    }
    for (const [{ address }, process] of members) {
      await process.tell({ do: "join", address, members: files.slice(sizes.diallers) });
    }
    const spent = async (gateway: GatewayProgram, count: number, work: () => Promise<unknown>) => {
      const before = gateway.cpuUs();
      await work();
      return (gateway.cpuUs() - before) / count;
    };
    const acts: readonly (readonly [id: string, what: string, act: Act])[] = [
      ["A.handshakes", "a handshake and its connection's end", (gateway) => {
        const { handshakes: count } = sizes;
        const command = { do: "connect", address: gateway.address, count, parallel: 1, brief: true } as const;
        return spent(gateway, count * sizes.diallers, () => Promise.all(diallers.map((each) => each.tell(command))));
      }],
      ["A.requests", "a request for its health", (gateway) => {
        const { requests: count } = sizes;
        return spent(gateway, count, () => members.get(gateway)!.tell({ do: "ask", count }));
      }],
    ];
    const rows: BenchRow[] = [];
    for (const [id, what, act] of acts) rows.push(await costRow({ id, what, act }, [without, withLog], sizes));
    return rows;
  } finally {
    for (const each of [...diallers, ...members.values(), without, withLog]) each.stop();
  }
}

async function costRow(
  { id, what, act }: { readonly id: string; readonly what: string; readonly act: Act },
  gateways: readonly [without: GatewayProgram, withLog: GatewayProgram],
  { rounds }: Sizes,
): Promise<BenchRow> {
  const seen = new Map(gateways.map((gateway) => [gateway, [] as number[]]));
  // The first round compiles the code and is not counted.
  for (let round = rounds > 1 ? -1 : 0; round < rounds; round++) {
    for (const gateway of round % 2 === 0 ? gateways : gateways.toReversed()) {
      const us = await act(gateway);
      if (round >= 0) seen.get(gateway)!.push(us);
    }
  }
  const [without, withLog] = gateways.map((gateway) => median(seen.get(gateway)!)) as [number, number];
  return makeRow({
    id,
    what: `processor time of ${what}, of a gateway with an audit log`,
    unit: "µs",
    value: withLog,
    peer: { name: "without an audit log", value: without },
    op: "<=",
    target: 1.03,
  });
}
