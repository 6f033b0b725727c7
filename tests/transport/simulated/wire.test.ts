/** The wire of virtual time by itself, with listeners that accept everything. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { closeGraceMs, kadProtocol, type WireConnection } from "../../../transport/core/wire.ts";
import { closestOf } from "../../../transport/simulated/directory.ts";
import { dialSilenceMs } from "../../../transport/simulated/network.ts";
import { windowBytes } from "../../../transport/simulated/streams.ts";
import { makeTestPki } from "../../support/pki.ts";
import { NotedStream, type NotingPeer, virtualWires } from "../../support/virtual_wires.ts";

const test = suite("SimulatedWire");
const pki = await makeTestPki();
const protocol = "/test/1";
const topic = "test";

async function pair() {
  const wires = virtualWires(pki);
  const [a, b] = [await wires.join("a"), await wires.join("b")];
  b.wire.serve(protocol);
  const connection = wires.dial(a, b);
  return { ...wires, a, b, connection };
}

const failure = (dialler: NotingPeer, address: string, pass: (ms: number) => void): string => {
  let code = "nothing";
  dialler.dial(address, (outcome) => code = Result.isFailure(outcome) ? outcome.failure.code : "connected");
  pass(dialSilenceMs + 1_000);
  return code;
};

test("a stream: opened, data, ended, closed, at both ends, and its bytes are copied", async () => {
  const { b, connection, pass } = await pair();
  const near = new NotedStream();
  const stream = connection.openStream(protocol, near);
  const bytes = Uint8Array.of(1, 2, 3);
  let arrived: readonly number[] = [];
  b.onStream = (noted) => {
    const data = noted.data.bind(noted);
    noted.data = (some) => {
      arrived = [...some];
      data(some);
    };
  };
  stream.send(bytes);
  bytes.fill(9);
  stream.end();
  pass(100);
  const [far] = b.received;
  assert.equal(arrived, [1, 2, 3]);
  assert.equal(far?.notes, ["data", "ended"]);
  far?.stream?.end(Uint8Array.of(4));
  pass(100);
  assert.equal(near.notes, ["opened", "data", "ended", "closed"]);
  assert.equal([near.how, far?.how], ["done", "done"]);
});

test("a stream of a protocol that is not served, or on a connection that is over, is closed with the reason, later", async () => {
  const { b, connection, pass } = await pair();
  const unserved = new NotedStream();
  connection.openStream("/other/1", unserved).send(Uint8Array.of(1));
  pass(100);
  assert.equal([unserved.notes, unserved.how, b.received.length], [["closed"], "unsupported", 0]);
  connection.close("now", "enough");
  const late = new NotedStream();
  connection.openStream(protocol, late);
  assert.equal(late.notes, []);
  pass(100);
  assert.is(late.how, "connection");
});

test("a window: a sender waits for its reader, and what arrives stays in order", async () => {
  const { b, connection, pass } = await pair();
  b.onStream = ({ stream }) => stream?.pause();
  const near = new NotedStream();
  const stream = connection.openStream(protocol, near);
  const piece = new Uint8Array(100_000);
  assert.equal([stream.send(piece), stream.send(piece), stream.send(piece)], [true, true, false]);
  pass(1_000);
  const [far] = b.received as [NotedStream];
  assert.equal([far.size, near.notes], [0, ["opened"]]);
  far.stream?.resume();
  assert.is(far.size, 0, "not inside the call");
  pass(1_000);
  assert.is(far.size, 3 * piece.length);
  assert.equal(near.notes, ["opened", "drained"]);
});

test("a reset reaches the other side, drops what waits, and each side hears closed once", async () => {
  const { b, connection, pass } = await pair();
  b.onStream = ({ stream }) => stream?.pause();
  const near = new NotedStream();
  const stream = connection.openStream(protocol, near);
  stream.send(new Uint8Array(10));
  pass(100);
  stream.abort("enough");
  assert.not(near.notes.includes("closed"), "not inside the call");
  pass(100);
  const [far] = b.received as [NotedStream];
  far.stream?.resume();
  stream.abort("again");
  pass(100);
  assert.equal([near.how, far.how, far.size, far.notes], ["reset", "reset", 0, ["closed"]]);
});

test("a connection's end: what arrived is handed over first, streams close before the connection has ended", async () => {
  const { b, connection, pass } = await pair();
  b.onStream = ({ stream }) => stream?.pause();
  const near = new NotedStream();
  const stream = connection.openStream(protocol, near);
  stream.end(new Uint8Array(10));
  connection.close("gently", "enough");
  pass(1_000);
  assert.equal(b.order, ["data", "ended", "closed", "connection ended"]);
  assert.equal([b.received[0]?.size, near.how], [10, "connection"]);
  assert.equal(b.ends, [{ by: "them", detail: "the peer ended the connection" }]);
  stream.send(Uint8Array.of(1));
  pass(100);
  assert.is(b.order.length, 4, "nothing follows");
});

test("closed gently: what waits for a window still leaves within the grace, and no longer", async () => {
  for (const reads of [true, false]) {
    const { b, connection, pass } = await pair();
    b.onStream = ({ stream }) => stream?.pause();
    const stream = connection.openStream(protocol, new NotedStream());
    stream.end(new Uint8Array(2 * windowBytes));
    pass(100);
    connection.close("gently", "enough");
    assert.not(connection.isOpen);
    const [far] = b.received as [NotedStream];
    if (reads) far.stream?.resume();
    pass(closeGraceMs - 100);
    assert.is(b.ends.length, reads ? 1 : 0);
    pass(200);
    assert.is(b.ends.length, 1);
    assert.is(far.size, reads ? 2 * windowBytes : windowBytes);
  }
});

test("more bytes than a window, a stream's number of the other side, and bytes after the end break the connection", async () => {
  const frame = { type: "stream.data", protocol, opens: "no", ends: false, isReply: false };
  const breaks: readonly (readonly [string, object])[] = [
    ["more bytes than a stream's window", { ...frame, stream: 1, bytes: new Uint8Array(windowBytes + 1) }],
    ["a stream's number that is not the peer's to choose", { ...frame, stream: 2, opens: "quietly", bytes: [] }],
    ["a stream's number that is not the peer's to choose", { ...frame, stream: 1, opens: "quietly", bytes: [] }],
    ["a window that was not used", { type: "stream.taken", stream: 1, count: 1 }],
  ];
  for (const [why, bad] of breaks) {
    const { network, b, connection, pass } = await pair();
    const stream = connection.openStream(protocol, new NotedStream());
    stream.send(Uint8Array.of(1));
    pass(100);
    network.tamper("a", () => [{ frame: { type: "", ...bad }, laterMs: 0 }]);
    stream.send(Uint8Array.of(2));
    pass(100);
    assert.equal(b.brokenBy, [why]);
    assert.is(b.connections.size, 0);
  }
});

test("dials: unknown, silent, forbidden, given up, and while it stops", async () => {
  const { a, b, network, pass, join } = await pair();
  const c = await join("c");
  assert.is(failure(a, "/ip4/10.9.9.9/tcp/1", pass), "unreachable");
  network.cut("a", "c");
  assert.is(failure(a, c.address, pass), "unreachable");
  network.heal("a", "c");
  a.mayDialNow = false;
  assert.is(failure(a, c.address, pass), "unreachable");
  a.mayDialNow = true;
  let outcomes = 0;
  const giveUp = a.wire.dial({ address: c.address }, () => outcomes++);
  pass(4);
  giveUp();
  pass(1_000);
  assert.equal([outcomes, c.connections.size], [0, 0]);
  let code = "";
  a.wire.dial({ peer: c.peer }, (outcome) => code = Result.isFailure(outcome) ? outcome.failure.code : "connected");
  a.wire.stop(() => {});
  pass(1_000);
  assert.equal([code, a.connections.size, b.connections.size], ["hung-up", 0, 0]);
});

test("dials: by peer at what it announced, and an open connection is given back", async () => {
  const { a, b, connection, pass } = await pair();
  const given: WireConnection[] = [];
  for (const target of [{ peer: b.peer }, { address: b.address }]) {
    a.wire.dial(target, (outcome) => given.push(Result.getOrThrow(outcome)));
  }
  assert.equal(given, []);
  pass(100);
  assert.ok(given.length === 2 && given.every((one) => one === connection));
});

test("gossip: to subscribers, on from each that accepts it, once, and never without a signature", async () => {
  const { a, b, network, join, dial, pass } = await pair();
  const [c, d] = [await join("c"), await join("d")];
  dial(b, c);
  dial(c, d);
  dial(d, b);
  const publish = () => {
    let said = "";
    a.wire.publish(topic, Uint8Array.of(7), (outcome) => {
      said = Result.isSuccess(outcome) ? "done" : outcome.failure.code;
    });
    pass(100);
    return said;
  };
  const counts = () => [b, c, d].map(({ messages }) => messages.length);
  assert.is(publish(), "not-connected");
  for (const peer of [b, c, d]) peer.wire.subscribe(topic);
  pass(100);
  assert.is(publish(), "done");
  assert.equal(counts(), [1, 1, 1]);
  assert.equal([c.messages[0]?.author, c.messages[0]?.via], [a.peer, b.peer]);
  b.verdict = "ignore";
  publish();
  assert.equal(counts(), [2, 1, 1]);
  network.tamper("a", (frame) => [{ frame: { ...frame, signed: false } as never, laterMs: 0 }]);
  publish();
  network.tamper("a", undefined);
  assert.equal(counts(), [2, 1, 1]);
  b.wire.unsubscribe(topic);
  pass(100);
  assert.is(publish(), "not-connected");
});

/** Production's does: it was hidden that a member could send old messages again. */
test("gossip forgets a message after two minutes: one that is sent again is reported again", async () => {
  const { a, b, network, pass } = await pair();
  b.wire.subscribe(topic);
  pass(100);
  network.tamper("a", (frame) => [0, 60_000, 130_000].map((laterMs) => ({ frame, laterMs })));
  a.wire.publish(topic, Uint8Array.of(7), () => {});
  pass(100);
  assert.is(b.messages.length, 1);
  pass(100_000);
  assert.is(b.messages.length, 1);
  pass(60_000);
  assert.is(b.messages.length, 2);
});

