/** Whole nodes whose key and certificate files are replaced while they serve: each becomes another PeerID. */
import { chmodSync, renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TransportAnswer } from "../../transport/port.ts";
import { awake } from "../support/awake.ts";
import { makeNodeNetwork, type NodeNetwork, type RunningNode } from "../support/node_network.ts";
import type { TestNode } from "../support/pki.ts";
import { identityOf, of, startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("key change");
/** How often the key is changed under load; the full count is `HYPHA_ROTATIONS=100`. */
const changes = Number(process.env["HYPHA_ROTATIONS"] ?? 4);
/** A failed exchange is tried again by address within this, in milliseconds of the time that this process gets. */
const promiseMs = 5_000;
const health = "/hypha-health/0.0.1";

function put(path: string, text: string, mode: number): void {
  writeFileSync(`${path}.new`, text);
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
}

/** Two files, one after the other, as they are. */
function rotate(node: RunningNode, pair: TestNode): void {
  put(node.files.certPath, pair.chainPem, 0o644);
  put(node.files.keyPath, pair.keyPem, 0o600);
}

const addressOf = async (node: RunningNode, peer?: string): Promise<string> => {
  const { addresses } = await node.said("node.listening", (fields) => peer === undefined || fields["peer"] === peer);
  return (addresses as readonly string[])[0] as string;
};
const withoutPeer = (address: string) => address.replace(/\/p2p\/[^/]+$/, "");
const outcome = (answer: TransportAnswer) => answer.type === "dial.failed" ? answer.refusal.code : answer.type;

async function client(network: NodeNetwork, name: string): Promise<TestTransport> {
  const node = await network.pki.node(name, { role: "worker" });
  return await startTransport({ pki: network.pki, name, node, listenAddresses: [], handshakeTimeoutMs: 5_000 });
}

test(`${changes} changes of a gateway's key under load: every exchange is done, by address within ${promiseMs} ms`, async () => {
  const network = await makeNodeNetwork();
  const gateway = await network.start("gateway", "gateway", {
    externalAddresses: ["/ip4/127.0.0.1/tcp/1"],
    rotation: { drain: "expiry", drainMs: 20_000 },
  });
  await gateway.said("node.ready");
  const address = withoutPeer(await addressOf(gateway));
  const clients = await Promise.all(["one", "two", "three"].map((name) => client(network, name)));
  let over = false;
  const lost: string[] = [];
  const counts = { exchanges: 0, again: 0, slowestMs: 0, slowestWallMs: 0 };
  const clock = awake();
  /** One exchange: with whom it knows, and where that fails by address, until the promise's time is over. */
  const exchange = async (by: TestTransport, peer: string | undefined, id: string): Promise<string | undefined> => {
    const [began, beganAt] = [clock.ms(), performance.now()];
    let [known, why] = [peer, ""];
    for (let time = 0; clock.ms() - began < promiseMs; time++) {
      if (time === 1) counts.again += 1;
      if (known === undefined) {
        const dialled = await by.ask({ type: "dial", id: `${id}/${time}`, target: { address } });
        if (dialled.type === "dial.done") known = dialled.peer;
        else if (dialled.type === "dial.failed") why = dialled.refusal.message;
      }
      if (known !== undefined) {
        const ask = { type: "request", id: `${id}/${time}`, peer: known, protocol: health, message: {} } as const;
        const answer = await by.ask({ ...ask, timeoutMs: 2_000 });
        if (answer.type === "response") {
          counts.slowestMs = Math.max(counts.slowestMs, clock.ms() - began);
          counts.slowestWallMs = Math.max(counts.slowestWallMs, performance.now() - beganAt);
          return known;
        }
        if (answer.type === "request.failed") why = answer.error.message;
        known = undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    lost.push(`${id}: ${why}`);
    return undefined;
  };
  const load = clients.map(async (by, index) => {
    let peer: string | undefined;
    for (let n = 0; !over; n++) {
      // The last of them comes anew each time.
      peer = await exchange(by, index === 2 ? undefined : peer, `${by.name}/${n}`);
      counts.exchanges += 1;
      if (index === 2 && peer !== undefined) by.send({ type: "close", peer, reason: "again" });
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  });
  const peers = new Set<string>();
  for (let change = 1; change <= changes; change++) {
    const pair = await network.pki.node("gateway", { role: "gateway" });
    const { peer } = identityOf(pair);
    rotate(gateway, pair);
    await gateway.said("node.ready", (fields) => fields["peer"] === peer, 30_000);
    assert.is(withoutPeer(await addressOf(gateway, peer)), address);
    peers.add(peer);
    const seen = clients.map(({ facts }) => facts.length);
    const end = performance.now() + 30_000;
    // The next change comes when everybody has met the present key.
    while (
      !clients.every(({ facts }) => facts.some((fact) => fact.type === "peer.established" && fact.peer === peer))
    ) {
      assert.ok(performance.now() < end, `nobody met ${peer}: ${seen}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  over = true;
  await Promise.all(load);
  clock.stop();
  if (changes >= 100) console.log(JSON.stringify(counts));
  assert.equal(lost, []);
  assert.is(peers.size, changes);
  assert.ok(counts.exchanges > changes && counts.slowestMs < promiseMs);
  // What was the former key's is gone: the transports, and who said that they still work.
  await gateway.said("previous_identity.gone");
  for (const { event, level } of gateway.lines) assert.not(level === "error", event);
  await Promise.all(clients.map((each) => each.stop()));
  await network.stop();
});

test("the former PeerID is peer-id-mismatch, at the address it leads to the present one; peers are told", async () => {
  const network = await makeNodeNetwork();
  const gateway = await network.start("gateway", "gateway", { externalAddresses: ["/ip4/127.0.0.1/tcp/1"] });
  await gateway.said("node.ready");
  const before = await addressOf(gateway);
  // One that can be dialled: it hears of the change without asking.
  const node = await network.pki.node("listener", { role: "worker" });
  const listener = await startTransport({ pki: network.pki, name: "listener", node, handshakeTimeoutMs: 5_000 });
  assert.is(outcome(await listener.ask({ type: "dial", id: "d", target: { address: before } })), "dial.done");
  const pair = await network.pki.node("gateway", { role: "gateway" });
  const { peer } = identityOf(pair);
  rotate(gateway, pair);
  await gateway.said("node.ready", (fields) => fields["peer"] === peer);
  const heard = await listener.fact(of("peer.established", (fact) => fact.peer === peer), 10_000);
  assert.is(heard.identity.name, "gateway");
  const caller = await client(network, "caller");
  assert.is(outcome(await caller.ask({ type: "dial", id: "1", target: { address: before } })), "peer-id-mismatch");
  const again = await caller.ask({ type: "dial", id: "2", target: { address: withoutPeer(before) } });
  assert.equal(again, { type: "dial.done", id: "2", peer });
  await Promise.all([listener.stop(), caller.stop()]);
  await network.stop();
});

test("a data node under another key announces its data set anew, and the record is its own; another's is not taken", async () => {
  const network = await makeNodeNetwork();
  const gateway = await network.start("gateway", "gateway", { externalAddresses: ["/ip4/127.0.0.1/tcp/1"] });
  const address = await addressOf(gateway);
  const data = await network.start("data", "data", {
    gatewayAddresses: [address],
    datasetPath: network.slices,
    rotation: { drain: "expiry", drainMs: 1_000 },
  } as object);
  await data.said("dataset.announced");
  const announced = () => data.lines.filter(({ event }) => event === "dataset.announced").length;
  const pair = await network.pki.node("data", { role: "data" });
  const { peer } = identityOf(pair);
  rotate(data, pair);
  await data.said("node.ready", (fields) => fields["peer"] === peer);
  const end = performance.now() + 20_000;
  while (announced() < 2) {
    assert.ok(performance.now() < end, "the data set was not announced again");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const caller = await client(network, "caller");
  assert.is(outcome(await caller.ask({ type: "dial", id: "1", target: { address } })), "dial.done");
  const get = () => caller.ask({ type: "record.get", id: `g${performance.now()}`, key: "digits", timeoutMs: 5_000 });
  const found = await get();
  assert.is(found.type === "record" && found.publisher, peer, JSON.stringify(found));
  const value = new TextEncoder().encode('{"num_slices":1}');
  const put = await caller.ask({ type: "record.put", id: "p", key: "digits", value, timeoutMs: 5_000 });
  assert.is(put.type, "record.failed");
  // The former key is gone when its time is over.
  await data.said("previous_identity.gone");
  const children = Object.keys(data.actor.getSnapshot().children).filter((id) => /^(role|previous|x:)/.test(id));
  assert.equal(children.map((id) => id.replace(/^x:.*/, "transport")).toSorted(), ["role/2", "transport"]);
  await caller.stop();
  await network.stop();
});

test.run();
