/** Gossip in a network of real nodes that is as large as a test can make it. */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../pki/certificate.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { makeTestPki } from "../support/pki.ts";
import { of, snapshotOf, startTransport, type TestTransport, until } from "../support/transports.ts";

const test = suite("gossip in a network of 200 nodes");
const pki = await makeTestPki();
const nodesInAll = 200;
const gatewaysInAll = 4;
const messages = 3;
/** Meshes are made at heartbeats, one a second. */
const meshMs = 3_000;
/** Everybody has heard a message within this, in milliseconds. */
const heardMs = 10_000;
/** All nodes share one address here. */
const limits = {
  ...defaultLimits,
  connectionsPerAddressMax: 1_000,
  pendingPerAddressMax: 256,
  handshakesPerSecond: 500,
  handshakesBurst: 500,
};
const request = {
  spec: { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [{ class: "train", name: "x" }] },
  timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
} as const;

/** Trust as `init` sets it up: only gateways serve the DHT. */
const snapshot = { ...snapshotOf(pki), policy: { ...defaultPolicy, roles: "require" as const } };

async function start(name: string, role: Role, options: object): Promise<TestTransport> {
  return await startTransport({ pki, name, role, node: await pki.node(name, { role }), limits, snapshot, ...options });
}

async function dial(from: TestTransport, to: TestTransport): Promise<void> {
  const dialled = await from.ask({ type: "dial", id: to.name, target: { address: to.addresses[0] as string } });
  assert.is(dialled.type, "dial.done", from.name);
}

async function linksOf(node: TestTransport): Promise<number> {
  const answer = await node.ask({ type: "peers" });
  return answer.type === "peers" ? answer.list.length : Infinity;
}

test("each message reaches every subscriber, where no node is linked with all", async () => {
  const gateways: TestTransport[] = [];
  for (let nth = 0; nth < gatewaysInAll; nth++) {
    gateways.push(await start(`gateway-${nth}`, "gateway", { relay: "server" }));
  }
  for (const [nth, gateway] of gateways.entries()) await dial(gateway, gateways[(nth + 1) % gatewaysInAll]!);
  const members: TestTransport[] = [];
  const scheduler = await start("scheduler", "scheduler", {});
  await dial(scheduler, gateways[0]!);
  for (let nth = 0; nth < nodesInAll - gatewaysInAll - 1; nth++) {
    const member = await start(`worker-${nth}`, "worker", {});
    await dial(member, gateways[nth % gatewaysInAll]!);
    members.push(member);
  }
  const hearers = [...gateways, ...members];
  // Each verifies the author by a dial. 199 dials in one moment are more than two cores do in a dial's time.
  for (const hearer of hearers) {
    await dial(hearer, scheduler);
    if (hearer !== gateways[0]) hearer.send({ type: "close", peer: scheduler.peer, reason: "met" });
  }
  for (const node of hearers) node.send({ type: "subscribe", topic: workerTopic });
  await pause(meshMs);
  const links = await Promise.all([scheduler, ...hearers].map(linksOf));
  assert.is(links.length, nodesInAll);
  assert.ok(Math.max(...links) < nodesInAll - 1, `a node has ${Math.max(...links)} links`);
  for (let bid = 1; bid <= messages; bid++) {
    const message = { ...request, id: randomUUID(), bid };
    const published = await scheduler.ask({ type: "publish", id: `${bid}`, topic: workerTopic, message });
    assert.is(published.type, "publish.done");
    const heard = ({ facts }: TestTransport) => facts.some(of("published", (fact) => fact.message.bid === bid));
    await until(`message ${bid} is heard by all`, () => hearers.every(heard), heardMs);
  }
  await Promise.all([scheduler, ...hearers].map((node) => node.stop()));
});

test.run();
