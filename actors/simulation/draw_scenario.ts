/**
 * Draws the scenario of a seed: nodes, knobs, weights, and troubles.
 *
 * Each part is drawn by a name of its own, and so is each kind of trouble: a new kind replaces another in some seeds and
 * leaves the others unchanged.
 *
 * @module
 */
import { drawKnobs } from "./knobs.ts";
import { type Moment, moments } from "./moments.ts";
import { randomOf, type RandomStream } from "../runtime/random.ts";
import {
  aimMs,
  type FaultKind,
  faultKinds,
  type NodePlan,
  quietAfter,
  type Scenario,
  type ScenarioEvent,
  troubleMs,
  type Weights,
} from "./scenario.ts";

/** The limits within which a scenario is drawn. */
export interface ScenarioTerms {
  /** Nodes; eight at least. */
  readonly nodes?: number | undefined;
  readonly faults?: readonly FaultKind[] | undefined;
}

/** Each kind is left out, or doubled, in this part of the seeds (swarm testing: Groce et al., 2012). */
const leftOutShare = 0.25;
const doubledShare = 0.15;
/** This part of the events waits for a moment of its target. */
const aimedShare = 0.3;
/**
 * A second scheduler, and jobs of three trainers instead of two, in this part of the seeds: only where the network has
 * trainers enough for all jobs must these come to an end.
 */
const rivalShare = 0.25;
const threeShare = 0.2;
const keepsShare = 0.5;
/** A scheduler that keeps its model loses its power while it writes, in this part of the seeds. */
const powerLossShare = 0.1;
/** Kinds of trouble in a seed, in addition to the revocation. */
const kindsMin = 3;
const kindsMax = 6;

/** The scenario of a seed. */
export function scenarioOf(seed: number, { nodes: count, faults = faultKinds }: ScenarioTerms = {}): Scenario {
  const random = randomOf(seed, "scenario/nodes");
  const nodes = drawNodes(random, Math.max(8, count ?? 9 + random.whole(0, 3)));
  const weights = drawWeights(seed, faults);
  const revocation = drawRevocation(randomOf(seed, "scenario/revocation"), nodes);
  const events = [
    revocation,
    ...drawKinds(seed, faults, weights).flatMap((kind) =>
      drawFault(randomOf(seed, `scenario/${kind}`), {
        nodes,
        kind,
        revokedAt: revocation.at,
        weight: weights[kind] ?? 1,
      })
    ),
  ];
  const job = randomOf(seed, "scenario/job");
  const keeps = randomOf(seed, "scenario/keeps").chance(keepsShare);
  if (keeps && faults.includes("power-cut")) {
    events.push(...drawPowerLosses(randomOf(seed, "scenario/power"), weights["power-cut"] ?? 1));
  }
  return {
    seed,
    nodes,
    job: {
      workers: job.chance(threeShare) ? 3 : 2,
      rounds: 4 + job.whole(0, 4),
      ...(keeps ? { keeps } : {}),
    },
    slices: 3 + job.whole(0, 5),
    events: events.toSorted((left, right) => left.at - right.at),
    knobs: drawKnobs(seed),
    weights,
    troubleMs,
    quietMs: quietAfter(events),
  };
}

/** A kind that the caller asked for alone is not left out. */
function drawWeights(seed: number, from: readonly FaultKind[]): Weights {
  const weights: Partial<Record<FaultKind, 0 | 2>> = {};
  for (const kind of from) {
    const at = randomOf(seed, `scenario/weight/${kind}`).next();
    if (at < leftOutShare && from.length > kindsMax) weights[kind] = 0;
    else if (at >= 1 - doubledShare) weights[kind] = 2;
  }
  return weights;
}

/** A few kinds, those of weight 2 twice as likely (Efraimidis and Spirakis: the largest `u ** (1 / weight)`). */
function drawKinds(seed: number, from: readonly FaultKind[], weights: Weights): readonly FaultKind[] {
  const ranked = from.filter((kind) => weights[kind] !== 0).map((kind) => ({
    kind,
    rank: randomOf(seed, `scenario/rank/${kind}`).next() ** (1 / (weights[kind] ?? 1)),
  }));
  const count = randomOf(seed, "scenario/kinds").whole(kindsMin, kindsMax + 1);
  return ranked.toSorted((left, right) => right.rank - left.rank).slice(0, count).map(({ kind }) => kind);
}

function drawNodes(random: RandomStream, count: number): readonly NodePlan[] {
  const nodes: NodePlan[] = [
    { name: "gateway-1", role: "gateway" },
    { name: "gateway-2", role: "gateway" },
    { name: "data-1", role: "data" },
    { name: "scheduler-1", role: "scheduler" },
    { name: "worker-1", role: "worker", executors: ["aggregate"] },
  ];
  if (random.chance(rivalShare)) nodes.push({ name: "scheduler-2", role: "scheduler" });
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
  const target = random.chance(0.7) ? random.pick(workers) : random.pick(nodes.slice(1));
  const at = random.whole(2_000, troubleMs - 10_000);
  return { at, kind: "revocation", target: target.name, forMs: 0, amount: random.next() };
}

/** These reach every node by themselves. */
const waves: ReadonlySet<FaultKind> = new Set(["renewal", "rekey"]);
/** These begin some seconds before the seed's revocation, which revokes members of the first three too. */
const revokedSoon = ["second-certificate", "crowd", "forger", "partner"] as const;
/** These are not aimed: lists are numbered in the order of their events. */
const unaimed: ReadonlySet<FaultKind> = new Set(["revoked-issuer", "stale-crl", "renewal", "rekey", ...revokedSoon]);

