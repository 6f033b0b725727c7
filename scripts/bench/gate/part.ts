/**
 * The part `gate` of the performance table: handshakes, throughput, memory and refusals compared to js-libp2p with noise, with
 * `@libp2p/tls`, and bare `node:tls`. Each end has a process of its own; rounds alternate, and medians are compared. Two processes of the same
 * program differ by several percent: rows of speed come from several sets of new ones, that have opened some 2,000 connections before: until
 * then their code becomes faster with each round.
 *
 * @module
 */
import { type BenchRow, makeRow, median, type Speed, speedRows } from "../row.ts";
import { type GatewaySizes, measureGateway } from "./gateway_rows.ts";
import { measureManyConnections } from "./many_connections.ts";
import { type HandshakesMeasured, Pair } from "./pair.ts";
import type { Way } from "./endpoint.ts";
import { type BenchWorld, makeBenchWorld } from "./world.ts";

interface Sizes {
  /** Sets of new processes that speeds come from, and rounds of each. */
  readonly sets: number;
  readonly rounds: number;
  /** Connections that a way opens before it is measured. */
  readonly warmUp: number;
  readonly handshakes: number;
  readonly streamBytes: number;
  readonly idle: number;
  readonly many: number;
  readonly gateway: GatewaySizes;
}
const full: Sizes = {
  sets: 3,
  rounds: 5,
  warmUp: 2_000,
  handshakes: 240,
  streamBytes: 268_435_456,
  idle: 500,
  many: 5_000,
  gateway: { members: 1_000, idleMs: 30_000, questions: 400 },
};
const short: Sizes = {
  sets: 1,
  rounds: 1,
  warmUp: 0,
  handshakes: 16,
  streamBytes: 1_048_576,
  idle: 8,
  many: 16,
  gateway: { members: 4, idleMs: 500, questions: 8 },
};

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
const peers: readonly Peer[] = ["noise", "tls", "bare"];
const named: Record<Peer, string> = { noise: "js-libp2p with noise", tls: "@libp2p/tls", bare: "bare node:tls" };

type Kind = "handshakes" | "handshakesAlone" | "stream" | "streams";
/** What all rounds of all sets came to, by way; of a way that is not measured nothing. */
type Seen = Readonly<Record<Kind, Map<Way, readonly Speed[]>>>;

/** `@libp2p/tls` cannot run on Deno: it needs a server with an `SNICallback`. */
const ways: readonly Way[] = ["ours", "hybrid", "plain", "noise", ...(deno ? [] : ["tls" as const]), "bare"];
const streaming: ReadonlySet<Way> = new Set(["ours", "noise", "tls", "bare"]);

/** Measures how fast each way is. */
async function measureSpeeds(world: BenchWorld, sizes: Sizes): Promise<Seen> {
  const { sets, rounds, warmUp, handshakes, streamBytes } = sizes;
  const seen: Seen = { handshakes: new Map(), handshakesAlone: new Map(), stream: new Map(), streams: new Map() };
  const opened = async (pair: Pair, count: number, parallel: number): Promise<Speed> => {
    const { perSecond, cpuUs } = await pair.handshakes(count, parallel);
    return { perSecond, perCpuSecond: 1_000_000 / cpuUs };
  };
  for (let set = 0; set < sets; set++) {
    const pairs = await begin(ways, world);
    const add = async (kind: Kind, those: readonly Pair[], turns: number, work: (pair: Pair) => Promise<Speed>) => {
      for (const [{ way }, speeds] of await inTurns(those, turns, work)) {
        seen[kind].set(way, [...seen[kind].get(way) ?? [], ...speeds]);
      }
    };
    try {
      for (const pair of pairs) {
        for (let done = 0; done < warmUp; done += handshakes) await pair.handshakes(handshakes, 16);
      }
      await add("handshakes", pairs, rounds, (pair) => opened(pair, handshakes, 16));
      await add("handshakesAlone", pairs, rounds, (pair) => opened(pair, Math.ceil(handshakes / 4), 1));
      const senders = pairs.filter(({ way }) => streaming.has(way));
      const turns = Math.min(rounds, 2);
      await add("stream", senders, turns, (pair) => sent(pair, streamBytes, 1));
      const many = senders.filter(({ way }) => way !== "bare");
      await add("streams", many, turns, (pair) => sent(pair, streamBytes / 64, 64));
    } finally {
      for (const pair of pairs) pair.stop();
    }
  }
  return seen;
}