test("the DHT: servers that are connected or a step further, the closest first; ready after the first connection", async () => {
  const { a, b, join, dial, pass } = await pair();
  const others = [await join("c"), await join("d"), await join("e")];
  for (const other of others) dial(other, b);
  dial(await join("far"), others[0] as NotingPeer);
  for (const peer of [a, b, others[0], others[1]]) peer?.wire.serveDht(true);
  const key = new TextEncoder().encode("key");
  const search = (from: NotingPeer) => {
    let found: readonly string[] = [];
    from.wire.closestPeers(key, (peers) => found = peers);
    assert.equal(found, []);
    pass(100);
    return found;
  };
  const servers = [b, others[0] as NotingPeer, others[1] as NotingPeer].map(({ peer }) => peer);
  assert.equal(search(a), closestOf(servers, key));
  assert.equal([...search(a)].sort(), [...servers].sort());
  let given = 0;
  a.wire.closestPeers(key, () => given++)();
  pass(100);
  assert.is(given, 0);
  assert.ok(a.told.includes("dht ready"));
  assert.equal(search(await join("alone")), []);
});

test("Kademlia's streams are served with the DHT, and its other questions are answered without peers", async () => {
  const { b, connection, pass } = await pair();
  const before = new NotedStream();
  connection.openStream(kadProtocol, before);
  pass(100);
  assert.is(before.how, "unsupported");
  b.wire.serveDht(true);
  connection.openStream(kadProtocol, new NotedStream());
  pass(100);
  assert.is(b.received.length, 1);
  const key = Uint8Array.of(1);
  const answers: unknown[] = [];
  for (const type of ["FIND_NODE", "ADD_PROVIDER"] as const) {
    b.wire.kadAnswer(connection, { type, key, closer: [], providers: [] }, (answer) => answers.push(answer));
  }
  assert.equal(answers, []);
  pass(1);
  const found = { type: "FIND_NODE", key, closer: [], providers: [] };
  assert.equal(answers, [Result.succeed(found), Result.succeed(undefined)]);
});

test.run();