interface FaultTerms {
  readonly nodes: readonly NodePlan[];
  readonly kind: FaultKind;
  readonly revokedAt: number;
  readonly weight: number;
}

function drawFault(random: RandomStream, terms: FaultTerms): readonly ScenarioEvent[] {
  const { kind, weight } = terms;
  const times = waves.has(kind) ? 1 : weight * (1 + random.whole(0, 2));
  return Array.from({ length: times }, () => drawEvent(random, terms));
}

/** A scheduler's process that ends is there again within this, in milliseconds, in this part of the crashes. */
const backMs = 1_000;
const backShare = 0.35;
const crashes: ReadonlySet<FaultKind> = new Set(["crash", "power-cut"]);

function drawEvent(random: RandomStream, { nodes, kind, revokedAt }: FaultTerms): ScenarioEvent {
  const targets = targetsOf(nodes, kind);
  // Most torn streams meet the first worker, which aggregates: every update is pushed to it.
  const isFirst = kind === "torn-stream" && random.chance(0.7);
  const target = (isFirst ? targets[0] as NodePlan : random.pick(targets)).name;
  const other = random.pick(nodes.filter(({ name }) => name !== target)).name;
  const when = drawMoment(random, kind);
  const { at, forMs } = drawTime(random, { kind, revokedAt, when });
  const event = { at, kind, target, other, forMs, amount: random.next(), ...(when === undefined ? {} : { when }) };
  if (!crashes.has(kind) || !random.chance(backShare)) return event;
  const scheduler = random.pick(nodes.filter(({ role }) => role === "scheduler")).name;
  return { ...event, target: scheduler, forMs: random.whole(100, backMs) };
}

/** An intruder uses what its target promised to others, so it comes when there is a promise. */
function drawMoment(random: RandomStream, kind: FaultKind): Moment | undefined {
  if (kind === "intruder") return random.pick(["lease.granted", "job.dispatched", "offer.made"]);
  return random.chance(aimedShare) && !unaimed.has(kind) ? random.pick(moments) : undefined;
}

interface TimeTerms {
  readonly kind: FaultKind;
  readonly revokedAt: number;
  readonly when: Moment | undefined;
}

/** When an event begins and how long it lasts, in milliseconds. It is over when trouble ends, except an old list. */
function drawTime(random: RandomStream, { kind, revokedAt, when }: TimeTerms): Pick<ScenarioEvent, "at" | "forMs"> {
  const aim = when === undefined ? 0 : aimMs;
  switch (kind) {
    case "stale-crl": {
      // It matters only after a newer list revoked a peer, and until that peer dials again.
      const at = Math.min(troubleMs - 5_000, revokedAt + random.whole(2_000, 20_000));
      return { at, forMs: random.whole(5_000, 30_000) };
    }
    case "late-crl":
    case "silent-disk":
      // These matter only when a list is published meanwhile.
      return { at: Math.max(500, revokedAt - aim - random.whole(0, 6_000)), forMs: random.whole(6_500, 20_000) };
    case "second-certificate":
    case "crowd":
    case "forger":
      return { at: Math.max(500, revokedAt - random.whole(2_600, 5_600)), forMs: random.whole(200, 8_000) };
    case "partner":
      // The node's own lists revoke meanwhile.
      return { at: Math.max(500, revokedAt - random.whole(500, 5_000)), forMs: random.whole(6_500, 9_500) };
    case "expensive":
      // It is refused after half a minute of delays.
      return { at: random.whole(500, 12_000), forMs: random.whole(36_000, 42_000) };
    case "torn-stream": {
      // Streams are rare: a round takes up to fourteen seconds.
      const at = random.whole(500, 20_000);
      return { at, forMs: random.whole(15_000, troubleMs - aimMs - at) };
    }
    case "dropping-gateway":
    case "delaying-gateway":
      // Gateways send little by themselves.
      return { at: random.whole(500, troubleMs - 25_000 - aim), forMs: random.whole(8_000, 24_000) };
    case "executor-crash":
    case "executor-hang":
    case "garbage-update":
    case "intruder": {
      // The first jobs begin within two seconds, and last for twenty to forty.
      const latest = random.chance(0.8) ? 15_000 : troubleMs - 25_000 - aim;
      return { at: random.whole(500, latest), forMs: random.whole(3_000, 24_000) };
    }
    default: {
      const forMs = random.whole(200, random.chance(0.5) ? 5_000 : 24_000);
      return { at: random.whole(500, troubleMs - 25_000 - aim), forMs };
    }
  }
}

/** Losses of power that strike the first scheduler at a rename. */
function drawPowerLosses(random: RandomStream, weight: number): readonly ScenarioEvent[] {
  if (!random.chance(powerLossShare)) return [];
  return Array.from({ length: weight }, () => ({
    at: random.whole(8_000, troubleMs - 25_000 - aimMs),
    kind: "power-cut",
    target: "scheduler-1",
    other: "gateway-1",
    forMs: random.whole(100, backMs),
    amount: random.next() / 2,
  }));
}

/** The nodes that a kind of trouble can befall. */
export function targetsOf(nodes: readonly NodePlan[], kind: FaultKind): readonly NodePlan[] {
  switch (kind) {
    case "executor-crash":
    case "executor-hang":
    case "garbage-update":
    case "lying-worker":
      return nodes.filter(({ executors }) => executors?.includes("train") === true);
    case "nonsense":
    case "flooding-member":
      return nodes.filter(({ role }) => role === "worker" || role === "scheduler");
    case "intruder":
    case "rotation":
    case "broken-worker":
    case "torn-stream":
    case "forger":
    case "relayed":
    case "denied":
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
