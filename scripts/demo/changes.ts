/**
 * What happens in the middle of training: a worker joins, a trainer renews with another key, another trainer is revoked.
 *
 * @module
 */
import { readFileSync, utimesSync } from "node:fs";
import { BrokenPromise } from "./broken_promise.ts";
import type { Display } from "./display.ts";
import { certificatePeer, tryIntruder } from "./intruder.ts";
import { untilReady } from "./network.ts";
import { bring, type Network } from "./network_start.ts";
import type { LogEvent, NodeProcess } from "./processes.ts";
import { closingTimes, type RenewalFacts, type RevocationFacts } from "./promises.ts";

const allocationTimeoutMs = 120_000;
const renewalTimeoutMs = 60_000;
const cellTimeoutMs = 60_000;
const redialTimeoutMs = 30_000;
const revokedEndTimeoutMs = 30_000;
/** Longer than the promise, so that the demo sees a late close and reports it as late. */
const closedWaitMs = 8_000;
const dayMs = 86_400_000;

/** The round after which a revocation still falls into the training. */
const middleOf = (rounds: number): number => Math.ceil(rounds * 0.4);

/** Who has which part of the training. */
export interface Parts {
  /** Trainers, by node. */
  readonly trainers: readonly string[];
  readonly aggregator: string;
}

/** Reads from the scheduler's leases who trains and who aggregates. */
export async function findParts(network: Network, scheduler: NodeProcess): Promise<Parts> {
  const { trainers } = network.layout;
  const isComplete = () =>
    leasesFor("train", scheduler).length >= trainers && leasesFor("aggregate", scheduler).length > 0;
  await scheduler.waitFor(isComplete, "lease for each trainer and the aggregator", allocationTimeoutMs);
  return {
    trainers: leasesFor("train", scheduler).map(holderIn(network)),
    aggregator: presentAggregator(network, scheduler),
  };
}

/** The node that aggregates now: the newest lease counts. */
export function presentAggregator(network: Network, scheduler: NodeProcess): string {
  return leasesFor("aggregate", scheduler).map(holderIn(network)).at(-1) ?? "";
}

const leasesFor = (wanted: string, { events }: NodeProcess): readonly LogEvent[] =>
  events.filter(({ event, class: of }) => event === "lease.granted" && of === wanted);

/** The node to which a lease was granted, by the certificates that the nodes have now. */
function holderIn({ certifier, nodes }: Network): (lease: LogEvent) => string {
  const members = [...nodes.keys()].filter((name) => name !== "ca");
  const names = new Map(members.map((name) => [certificatePeer(certifier.placeOf(name).cert), name]));
  return ({ peer }) => {
    const name = names.get(String(peer));
    if (name === undefined) throw new BrokenPromise("a lease names a peer that is no node here");
    return name;
  };
}

/** Has a worker join by a token. Returns when it was ready, in milliseconds since the epoch. */
export async function joinLate(network: Network, scheduler: NodeProcess, display: Display): Promise<number> {
  const { layout: { rounds }, plan: { late } } = network;
  const node = await bring(network, late, display);
  const { time } = await untilReady(node);
  display.note(`${late.name} (${late.runtime}) joined by a token, and is ready`);
  // Its search for cells takes a core for a second or more, which the times of the revocation would show. The training does not wait.
  const isMiddle = ({ event, round }: LogEvent) => event === "round.finished" && Number(round) >= middleOf(rounds);
  await Promise.race([
    node.waitFor(({ event }) => event === "worker.cell", "cell", cellTimeoutMs),
    scheduler.waitFor(isMiddle, "round in the middle", cellTimeoutMs),
  ]);
  return Date.parse(time);
}

/** Has a trainer renew with another key: the file of its key is dated back, and it reads its files again (SIGHUP). */
export async function renewTrainer(
  { certifier, nodes }: Network,
  name: string,
  display: Display,
): Promise<Pick<RenewalFacts, "name" | "formerPeer" | "at">> {
  const node = nodes.get(name);
  if (node === undefined) throw new BrokenPromise(`there is no ${name}`);
  const { cert, key } = certifier.placeOf(name);
  const formerPeer = certificatePeer(cert);
  const longAgo = new Date(Date.now() - 40 * dayMs);
  utimesSync(key, longAgo, longAgo);
  const began = performance.now();
  node.reload();
  await node.waitFor(
    (event) => event.event === "identity.renewed" && event["key"] === "new",
    "certificate for another key",
    renewalTimeoutMs,
  );
  const { time } = await node.waitFor(({ event }) => event === "node.rekeying", "other identity", renewalTimeoutMs);
  const ms = Math.round(performance.now() - began);
  display.note(`${name} has another key and certificate after ${ms} ms, and goes on training`);
  return { name, formerPeer, at: Date.parse(time) };
}

/** Revokes a trainer's certificates, and watches its connections. */
export async function revokeTrainer(
  network: Network,
  { name, aggregator }: { readonly name: string; readonly aggregator: string },
  display: Display,
): Promise<RevocationFacts> {
  const { certifier, nodes, plan } = network;
  const peer = certificatePeer(certifier.placeOf(name).cert);
  const began = await certifier.revoke(name);
  if (certifier.way === "ca") display.note(`hypha-ca revoke answered after ${Math.round(Date.now() - began)} ms`);
  const others = [...nodes.values()].filter((other) => other.name !== name);
  const closedMs = await untilClosed(() => closingTimes(others, peer, began));
  for (const [other, ms] of Object.entries(closedMs)) display.note(`${other} closed it after ${ms ?? "—"} ms`);
  const gateway = nodes.get(plan.gateway.name);
  const redialCode = certifier.way === "ca"
    ? await redialRevoked(network, name)
    : await awaitRedial(gateway, { name: certifier.commonName(name), peer, after: began });
  display.note(`its redial was refused: ${redialCode}`);
  return { name, closedMs, redialCode, connectedMin: ["gateway", "scheduler", aggregator] };
}

/** A member of a CA's network ends by itself: an attacker that has its files dials. */
async function redialRevoked({ certifier, layout, nodes }: Network, name: string): Promise<string> {
  const { cert, key } = certifier.placeOf(name);
  const late = new Promise<void>((resolve) => setTimeout(resolve, revokedEndTimeoutMs).unref());
  await Promise.race([nodes.get(name)?.ended, late]);
  return tryIntruder(
    {
      name: `${name}, revoked`,
      commonName: certifier.commonName(name),
      code: "certificate-revoked",
      certPem: readFileSync(cert, "utf8"),
      keyPem: readFileSync(key, "utf8"),
    },
    layout,
    nodes.get("gateway"),
  );
}

/** The refusal of a node that dials again by itself. */
async function awaitRedial(
  gateway: NodeProcess | undefined,
  { name, peer, after }: { readonly name: string; readonly peer: string; readonly after: number },
): Promise<string> {
  const names = (event: object) => {
    const text = JSON.stringify(event);
    return text.includes(peer) || text.includes(name);
  };
  const refusal = await gateway?.waitFor(
    (event) => event.event === "peer.refused" && Date.parse(event.time) >= after && names(event),
    `refusal of ${name}'s redial`,
    redialTimeoutMs,
  );
  return String(refusal?.["code"]);
}

/** Waits until every node has closed, or clearly will not. */
async function untilClosed(look: () => Record<string, number | null>): Promise<Record<string, number | null>> {
  const until = performance.now() + closedWaitMs;
  for (;;) {
    const closedMs = look();
    if (Object.values(closedMs).every((ms) => ms !== null) || performance.now() > until) return closedMs;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
