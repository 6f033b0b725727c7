/** A small network: a gateway, and nodes that know nobody but the gateway. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:net";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { makeTestPki } from "../support/pki.ts";
import { of, readAll, snapshotOf, startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("transportLogic in a network");
const pki = await makeTestPki();

const request = {
  spec: { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [{ class: "train", name: "x" }] },
  timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
  bid: 1.5,
} as const;

async function gateway(): Promise<TestTransport> {
  const node = await startTransport({ pki, name: "gateway", role: "gateway", relay: "server" });
  node.send({ type: "subscribe", topic: workerTopic });
  return node;
}

async function member(of: TestTransport, name: string, options: object = {}): Promise<TestTransport> {
  const gatewayAddresses = [of.addresses[0] as string];
  const node = await startTransport({ pki, name, gatewayAddresses, ...options });
  const dialled = await node.ask({ type: "dial", id: "gateway", target: { address: gatewayAddresses[0] as string } });
  assert.is(dialled.type, "dial.done");
  return node;
}

/** Publishes again and again until the condition holds: a mesh takes a moment to form. */
async function publishUntil(by: TestTransport, done: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  for (let id = 0; !done(); id++) {
    if (performance.now() > end) throw new Error(`Cannot hear what ${by.name} publishes`);
    await by.ask({ type: "publish", id: `${id}`, topic: workerTopic, message: { ...request, id: randomUUID() } });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("gossip reaches a member from verified authors only, also through an honest peer", async () => {
  const g = await gateway();
  const [s, revoked] = [await member(g, "scheduler"), await member(g, "revoked")];
  // The gateway has not heard of the revocation, the worker has.
  const snapshot = snapshotOf(pki, { crlsPem: await pki.crls({ revoked: [revoked.node] }) });
  const w = await member(g, "worker", { snapshot });
  w.send({ type: "subscribe", topic: workerTopic });
  await publishUntil(revoked, () => g.facts.some(of("published", ({ from }) => from === revoked.peer)));
  await publishUntil(s, () => w.facts.some(of("published", ({ from }) => from === s.peer)));
  await publishUntil(revoked, () => g.facts.filter(of("published", ({ from }) => from === revoked.peer)).length >= 3);
  await publishUntil(s, () => w.facts.filter(of("published", ({ from }) => from === s.peer)).length >= 3);
  const heard = w.facts.filter((fact) => fact.type === "published");
  assert.ok(heard.every(({ from }) => from === s.peer));
  assert.equal(heard[0]?.message, { ...request, id: heard[0]?.message.id });
  assert.ok([g.peer, s.peer].includes(heard[0]?.via ?? ""));
  // The author that was not known was dialled, or dialled itself, and met the gate.
  await w.fact(of("peer.refused", ({ refusal }) => refusal.code === "certificate-revoked"));
  await Promise.all([g, s, revoked, w].map((node) => node.stop()));
});

test("a record put by one member is found by another, with its publisher", async () => {
  const g = await gateway();
  const [d, s] = [await member(g, "data"), await member(g, "scheduler")];
  await Promise.all([d, s].map((node) => node.fact(of("dht.ready"))));
  const value = new TextEncoder().encode('{"num_slices":3}');
  const put = await d.ask({ type: "record.put", id: "p", key: "digits", value, timeoutMs: 30_000 });
  assert.equal(put, { type: "record.stored", id: "p" });
  const got = await s.ask({ type: "record.get", id: "g", key: "digits", timeoutMs: 30_000 });
  const { identity, ...rest } = got.type === "record" ? got : { identity: undefined };
  assert.equal(rest, { type: "record", id: "g", key: "digits", value, publisher: d.peer });
  assert.is(identity?.name, "data");
  const missing = await s.ask({ type: "record.get", id: "m", key: "letters", timeoutMs: 30_000 });
  assert.equal(missing, { type: "record.missing", id: "m" });
  await Promise.all([g, d, s].map((node) => node.stop()));
});

test("a member without an address of its own takes part through the gateway's relay, TLS end to end", async () => {
  const g = await gateway();
  const hidden = await member(g, "hidden", { listenAddresses: [], relay: "client" });
  const reachable = await hidden.fact(of("reachable"), 20_000);
  assert.ok(reachable.addresses.every((address) => address.includes("/p2p-circuit/")));
  const s = await member(g, "scheduler", { relay: "client" });
  const dialled = await s.ask({ type: "dial", id: "1", target: { address: reachable.addresses[0] as string } });
  assert.equal(dialled, { type: "dial.done", id: "1", peer: hidden.peer });
  // Not the relay's certificate, but the member's own.
  assert.is((await s.fact(of("peer.established", ({ peer }) => peer === hidden.peer))).identity.name, "hidden");
  hidden.send({ type: "serve", protocol: "/hypha-health/0.0.1" });
  const question = {
    type: "request",
    id: "r",
    peer: hidden.peer,
    protocol: "/hypha-health/0.0.1",
    message: {},
  } as const;
  const answer = s.ask({ ...question, timeoutMs: 30_000 });
  const { exchange } = await hidden.fact(of("request.received"));
  hidden.send({ type: "respond", exchange, message: { healthy: true } });
  assert.equal(await answer, { type: "response", id: "r", message: { healthy: true } });
  // More than the 128 KiB that relays allow strangers.
  hidden.send({ type: "serve", protocol: "/hypha-tensor-stream/push" });
  const opened = await s.ask({
    type: "stream.open",
    id: "s",
    peer: hidden.peer,
    protocol: "/hypha-tensor-stream/push",
    timeoutMs: 30_000,
  });
  assert.is(opened.type, "stream.opened");
  if (opened.type !== "stream.opened") return;
  const offered = await hidden.fact(of("stream.received"));
  const taken = await hidden.ask({ type: "stream.accept", exchange: offered.exchange });
  if (taken.type !== "stream.opened") throw new Error("not taken");
  const reading = readAll(taken.stream, Effect.runPromise);
  for (let i = 0; i < 64; i++) await Effect.runPromise(opened.stream.write(new Uint8Array(65_536).fill(i)));
  await Effect.runPromise(opened.stream.end);
  const { bytes, outcome } = await reading;
  assert.is(bytes, 64 * 65_536);
  assert.is(outcome, "whole");
  await Promise.all([hidden, s].map((node) => node.stop()));
  await g.stop();
});

test("revocation reaches through a relay: closed, and the redial refused, end to end", async () => {
  const g = await gateway();
  const hidden = await member(g, "hidden", { listenAddresses: [], relay: "client" });
  const { addresses } = await hidden.fact(of("reachable"), 20_000);
  const s = await member(g, "revoked", { listenAddresses: [], relay: "client" });
  const dial = () => s.ask({ type: "dial", id: "1", target: { address: addresses[0] as string } });
  assert.is((await dial()).type, "dial.done");
  await hidden.fact(of("peer.established", ({ peer }) => peer === s.peer));
  // The gateway does not know of it: the relay goes on relaying, the member refuses by itself.
  const crlsPem = await pki.crls({ revoked: [s.node] });
  hidden.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
  const closed = await hidden.fact(of("peer.closed", ({ peer }) => peer === s.peer), 1_000);
  assert.is(closed.reason.type, "trust.changed");
  await s.fact(of("peer.closed", ({ peer }) => peer === hidden.peer), 1_000);
  const again = await dial();
  assert.is(again.type === "dial.failed" && again.refusal.code, "hung-up");
  const refused = await hidden.fact(of("peer.refused", ({ direction }) => direction === "inbound"));
  assert.is(refused.refusal.code, "certificate-revoked");
  assert.match(refused.address, /p2p-circuit/);
  await Promise.all([g, s, hidden].map((node) => node.stop()));
});

test("a member that moved is found where it is now", async () => {
  const g = await gateway();
  const s = await member(g, "scheduler");
  const node = await pki.node("moving");
  const before = await member(g, "moving", { node });
  await s.ask({ type: "dial", id: "1", target: { peer: before.peer } });
  await s.fact(of("peer.established", ({ peer }) => peer === before.peer));
  await before.stop();
  await s.fact(of("peer.closed", ({ peer }) => peer === before.peer));
  // The kernel may give the same port again, and then nobody has moved; whoever has it by now keeps it as well.
  const squatter = createServer();
  const port = Number(/\/tcp\/(\d+)/.exec(before.addresses[0] ?? "")?.[1]);
  await new Promise((resolve) => squatter.once("error", resolve).listen(port, "127.0.0.1", () => resolve(undefined)));
  const after = await member(g, "moving", { node });
  squatter.close();
  assert.not.equal(after.addresses, before.addresses);
  const found = await s.ask({ type: "dial", id: "2", target: { peer: after.peer } });
  assert.is(found.type, "dial.done", JSON.stringify(found));
  await Promise.all([g, s, after].map((node) => node.stop()));
});

test("a gateway that has only just joined is told of a record", async () => {
  const value = new TextEncoder().encode('{"num_slices": 1}');
  for (let round = 0; round < 6; round++) {
    const first = await gateway();
    const second = await gateway();
    const gatewayAddresses = [first, second].map(({ addresses }) => addresses[0] as string);
    const data = await member(first, "data", { gatewayAddresses });
    await data.fact(of("dht.ready"));
    const dialled = await data.ask({ type: "dial", id: "d", target: { address: second.addresses[0] as string } });
    assert.is(dialled.type, "dial.done");
    const put = await data.ask({ type: "record.put", id: "1", key: "digits", value, timeoutMs: 30_000 });
    assert.is(put.type, "record.stored");
    await first.stop();
    const s = await member(second, "scheduler");
    await s.fact(of("dht.ready"));
    const found = await s.ask({ type: "record.get", id: "2", key: "digits", timeoutMs: 30_000 });
    assert.is(found.type, "record", `round ${round}`);
    await Promise.all([second, data, s].map((node) => node.stop()));
  }
});

test("a reservation is lost with its gateway and made again when the gateway is back", async () => {
  const node = await pki.node("gateway");
  const options = { pki, name: "gateway", node, role: "gateway", relay: "server" } as const;
  const first = await startTransport(options);
  const hidden = await member(first, "hidden", { listenAddresses: [], relay: "client" });
  await hidden.fact(of("reachable"), 20_000);
  await first.stop();
  await hidden.fact(of("reservation.lost"));
  const [listen] = first.addresses;
  const again = await startTransport({ ...options, listenAddresses: [(listen as string).replace(/\/p2p\/.*/, "")] });
  hidden.facts.length = 0;
  await hidden.ask({ type: "dial", id: "again", target: { address: listen as string } });
  const { addresses } = await hidden.fact(of("reachable"), 20_000);
  assert.is(addresses.length, 1);
  await Promise.all([hidden, again].map((node) => node.stop()));
});

test.run();
