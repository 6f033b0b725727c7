/**
 * `explain` says what a running node decides. Members with certificates of every kind act at nodes of every role, over the virtual
 * network and under random rules; each verdict of the core, and the row or rule that it names, is compared with what is explained.
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { explainActs } from "../../actors/certutil/explain.ts";
import type { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
import type { Role } from "../../pki/certificate.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { type Act, actNames, rowOf } from "../../transport/authorization/acts.ts";
import { makeRules, type RuleText } from "../../transport/authorization/rules.ts";
import { Authorization } from "../../transport/core/authorization.ts";
import type { WireConnection } from "../../transport/core/wire.ts";
import { streamProtocols, type TransportFact } from "../../transport/port.ts";
import { messageProtocols } from "../../transport/protocols/messages.ts";
import { encodeMessage } from "../../transport/protocols/mod.ts";
import { type Meeting, type Party, simulatedMeeting } from "../support/conformance.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { aggregateSpec } from "../support/worker_world.ts";

const api = "/hypha-api/0.0.1";
const progress = "/hypha-progress/0.0.1";
const health = "/hypha-health/0.0.1";
const crl = "/hypha-crl/1";
const id = "3c508384-6829-4d62-83d3-061ae58b76fa";
const resources = { gpu: 0, cpu: 1, storage: 0, memory: 1 };
const timeout = { secs_since_epoch: 1, nanos_since_epoch: 0 };
const somePeer = "12D3KooWHdfgoNvzJ4NgQYZFNsYZfxWRtbVHEBu8ZHmAYUcXrGvM";
const rounds = 6;
const roles = ["gateway", "scheduler", "worker", "data"] as const;

/** Acts that a member does by a message or a stream of its own, and how. */
const sent: Partial<Record<Act, readonly [protocol: string, bytes: Uint8Array]>> = {
  "lease.renew": [api, encodeMessage(api, "request", { RenewLease: { id } })],
  "job.dispatch": [
    api,
    encodeMessage(api, "request", { DispatchJob: { id, spec: aggregateSpec([somePeer], id, somePeer) } }),
  ],
  "worker.offer": [
    api,
    encodeMessage(api, "request", { WorkerOffer: { id, request_id: id, price: 1, resources, timeout } }),
  ],
  "job.status": [api, encodeMessage(api, "request", { JobStatus: { task_id: id, status: { type: "Running" } } })],
  "data.ask": [api, encodeMessage(api, "request", { Data: { dataset: "digits" } })],
  "progress": [progress, encodeMessage(progress, "request", { job_id: id, progress: "update" })],
  "health": [health, encodeMessage(health, "request", {})],
  "crl": [crl, encodeMessage(crl, "request", { Pull: { sha256: "00".repeat(32), offset: 0 } })],
  "slice.pull": ["/hypha-tensor-stream/pull/2", Uint8Array.of(1)],
  "file.push": ["/hypha-tensor-stream/push", Uint8Array.of(1)],
};
const sentActs = actNames.filter((act) => sent[act] !== undefined);

/** Small numbers from a seed (mulberry32). */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

interface Member {
  readonly node: TestNode;
  readonly hostile: HostilePeer;
}

interface Node {
  readonly role: Role;
  readonly party: Party;
  readonly snapshot: TrustSnapshot;
  /** By the member's name; none where the gate refused it. */
  readonly connections: Map<string, WireConnection>;
}