/** Attempts of a peer. */
const attemptsMax = 3;

/** A peer's round that breaks is measured again: on Deno, noise resets a stream in one of some ten rounds. None of ours may. */
async function sent(pair: Pair, bytes: number, streams: number): Promise<Speed> {
  for (let attempt = 1;; attempt++) {
    try {
      return await pair.throughput(bytes, streams);
    } catch (error) {
      if (pair.way === "ours" || attempt >= attemptsMax) throw error;
      console.error(`  ${pair.way} broke off: ${error instanceof Error ? error.message.split("\n", 1)[0] : error}`);
    }
  }
}

function handshakeRows(seen: Seen): readonly BenchRow[] {
  const rows: BenchRow[] = [];
  for (
    const [kind, suffix, what] of [["handshakes", "", "16 at once"], [
      "handshakesAlone",
      ".sequential",
      "one by one",
    ]] as const
  ) {
    const targets = { noise: suffix !== "" || deno ? 1.2 : 1.4, tls: 5, bare: 0.55 };
    const text = `mutual handshakes, ${what}`;
    const [ours, hybrid] = [seen[kind].get("ours")!, seen[kind].get("hybrid")!];
    for (const name of peers) {
      const theirs = seen[kind].get(name);
      if (theirs === undefined) continue;
      const speeds = { ours, peer: named[name], theirs, target: targets[name] };
      rows.push(...speedRows(`P1.${name}${suffix}`, `${text}, classical`, "/s", speeds));
    }
    const speeds = { ours: hybrid, peer: named.noise, theirs: seen[kind].get("noise")!, target: 0 };
    rows.push(...speedRows(`P1.default${suffix}`, `${text}, hybrid key exchange`, "/s", speeds));
  }
  return [...rows, machineRow(seen)];
}

function machineRow({ handshakes }: Seen): BenchRow {
  const cpuUs = (way: Way) => median(handshakes.get(way)!.map(({ perCpuSecond }) => 1_000_000 / perCpuSecond));
  return makeRow({
    id: "P8",
    what: "processor time of a handshake, both ends, with the machine",
    unit: "µs",
    value: cpuUs("ours"),
    peer: { name: "with a plain function", value: cpuUs("plain") },
    op: "<=",
    target: 1.05,
  });
}

function throughputRows(seen: Seen, { streamBytes }: Sizes): readonly BenchRow[] {
  const targets = { noise: deno ? 1.6 : 1.9, tls: 1.4, bare: 0.6 };
  const what = `${Math.round(streamBytes / 1_048_576)} MiB in all`;
  return ([["stream", "", "one stream"], ["streams", ".64", "64 streams"]] as const).flatMap((
    [kind, suffix, streams],
  ) =>
    peers.flatMap((name) => {
      const theirs = seen[kind].get(name);
      if (theirs === undefined) return [];
      const speeds = { ours: seen[kind].get("ours")!, peer: named[name], theirs, target: targets[name] };
      return speedRows(`P7.${name}${suffix}`, `${streams}, ${what}`, "MB/s", speeds);
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

/** Measures all of it on this runtime. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const sizes = quick ? short : full;
  const world = await makeBenchWorld({ quick });
  try {
    const seen = await measureSpeeds(world, sizes);
    return [
      ...handshakeRows(seen),
      ...throughputRows(seen, sizes),
      await longListRow(world, sizes),
      ...await memoryRows(world, sizes),
      ...await refusalRows(world, sizes),
      ...await measureManyConnections(world, sizes.many),
      ...await measureGateway(world, sizes.gateway),
    ];
  } finally {
    world.remove();
  }
}
