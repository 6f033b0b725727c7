/**
 * A revocation in a wide network: one gateway gets the new list, and the list exchange brings it to all others, while a part of the links
 * is down for the first seconds.
 *
 * Revoked are nodes, which end by themselves, and members with programs of their own, which stay connected as long as they are let and
 * then connect again.
 *
 * @module
 */
import process from "node:process";
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { randomOf } from "../runtime/random.ts";
import type { Credential } from "./authority.ts";
import { contextOf } from "./findings.ts";
import { HostileMember } from "./hostile_member.ts";
import { numberIn } from "./membership/member_checks.ts";
import type { SimulatedNode } from "./node.ts";
import { Simulation } from "./simulation.ts";
import { wideNodes, wideNodesOf } from "./wide_scenario.ts";

/** The part of the links that is down, for how long, and within which time afterwards every node enforces the list, in milliseconds. */
export const cutShare = 0.3;
export const cutMs = 3_000;
export const reachMs = 5_000;
/** Nodes, and members with programs of their own, that are revoked. */
const revokedEach = 10;
/** Nodes start so far apart; after the last one the network has so long to settle. In milliseconds. */
const startEachMs = 20;
const settleMs = 20_000;
const lookEachMs = 100;
/** A dial is answered within this, in milliseconds. */
const dialMs = 6_000;

/** The size of a network. */
export interface WideRevocationTerms {
  /** At least 16. */
  readonly nodes?: number | undefined;
}

/** What was measured. Times are in milliseconds after the links returned; negative where they were still down. */
export interface WideRevocationReport {
  readonly seed: number;
  readonly nodes: number;
  readonly links: number;
  readonly cut: number;
  /** Nodes without the list when the links returned. */
  readonly waiting: number;
  /** When the last node had the list in force; undefined where one had not at the end. */
  readonly reachedMs: number | undefined;
  /** When the last connection with a revoked peer was closed; undefined where one was open at the end. */
  readonly closedMs: number | undefined;
  /** Connections with revoked peers before. */
  readonly connections: number;
  /** Gateways that a revoked member dialled afterwards, and those that refused it as revoked. */
  readonly dialled: number;
  readonly refused: number;
  /** What is wrong, for people; empty where all is as it should be. */
  readonly problems: readonly string[];
  readonly cpuSeconds: number;
  readonly rssMb: number;
}

/** Plays it. */
export async function runWideRevocation(
  seed: number,
  { nodes: count = wideNodes }: WideRevocationTerms = {},
): Promise<WideRevocationReport> {
  const before = process.cpuUsage();
  const world = await makeWorld(seed, Math.max(16, count));
  const { sim, gateways } = world;
  const links = world.links();
  const down = world.random.shuffle(links).slice(0, Math.round(links.length * cutShare));
  const connections = world.established();
  const crls = await sim.revoke(...world.revoked);
  for (const [one, other] of down) world.cut(one, other);
  sim.publish(crls, gateways.slice(0, 1));
  let [reachedMs, closedMs]: (number | undefined)[] = [];
  let waiting = 0;
  for (let at = lookEachMs; at <= cutMs + reachMs; at += lookEachMs) {
    sim.run(lookEachMs);
    if (at === cutMs) {
      waiting = world.behind().length;
      for (const [one, other] of down) world.heal(one, other);
    }
    reachedMs = world.behind().length > 0 ? undefined : reachedMs ?? at - cutMs;
    closedMs = world.established() > 0 ? undefined : closedMs ?? at - cutMs;
  }
  const behind = world.behind().map(({ name }) => name);
  const kept = world.established();
  const { dialled, refused } = world.dialAgain();
  const { user, system } = process.cpuUsage(before);
  return {
    ...{ seed, nodes: sim.nodes.size, links: links.length, cut: down.length, waiting, connections },
    ...{ reachedMs, closedMs, dialled, refused },
    problems: [
      ...(behind.length === 0 ? [] : [`${behind.length} nodes have no new list: ${behind.slice(0, 5).join(", ")}`]),
      ...(kept === 0 ? [] : [`${kept} connections with revoked peers are open`]),
      ...(connections >= 4 * revokedEach ? [] : [`revoked peers had ${connections} connections only`]),
      ...(refused >= dialled ? [] : [`${dialled - refused} of ${dialled} dials of revoked members were not refused`]),
      ...world.crashes,
    ],
    cpuSeconds: (user + system) / 1e6,
    rssMb: process.memoryUsage.rss() / 1e6,
  };
}

