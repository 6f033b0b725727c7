/**
 * A wide network for an hour: a thousand nodes, each joined by two gateways and connected with at most sixteen peers. Some
 * are revoked; all others get new keys, one after another.
 *
 * No job runs in it: each author of gossip is verified over a connection of its own, and there would be a thousand.
 *
 * @module
 */
import { randomOf } from "../runtime/random.ts";
import type { NodePlan, Scenario, ScenarioEvent } from "./scenario.ts";

/** The default number of nodes. */
export const wideNodes = 1_000;
/** The hour, in milliseconds, and its last part, without events. */
export const wideMs = 3_600_000;
const wideQuietMs = 120_000;
/** Connections of a node. A gateway has four with other gateways, and the rest with nodes. */
export const widePeersMax = 16;
const gatewayLinks = 4;
/** One node of this many is revoked; one of this many is a data node. */
const revokedEach = 100;
const dataEach = 20;
/** A node that gets a new key is down this long, in milliseconds. */
const rotationMs = 12_000;

/** The size of a wide scenario. */
export interface WideTerms {
  /** At least 16. */
  readonly nodes?: number | undefined;
  /** Its duration, in milliseconds; an hour by default. */
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

/** The nodes of a wide network. */
export function wideNodesOf(count: number): readonly NodePlan[] {
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
