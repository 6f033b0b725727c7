/** Whom a member is linked with in a network of real nodes: its gateways, and those it works with. */
import { randomUUID } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../pki/certificate.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { whileAwake } from "../support/awake.ts";
import { makeTestPki } from "../support/pki.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { of, snapshotOf, startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("links of a real network");
const pki = await makeTestPki();
/** Members that hear gossip: more than a gossipsub node's mesh has by default. */
const hearers = 24;
const messages = 5;
/** A message has gone from hop to hop within this, in milliseconds: less than a heartbeat. */
const atOnceMs = 900;
/** Meshes are made at heartbeats, one a second. */
const meshMs = 3_000;
const request = {
  spec: { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [{ class: "train", name: "x" }] },
  timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
} as const;
/** Members beside the gateway. */
const members = 8;
/** The library puts a peer that it heard of into its table within this, in milliseconds: it dials and pings it first. */
const heardMs = 2_000;

async function linksOf(node: TestTransport): Promise<readonly string[]> {
  const answer = await node.ask({ type: "peers" });
  assert.is(answer.type, "peers");
  return answer.type === "peers" ? answer.list.map(({ peer }) => peer) : [];
}

async function start(name: string, role: Role, options: object): Promise<TestTransport> {
  return await startTransport({ pki, name, role, node: await pki.node(name, { role }), ...options });
}

const trusted = snapshotOf(pki);
/** Trust as `init` sets it up, and as a network with existing nodes has it: there each node with an address serves the DHT. */
const snapshots = [["require", { ...trusted, policy: { ...defaultPolicy, roles: "require" } }], [
  "accept",
  trusted,
]] as const;
for (const [roles, snapshot] of snapshots) {
  test(`bug: the DHT linked each client with every other that an answer named (roles: ${roles})`, async () => {
    const gateway = await start("gateway", "gateway", { snapshot, relay: "server" });
    const gatewayAddresses = [gateway.addresses[0] as string];
    const nodes: TestTransport[] = [];
    for (let index = 0; index < members; index++) {
      const node = await start(`worker-${index}`, "worker", { snapshot, gatewayAddresses });
      await node.ask({ type: "dial", id: "gateway", target: { address: gatewayAddresses[0] as string } });
      nodes.push(node);
    }
    await Promise.all(nodes.map((node) => node.fact(of("dht.ready"))));
    const asks = nodes.map((node, index) =>
      node.ask({ type: "record.get", id: "g", key: `key-${index}`, timeoutMs: 5_000 })
    );
    for (const answer of await Promise.all(asks)) assert.is(answer.type, "record.missing");
    await whileAwake(heardMs);
    for (const node of nodes) assert.equal(await linksOf(node), [gateway.peer], node.name);
    // Whom a client asks for by name it finds, through the gateway.
    const [first, last] = [nodes[0]!, nodes.at(-1)!];
    const dialled = await first.ask({ type: "dial", id: "d", target: { peer: last.peer } });
    assert.equal(dialled, { type: "dial.done", id: "d", peer: last.peer });
    assert.equal([...await linksOf(first)].toSorted(), [gateway.peer, last.peer].toSorted());
    await Promise.all([gateway, ...nodes].map((node) => node.stop()));
  });
}

test("bug: with links to a gateway alone, gossip reached a dozen members at once, and some of the others never", async () => {
  const gateway = await start("gateway", "gateway", { relay: "server" });
  gateway.send({ type: "subscribe", topic: workerTopic });
  const gatewayAddresses = [gateway.addresses[0] as string];
  const join = async (name: string, role: Role) => {
    const node = await start(name, role, { gatewayAddresses });
    await node.ask({ type: "dial", id: "gateway", target: { address: gatewayAddresses[0] as string } });
    return node;
  };
  const workers: TestTransport[] = [];
  for (let index = 0; index < hearers; index++) workers.push(await join(`worker-${index}`, "worker"));
  for (const worker of workers) worker.send({ type: "subscribe", topic: workerTopic });
  const scheduler = await join("scheduler", "scheduler");
  await whileAwake(meshMs);
  // What the mesh does not bring comes with a later heartbeat, to half a dozen of the others.
  let heardByAll = 0;
  for (let bid = 1; bid <= messages; bid++) {
    const message = { ...request, id: randomUUID(), bid };
    const answer = await scheduler.ask({ type: "publish", id: `${bid}`, topic: workerTopic, message });
    assert.is(answer.type, "publish.done");
    const isHeard = () => workers.every(({ facts }) => facts.some(of("published", (fact) => fact.message.bid === bid)));
    if (await whileAwake(atOnceMs, isHeard)) heardByAll += 1;
  }
  assert.ok(heardByAll > messages / 2, `${heardByAll} of ${messages} messages reached all at once`);
  await Promise.all([gateway, scheduler, ...workers].map((node) => node.stop()));
});

test.run();