/** Certificates of each role of two organisations, without a role, and such as the gate refuses. */
async function makeCertificates() {
  const [own, partner, stranger] = await Promise.all([
    makeTestPki(),
    makeTestPki({ organization: "Partner" }),
    makeTestPki({ organization: "Stranger" }),
  ]);
  const of = (role: Role) => own.node(`${role}-1`, { role });
  const san = (role: string, name: string) => ({ san: [`URI:spiffe://partner.example/${role}/${name}`] });
  const nodes = await Promise.all([
    ...roles.map(of),
    own.node("plain-1"),
    partner.node("p-scheduler", san("scheduler", "p-scheduler")),
    partner.node("p-worker", san("worker", "lab/p-worker")),
    partner.node("p-data", san("data", "p-data")),
    own.node("worker-2", { role: "worker" }),
    own.node("gone-1", { role: "scheduler" }),
    stranger.node("stranger-1", { role: "scheduler" }),
    own.node("borrowed-1", san("worker", "borrowed-1")),
  ]);
  const crlsPem = await own.crls({ revoked: nodes.filter(({ name }) => name === "gone-1") });
  const snapshot = (isRequired: boolean): TrustSnapshot => {
    const policy = isRequired ? { ...defaultPolicy, roles: "require" as const } : defaultPolicy;
    const domains = [{ name: "partner.example", trust: partner.trustPem, crlsPem: undefined, roles: undefined }];
    const given = { trustPem: own.trustPem, crlsPem, policy, domains, generation: 2, at: new Date() };
    return Result.getOrThrow(makeTrustSnapshot(given)).snapshot;
  };
  return { own, nodes, snapshot };
}

/** Draws rules for a node of this role: patterns that fit often, and mostly acts that it takes. */
function drawRules(own: Role, random: (below: number) => number, nodes: readonly TestNode[]): readonly RuleText[] {
  const pick = <T>(from: readonly T[]): T => from[random(from.length)]!;
  const pattern = () => {
    const domain = pick(["test.hypha", "partner.example"]);
    const role = pick([...roles, "*"]);
    return pick([
      `spiffe://${domain}/${role}/*`,
      `spiffe://${domain}/**`,
      `spiffe://${domain}/${role}/**`,
      `name:${pick(nodes).name}`,
      `spiffe://test.hypha/worker/worker-${1 + random(2)}`,
    ]);
  };
  const taken = sentActs.filter((act) => {
    const { receivedBy } = rowOf(act);
    return receivedBy === "all" || receivedBy.includes(own);
  });
  return Array.from({ length: 1 + random(5) }, () => {
    const effect = pick(["deny", "allow", "allow"] as const);
    const open = actNames.filter((act) => effect === "deny" || rowOf(act).closed !== true);
    return {
      effect,
      acts: Array.from({ length: 1 + random(4) }, () => pick(random(3) === 0 ? open : taken)),
      peers: Array.from({ length: 1 + random(2) }, pattern),
    };
  });
}

async function joinNode(
  meeting: Meeting,
  role: Role,
  snapshot: TrustSnapshot,
  members: readonly Member[],
): Promise<Node> {
  const party = await meeting.join(`node ${role}`, {
    input: { role },
    ...(role === "gateway" ? { gateway: true } : {}),
  });
  for (const protocol of [...messageProtocols, ...streamProtocols]) party.send({ type: "serve", protocol });
  party.send({ type: "trust.changed", snapshot });
  const node = { role, party, snapshot, connections: new Map<string, WireConnection>() };
  for (const member of members) await connect(meeting, node, member);
  return node;
}

async function connect(meeting: Meeting, { party, connections }: Node, { node, hostile }: Member): Promise<void> {
  hostile.dial(party.address, (outcome) => {
    if (Result.isSuccess(outcome)) connections.set(node.name, outcome.success);
  });
  await meeting.pass(200);
}

/** What the core made of the acts since `from`: `received`, or what refused them. */
function verdictsOf(facts: readonly TransportFact[], from: number): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const fact of facts.slice(from)) {
    if (fact.type === "act.refused") found.set(`${fact.identity.name} ${fact.act}`, fact.refusal.rule);
    if (fact.type !== "request.received" && fact.type !== "stream.received") continue;
    const kind = fact.type === "stream.received" ? "" : Object.keys(fact.message)[0] ?? "";
    for (const act of sentActs) {
      const [protocol, bytes] = sent[act]!;
      const isIt = fact.protocol === protocol &&
        (protocol !== api || new TextDecoder("latin1").decode(bytes).includes(kind));
      if (isIt) found.set(`${fact.identity.name} ${act}`, "received");
    }
  }
  return found;
}

/** Declines what is open, so that the next round finds places. */
function declineAll({ party }: Node, from: number): void {
  for (const fact of party.facts.slice(from)) {
    if (fact.type === "request.received") party.send({ type: "decline", exchange: fact.exchange });
    if (fact.type === "stream.received") party.send({ type: "stream.reject", exchange: fact.exchange });
  }
}

