/**
 * The part `gate` of the performance table: handshakes, throughput, memory and refusals compared to js-libp2p with noise, with
 * `@libp2p/tls`, and bare `node:tls`. Each end has a process of its own; rounds alternate, and medians are compared.
 *
 * @module
 */
import { type BenchRow, makeRow, median, speedRows } from "../row.ts";
import { type GatewaySizes, measureGateway } from "./gateway_rows.ts";
import { measureManyConnections } from "./many_connections.ts";
import { type HandshakesMeasured, Pair } from "./pair.ts";
import type { Way } from "./endpoint.ts";
import { type BenchWorld, makeBenchWorld } from "./world.ts";

interface Sizes {
  readonly rounds: number;
  readonly handshakes: number;
  readonly streamBytes: number;
  readonly idle: number;
  readonly many: number;
  readonly gateway: GatewaySizes;
}
const full: Sizes = {
  rounds: 5,
  handshakes: 240,
  streamBytes: 268_435_456,
  idle: 500,
  many: 5_000,
  gateway: { members: 1_000, idleMs: 30_000, questions: 400 },
};
const short: Sizes = {
  rounds: 1,
  handshakes: 16,
  streamBytes: 1_048_576,
  idle: 8,
  many: 16,
  gateway: { members: 4, idleMs: 500, questions: 8 },
};

type Ways = Readonly<Record<string, Pair>>;
const deno = "Deno" in globalThis;

/** Runs all pairs in turns; one round first that is not counted. */
async function inTurns<T>(
  pairs: readonly Pair[],
  rounds: number,
  work: (pair: Pair) => Promise<T>,
): Promise<Map<Pair, readonly T[]>> {
  const seen = new Map<Pair, T[]>(pairs.map((pair) => [pair, []]));
  for (let round = rounds > 1 ? -1 : 0; round < rounds; round++) {
    for (const pair of round % 2 === 0 ? pairs : pairs.toReversed()) {
      const measured = await work(pair);
      if (round >= 0) seen.get(pair)!.push(measured);
    }
  }
  return seen;
}

type Peer = "noise" | "tls" | "bare";
const peers = (ways: Ways): readonly Peer[] =>
  (["noise", "tls", "bare"] as const).filter((name) => ways[name] !== undefined);

const named: Record<Peer, string> = { noise: "js-libp2p with noise", tls: "@libp2p/tls", bare: "bare node:tls" };

async function handshakeRows(ways: Ways, { rounds, handshakes }: Sizes): Promise<BenchRow[]> {
  const pairs = ["ours", "hybrid", "plain", "noise", "tls", "bare"].flatMap((name) => ways[name] ?? []);
  const rows: BenchRow[] = [];
  const at16 = await inTurns(pairs, rounds, (pair) => pair.handshakes(handshakes, 16));
  const alone = await inTurns(pairs, rounds, (pair) => pair.handshakes(Math.ceil(handshakes / 4), 1));
  for (const [measured, suffix, what] of [[at16, "", "16 at once"], [alone, ".sequential", "one by one"]] as const) {
    const targets = { noise: suffix !== "" || deno ? 1.2 : 1.4, tls: 5, bare: 0.55 };
    const speedsOf = (way: Way) =>
      measured.get(ways[way]!)!.map(({ perSecond, cpuUs }) => ({ perSecond, perCpuSecond: 1_000_000 / cpuUs }));
    const theirs = (name: Peer) => ({ peer: named[name], theirs: speedsOf(name) });
    const text = `mutual handshakes, ${what}`;
    for (const name of peers(ways)) {
      const speeds = { ours: speedsOf("ours"), ...theirs(name), target: targets[name] };
      rows.push(...speedRows(`P1.${name}${suffix}`, `${text}, classical`, "/s", speeds));
    }
    const hybrid = { ours: speedsOf("hybrid"), ...theirs("noise"), target: 0 };
    rows.push(...speedRows(`P1.default${suffix}`, `${text}, hybrid key exchange`, "/s", hybrid));
  }
  const cpu = (pair: Pair) => median(at16.get(pair)!.map(({ cpuUs }) => cpuUs));
  rows.push(makeRow({
    id: "P8",
    what: "processor time of a handshake, both ends, with the machine",
    unit: "µs",
    value: cpu(ways["ours"]!),
    peer: { name: "with a plain function", value: cpu(ways["plain"]!) },
    op: "<=",
    target: 1.05,
  }));
  return rows;
}

async function throughputRows(ways: Ways, { rounds, streamBytes }: Sizes): Promise<BenchRow[]> {
  const pairs = ["ours", "noise", "tls", "bare"].flatMap((name) => ways[name] ?? []);
  const targets = { noise: deno ? 1.6 : 1.9, tls: 1.4, bare: 0.6 };
  const turns = Math.min(rounds, 3);
  const one = await inTurns(pairs, turns, (pair) => pair.throughput(streamBytes, 1));
  const many = await inTurns(
    pairs.filter(({ way }) => way !== "bare"),
    turns,
    (pair) => pair.throughput(streamBytes / 64, 64),
  );
  const what = `${Math.round(streamBytes / 1_048_576)} MiB in all`;
  return ([[one, "", "one stream"], [many, ".64", "64 streams"]] as const).flatMap(([measured, suffix, streams]) =>
    peers(ways).flatMap((name) => {
      const theirs = measured.get(ways[name]!);
      const speeds = { ours: measured.get(ways["ours"]!)!, peer: named[name], target: targets[name] };
      return theirs === undefined
        ? []
        : speedRows(`P7.${name}${suffix}`, `${streams}, ${what}`, "MB/s", { ...speeds, theirs });
    })
  );
}

