/**
 * A wide network for an hour: a thousand nodes, each joined by two gateways and connected with sixteen peers at most, some
 * of them revoked, and all others given new keys one after another.
 *
 * No job runs in it: an author of gossip is verified by a connection of its own, which would be a thousand of them.
 *
 * @module
 */
import { randomOf } from "../runtime/random.ts";
import type { NodePlan, Scenario, ScenarioEvent } from "./scenario.ts";

/** Nodes, where nothing else is said. */
export const wideNodes = 1_000;
/** The hour, in milliseconds, and the part of it in which nothing happens any more. */
export const wideMs = 3_600_000;
const wideQuietMs = 120_000;
/** Connections of a node. A gateway has four to other gateways, and as many to nodes as are left. */
export const widePeersMax = 16;
const gatewayLinks = 4;
/** One node in so many is revoked; one in so many is a data node. */
const revokedEach = 100;
const dataEach = 20;
/** A node that gets a new key is away this long, in milliseconds. */
const rotationMs = 12_000;

/** What a wide scenario is made within. */
export interface WideTerms {
  /** From 16 on. */
  readonly nodes?: number | undefined;
  /** How long all of it takes, in milliseconds; an hour. */
  readonly forMs?: number | undefined;
}

/** The scenario of a seed. */
export function wideScenarioOf(seed: number, { nodes: count = wideNodes, forMs = wideMs }: WideTerms = {}): Scenario {
  const random = randomOf(seed, "wide scenario");
  const nodes = wideNodesOf(Math.max(16, count));
  const others = random.shuffle(nodes.filter(({ role }) => role !== "gateway")).map(({ name }) => name);
  const revoked = others.slice(0, Math.max(1, Math.floor(others.length / revokedEach)));
  const troubleMs = forMs - Math.min(wideQuietMs, forMs / 4);
  const wave = others.slice(revoked.length);
  // Revocations in the middle of the wave, so that lists, new keys and old connections meet.
  const events: ScenarioEvent[] = [
    ...revoked.map((target, nth) => event("revocation", target, troubleMs * (0.3 + 0.4 * nth / revoked.length))),
    ...wave.map((target, nth) => event("rotation", target, 20_000 + (troubleMs - 60_000) * nth / wave.length)),
  ];
  return {
    seed,
    nodes,
    job: { workers: 0, rounds: 0 },
    slices: 1,
    events: events.toSorted((left, right) => left.at - right.at),
    troubleMs,
    quietMs: forMs - troubleMs,
  };
}

function event(kind: "revocation" | "rotation", target: string, at: number): ScenarioEvent {
  return { at: Math.max(1_000, Math.round(at)), kind, target, forMs: rotationMs, amount: 0.75 };
}

function wideNodesOf(count: number): readonly NodePlan[] {
  // Each other node takes two places of the gateways.
  const gatewayCount = Math.max(3, Math.ceil((2 * count) / (widePeersMax - gatewayLinks + 2)));
  const gatewayOf = (index: number) => `gateway-${1 + index % gatewayCount}`;
  const gateways = Array.from({ length: gatewayCount }, (_, index): NodePlan => ({
    name: gatewayOf(index),
    role: "gateway",
    gateways: [index - 1, index - 2].filter((before) => before >= 0).map(gatewayOf),
  }));
  const others = Array.from({ length: count - gatewayCount }, (_, index): NodePlan => {
    const joined = { gateways: [gatewayOf(2 * index), gatewayOf(2 * index + 1)] };
    return index % dataEach === 0
      ? { name: `data-${index + 1}`, role: "data", ...joined }
      : { name: `worker-${index + 1}`, role: "worker", executors: ["train"], ...joined };
  });
  return [...gateways, ...others];
}