type Link = readonly [SimulatedNode, SimulatedNode];

/** The network, settled. */
async function makeWorld(seed: number, count: number) {
  const sim = await Simulation.create({ seed: `wide revocation ${seed}` });
  const { authority: { root, intermediate }, network } = sim;
  const random = randomOf(seed, "wide revocation");
  const trustPem = root.certPem + intermediate.certPem;
  const credentials = new Map<string, Credential>();
  for (const [index, { name, role, gateways = [] }] of wideNodesOf(count).entries()) {
    const credential = await sim.issue(name, role);
    credentials.set(name, credential);
    const node = sim.makeNode({
      name,
      role,
      gateways,
      credential,
      trustPem,
      ...(role === "data" ? { slices: 1 } : {}),
    });
    sim.after(index * startEachMs, () => node.start());
  }
  const nodes = [...sim.nodes.values()];
  const gateways = nodes.filter(({ role }) => role === "gateway");
  const members: HostileMember[] = [];
  const revoked: Credential[] = [];
  for (let number = 0; number < revokedEach; number++) {
    const credential = await sim.issue(`member-${number}`, "worker");
    revoked.push(credential);
    const member = new HostileMember({ sim, credential, number });
    members.push(member);
    sim.after(count * startEachMs + number, () => {
      for (const each of [0, 1]) member.dial(gateways[(2 * number + each) % gateways.length]!.address);
    });
  }
  const ending = random.shuffle(nodes.filter(({ role }) => role !== "gateway")).slice(0, revokedEach);
  revoked.push(...ending.map(({ name }) => credentials.get(name)!));
  const { crashes, refusedBy } = watch(sim, new Set(members.map(({ peer }) => peer)));
  sim.run(count * startEachMs + settleMs);
  // A node has a peer id from its start on.
  const peers = new Set<string>([...ending.map(({ peer }) => peer), ...members.map(({ peer }) => peer)]);
  const byPeer = new Map<string, SimulatedNode>(nodes.map((node) => [node.peer, node]));
  const issuer = markKey(Result.getOrThrow(parseCertificate(intermediate.der)));
  const staying = nodes.filter((node) => !ending.includes(node));
  return {
    ...{ sim, random, gateways, revoked, crashes },
    links: (): readonly Link[] => linksOf(nodes, byPeer),
    cut: (one: SimulatedNode, other: SimulatedNode) => {
      network.cut(one.name, other.name);
      network.cut(other.name, one.name);
    },
    heal: (one: SimulatedNode, other: SimulatedNode) => {
      network.heal(one.name, other.name);
      network.heal(other.name, one.name);
    },
    /** Nodes without the new list. */
    behind: () => staying.filter((node) => listOf(node, issuer) < 2n),
    /** Connections with revoked peers. */
    established: () => staying.reduce((sum, node) => sum + node.peers.filter((peer) => peers.has(peer)).length, 0),
    dialAgain: () => {
      refusedBy.clear();
      for (const [index, { address }] of gateways.entries()) members[index % members.length]!.dial(address);
      sim.run(dialMs);
      return { dialled: gateways.length, refused: refusedBy.size };
    },
  };
}

/** Watches for nodes that end with an error, and for gateways that refuse the members as revoked. */
function watch(sim: Simulation, members: ReadonlySet<string>) {
  const crashes: string[] = [];
  const refusedBy = new Set<string>();
  sim.watches.push({
    crash: ({ name }, error) => void crashes.push(`${name}: ${String(error)}`),
    fact: ({ name }, fact) => {
      if (fact.type !== "peer.refused" || fact.refusal.code !== "certificate-revoked") return;
      if (fact.peer !== undefined && members.has(fact.peer.id)) refusedBy.add(name);
    },
  });
  return { crashes, refusedBy };
}

function linksOf(nodes: readonly SimulatedNode[], byPeer: ReadonlyMap<string, SimulatedNode>): readonly Link[] {
  return nodes.flatMap((node) =>
    node.peers.flatMap((peer): Link[] => {
      const other = byPeer.get(peer);
      return other === undefined || other.name <= node.name ? [] : [[node, other]];
    })
  );
}

/** The number of the issuer's list that a node has in force; 0 where it does not run. */
function listOf(node: SimulatedNode, issuer: string): bigint {
  const snapshot = node.isRunning ? contextOf<{ readonly snapshot?: TrustSnapshot }>(node.actor)?.snapshot : undefined;
  return snapshot === undefined ? 0n : numberIn(snapshot, issuer);
}