async function memoryRows(world: BenchWorld, { idle }: Sizes): Promise<BenchRow[]> {
  const of: Record<string, { heap: number; rss: number }> = {};
  for (const way of ["ours", "noise"] as const) {
    const [pair] = await begin([way], world);
    await pair!.handshakes(16, 4); // what every process needs once
    of[way] = await pair!.memory(idle);
    pair!.stop();
  }
  const row = (id: string, what: string, kind: "heap" | "rss", target: number) =>
    makeRow({
      id,
      what: `${what} of an idle connection, its listener`,
      unit: "bytes",
      value: of["ours"]![kind],
      peer: { name: named.noise, value: of["noise"]![kind] },
      op: "<=",
      target,
    });
  return [row("P6.heap", "heap", "heap", 0.8), row("P6.rss", "resident memory", "rss", 0.95)];
}

async function refusalRows(world: BenchWorld, { rounds, handshakes }: Sizes): Promise<BenchRow[]> {
  // All are new: code that has run for thousands of handshakes would be compared with code that has not.
  const [accepted, limited] = await begin(["ours", "limited"], world);
  const refusing = new Pair("ours");
  await refusing.begin({ ...world.listener, crlsPath: world.revokingPath }, world.revoked);
  const count = Math.ceil(handshakes / 4);
  const measured = [accepted!, refusing, limited!];
  const times = (pair: Pair, count: number): Promise<HandshakesMeasured> =>
    pair === limited ? pair.knocks(count * 4) : pair.handshakes(count, 16, { refused: pair === refusing });
  for (const pair of measured) await times(pair, count * 8);
  const cost = await inTurns(measured, rounds, (pair) => times(pair, count));
  const of = (pair: Pair) => median(cost.get(pair)!.map(({ listenerCpuUs }) => listenerCpuUs));
  const row = (id: string, what: string, pair: Pair, target: number) =>
    makeRow({
      id,
      what: `processor time of ${what}, at the listener`,
      unit: "µs",
      value: of(pair),
      peer: { name: "an accepted handshake", value: of(accepted!) },
      op: "<=",
      target,
    });
  const rows = [
    row("P9.revoked", "refusing a revoked certificate", refusing, 1),
    row("P9.limit", "refusing an attempt over the limit", limited!, 0.03),
  ];
  for (const pair of measured) pair.stop();
  return rows;
}

async function longListRow(world: BenchWorld, { rounds, handshakes }: Sizes): Promise<BenchRow> {
  // Both are new: code that has run for thousands of handshakes would be compared with code that has not.
  const long = new Pair("ours"), short = new Pair("ours");
  const files = { crlsPath: world.longPath };
  await long.begin({ ...world.listener, ...files }, { ...world.dialler, ...files });
  await short.begin(world.listener, world.dialler);
  for (const pair of [long, short]) await pair.handshakes(handshakes, 16);
  const seen = await inTurns([short, long], rounds, (pair) => pair.handshakes(Math.ceil(handshakes / 2), 1));
  long.stop();
  short.stop();
  const p50 = (pair: Pair) => median(seen.get(pair)!.flatMap(({ latencies }) => latencies));
  return makeRow({
    id: "P3",
    what: "handshake p50 with a revocation list of 1,000,000 at both ends",
    unit: "ms",
    value: p50(long),
    peer: { name: "with empty lists", value: p50(short) },
    op: "<=",
    target: 1.05,
  });
}

/** Starts a pair for each way. */
async function begin(wanted: readonly Way[], world: BenchWorld): Promise<Pair[]> {
  const pairs = wanted.map((way) => new Pair(way));
  for (const pair of pairs) await pair.begin(world.listener, world.dialler);
  return pairs;
}

/** Measures all of it on this runtime. `@libp2p/tls` cannot run on Deno: it needs a server with an `SNICallback`. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const sizes = quick ? short : full;
  const world = await makeBenchWorld({ quick });
  const wanted: Way[] = ["ours", "hybrid", "plain", "noise", ...(deno ? [] : ["tls" as const]), "bare"];
  const pairs = await begin(wanted, world);
  const ways: Ways = Object.fromEntries(pairs.map((pair) => [pair.way, pair]));
  try {
    return [
      ...await handshakeRows(ways, sizes),
      await longListRow(world, sizes),
      ...await memoryRows(world, sizes),
      ...await throughputRows(ways, sizes),
      ...await refusalRows(world, sizes),
      ...await measureManyConnections(world, sizes.many),
      ...await measureGateway(world, sizes.gateway),
    ];
  } finally {
    for (const pair of pairs) pair.stop();
    world.remove();
  }
}