const test = suite("explainActs()");

test("agrees with a running node on more than 1,000 cases: verdict, and row or rule", async () => {
  const { own, nodes, snapshot } = await makeCertificates();
  const meeting = simulatedMeeting(own);
  const members: Member[] = [];
  for (const node of nodes) members.push({ node, hostile: await meeting.intrude(node.name, node) });
  const running: Node[] = [];
  for (const role of roles) {
    const isRequired = role === "worker" || role === "data";
    running.push(await joinNode(meeting, role, snapshot(isRequired), members));
  }
  const counts: Record<string, number> = {};
  const count = (what: string) => void (counts[what] = (counts[what] ?? 0) + 1);
  for (const { role, party, snapshot, connections } of running) {
    for (const { node: { name, chain }, hostile } of members) {
      const { acts: [gate] } = explainActs(["ping"], chain, { snapshot, at: new Date(), own: role, rules: [] });
      const refusal = party.facts.find((fact) => fact.type === "peer.refused" && fact.peer?.name === name);
      const code = refusal?.type === "peer.refused" ? refusal.refusal.code : undefined;
      assert.is(gate?.by === "gate" ? gate.code : undefined, code, `${name} at a ${role}`);
      const connection = connections.get(name);
      const isOpen = connection?.isOpen === true && hostile.connections.has(connection);
      assert.is(isOpen, code === undefined, `${name} at a ${role}: ${code}`);
      if (!isOpen) connections.delete(name);
      if (code !== undefined) count("gate");
    }
  }
  for (let round = 0; round < rounds; round++) {
    const random = makeRandom(round);
    for (const node of running) {
      const { role: own, party, snapshot, connections } = node;
      const rules = makeRules(drawRules(own, random, nodes));
      party.send({ type: "rules.changed", rules });
      await meeting.pass(61_000); // a refusal of the same member and act is told once a minute
      const from = party.facts.length;
      for (const member of members) {
        const { node: { name }, hostile } = member;
        if (!connections.has(name)) continue;
        // Rules that deny what libp2p itself serves end the connection; a new one may be made.
        if (connections.get(name)?.isOpen !== true) await connect(meeting, node, member);
        for (const act of sentActs) hostile.exchange(connections.get(name)!, ...sent[act]!);
        await meeting.pass(100);
      }
      await meeting.pass(500);
      const verdicts = verdictsOf(party.facts, from);
      declineAll(node, from);
      const clock = { monotonic: () => 0, yield: (task: () => void) => task() };
      const core = new Authorization({
        input: { role: own, rules },
        clock,
        outbox: { tell: () => {} },
        members: () => [],
      });
      const proven = new Map(
        party.facts.flatMap((fact) => fact.type === "peer.established" ? [[fact.identity.name, fact.identity]] : []),
      );
      for (const { node: { name, chain } } of members) {
        const identity = proven.get(name);
        if (identity === undefined || !connections.has(name)) continue;
        const terms = { snapshot, at: new Date(), own, rules };
        for (const { act, allowed, by } of explainActs(actNames, chain, terms).acts) {
          const made = sent[act] === undefined
            ? core.refusalOf(act, identity)?.rule ?? "received"
            : verdicts.get(`${name} ${act}`);
          assert.is(made, allowed ? "received" : by, `round ${round}: ${name} does ${act} at a ${own}, ${by}`);
          count(
            `${sent[act] === undefined ? "judged" : "sent"}, ${allowed ? "allowed" : "denied"} by ${by.slice(0, 3)}`,
          );
        }
      }
    }
  }
  const cases = Object.entries(counts).filter(([what]) => what.startsWith("sent")).map(([, times]) => times);
  assert.ok(cases.reduce((sum, times) => sum + times, 0) >= 1_000, JSON.stringify(counts));
  for (const what of ["allowed by row", "allowed by aut", "denied by row", "denied by aut"]) {
    assert.ok((counts[`sent, ${what}`] ?? 0) >= 20, JSON.stringify(counts));
  }
  assert.ok((counts["gate"] ?? 0) >= 8, JSON.stringify(counts));
  for (const { hostile } of members) hostile.leave();
  for (const { party } of running) await party.stop();
});

test.run();
