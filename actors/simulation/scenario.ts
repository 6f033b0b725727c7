/**
 * What happens in a run, as plain data drawn from its seed: which nodes there are, and which faults befall them when. Data,
 * so that a failing run can be made smaller by leaving things out.
 *
 * @module
 */
import { randomOf, type RandomStream } from "../runtime/random.ts";
import type { NodeRole } from "./node.ts";

/** Kinds of trouble. */
export const faultKinds = [
  "partition",
  "one-way",
  "slow-link",
  "reset",
  "crash",
  "power-cut",
  "clock-jump",
  "torn-file",
  "unreadable-file",
  "stale-crl",
  "silent-disk",
  "disk-full",
  "late-crl",
  "executor-crash",
  "executor-hang",
  "garbage-update",
  "half-open",
  "flood",
  "stranger",
  "expired",
  "self-signed",
  "stolen-certificate",
  "old-tls",
  "malformed",
  "revoked-issuer",
  "intruder",
  "nonsense",
  "rotation",
  "renewal",
  "rekey",
  "reload",
  "drain",
  "broken-worker",
  "lying-worker",
  "garbage-answers",
  "flooding-member",
  "dropping-gateway",
  "delaying-gateway",
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** One thing that happens to a node. */
export interface ScenarioEvent {
  /** Milliseconds after the start. */
  readonly at: number;
  readonly kind: FaultKind | "revocation";
  readonly target: string;
  /** The other end, where there is one. */
  readonly other?: string;
  /** How long, in milliseconds. */
  readonly forMs: number;
  /** Something that the kind makes a size of, in [0, 1). */
  readonly amount: number;
}

/** A node of a scenario. */
export interface NodePlan {
  readonly name: string;
  readonly role: NodeRole;
  readonly executors?: readonly ("train" | "aggregate")[];
  /** Its certificate runs out this long after the start, in milliseconds. */
  readonly expiresAfterMs?: number;
  /** Issued by the intermediate that may be revoked. */
  readonly byOther?: boolean;
  /** Names of the gateways that it joins by, made before it; all for a node of another role, where none are named. */
  readonly gateways?: readonly string[];
}

/** All of a run. */
export interface Scenario {
  readonly seed: number;
  readonly nodes: readonly NodePlan[];
  readonly job: { readonly workers: number; readonly rounds: number };
  readonly slices: number;
  readonly events: readonly ScenarioEvent[];
  /** Trouble ends by then, in milliseconds. */
  readonly troubleMs: number;
  /** Then all has this long to come right, in milliseconds. */
  readonly quietMs: number;
}

/** What scenarios are drawn within. */
export interface ScenarioTerms {
  /** Nodes; eight at least. */
  readonly nodes?: number | undefined;
  readonly faults?: readonly FaultKind[] | undefined;
}

/** Trouble lasts this long, and what follows is at least as long, in milliseconds. */
export const troubleMs = 70_000;
export const quietMs = 60_000;
/** A trainer that hangs is noticed after five minutes, and the next may hang only when the round goes on without it. */
const quietForHangMs = 300_000;
/** Then the rest does all rounds with fewer trainers: eight of up to fourteen seconds. */
const quietAfterHangMs = 120_000;

/**
 * The scenario of a seed. Each of its parts is drawn by a name of its own, and so is each kind of trouble: a new kind takes
 * the place of another in some seeds, and leaves the rest as they were.
 */
export function scenarioOf(seed: number, terms: ScenarioTerms = {}): Scenario {
  const random = randomOf(seed, "scenario/nodes");
  const nodes = drawNodes(random, Math.max(8, terms.nodes ?? 8 + random.whole(0, 3)));
  const kinds = drawKinds(seed, terms.faults ?? faultKinds);
  const revocation = drawRevocation(randomOf(seed, "scenario/revocation"), nodes);
  const events = [
    revocation,
    ...kinds.flatMap((kind) => drawFault(randomOf(seed, `scenario/${kind}`), nodes, kind, revocation.at)),
  ];
  const trainers = nodes.filter(({ executors }) => executors?.includes("train") === true).length;
  const hangs = countHangs(events);
  const job = randomOf(seed, "scenario/job");
  return {
    seed,
    nodes,
    job: { workers: 2 + job.whole(0, Math.max(1, Math.min(2, trainers - 2))), rounds: 4 + job.whole(0, 4) },
    slices: 3 + job.whole(0, 5),
    events: events.toSorted((left, right) => left.at - right.at),
    troubleMs,
    quietMs: hangs > 0 ? quietForHangMs * hangs + quietAfterHangMs : quietMs,
  };
}

/** How many trainers may hang one after another. Those that were told garbage may hang too, all while it is told. */
function countHangs(events: readonly ScenarioEvent[]): number {
  const hung = new Set(events.filter(({ kind }) => kind === "executor-hang").map(({ target }) => target));
  return hung.size + (events.some(({ kind }) => kind === "garbage-answers") ? 1 : 0);
}

/** Three to five kinds: those that drew the smallest numbers. */
function drawKinds(seed: number, from: readonly FaultKind[]): readonly FaultKind[] {
  const ranked = from.map((kind) => ({ kind, rank: randomOf(seed, `scenario/rank/${kind}`).next() }));
  const count = randomOf(seed, "scenario/kinds").whole(3, 6);
  return ranked.toSorted((left, right) => left.rank - right.rank).slice(0, count).map(({ kind }) => kind);
}

function drawNodes(random: RandomStream, count: number): readonly NodePlan[] {
  const nodes: NodePlan[] = [
    { name: "gateway-1", role: "gateway" },
    { name: "gateway-2", role: "gateway" },
    { name: "data-1", role: "data" },
    { name: "scheduler-1", role: "scheduler" },
    { name: "worker-1", role: "worker", executors: ["aggregate"] },
  ];
  if (random.chance(0.4)) nodes.push({ name: "scheduler-2", role: "scheduler" });
  for (let worker = 2; nodes.length < count; worker++) {
    const expires = random.chance(0.1) ? { expiresAfterMs: random.whole(10_000, 60_000) } : {};
    nodes.push({
      name: `worker-${worker}`,
      role: "worker",
      executors: random.chance(0.15) ? ["train", "aggregate"] : ["train"],
      ...expires,
      ...(random.chance(0.15) ? { byOther: true } : {}),
    });
  }
  return nodes;
}

function drawRevocation(random: RandomStream, nodes: readonly NodePlan[]): ScenarioEvent {
  const workers = nodes.filter(({ role }) => role === "worker").slice(1);
  const target = random.chance(0.85) ? random.pick(workers) : random.pick(nodes.slice(1));
  const at = random.whole(2_000, troubleMs - 10_000);
  return { at, kind: "revocation", target: target.name, forMs: 0, amount: random.next() };
}

/** These reach every node by themselves. */
const waves: ReadonlySet<FaultKind> = new Set(["renewal", "rekey"]);

function drawFault(
  random: RandomStream,
  nodes: readonly NodePlan[],
  kind: FaultKind,
  revokedAt: number,
): readonly ScenarioEvent[] {
  const times = waves.has(kind) ? 1 : 1 + random.whole(0, 2);
  return Array.from({ length: times }, () => {
    const target = random.pick(targetsOf(nodes, kind)).name;
    const others = nodes.filter(({ name }) => name !== target);
    // An old list is worth something only after a newer one revoked somebody.
    const at = kind === "stale-crl"
      ? Math.min(troubleMs - 5_000, revokedAt + random.whole(2_000, 20_000))
      : random.whole(500, troubleMs - 25_000);
    const forMs = random.whole(200, random.chance(0.5) ? 5_000 : 24_000);
    return { at, kind, target, other: random.pick(others).name, forMs, amount: random.next() };
  });
}

function targetsOf(nodes: readonly NodePlan[], kind: FaultKind): readonly NodePlan[] {
  switch (kind) {
    case "executor-crash":
    case "executor-hang":
    case "garbage-update":
    case "lying-worker":
      return nodes.filter(({ executors }) => executors?.includes("train") === true);
    case "intruder":
    case "nonsense":
    case "flooding-member":
      return nodes.filter(({ role }) => role === "worker" || role === "scheduler");
    case "rotation":
    case "broken-worker":
      return nodes.filter(({ role }) => role === "worker");
    case "garbage-answers":
      return nodes.filter(({ role }) => role === "worker" || role === "data");
    case "dropping-gateway":
    case "delaying-gateway":
      return nodes.filter(({ role }) => role === "gateway");
    case "stale-crl":
      return nodes.filter(({ role }) => role === "gateway" || role === "scheduler");
    case "revoked-issuer":
      return nodes.slice(0, 1);
    default:
      return nodes;
  }
}
