/**
 * One suite for both wires: what `transport/port.ts` promises holds over libp2p and over the virtual network.
 *
 * @module
 */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type StreamHandle, type StreamProtocol, streamProtocols, type TransportFact } from "../../transport/port.ts";
import { realMeeting, simulatedMeeting } from "../support/conformance.ts";
import {
  ask,
  closed,
  codeOf,
  connected,
  dial,
  established,
  health,
  left,
  push,
  startAsking,
} from "../support/conformance_acts.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";
import { identityOf, snapshotOf } from "../support/transports.ts";

/** Reads a stream to its end. */
const allOf = ({ read }: StreamHandle) =>
  Effect.gen(function* () {
    for (let size = 0;;) {
      const chunk = yield* read;
      if (chunk.type === "end") return { size, outcome: chunk.outcome };
      size += chunk.bytes.byteLength;
    }
  });

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`port over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });

  test("dial: done with the peer, established at both ends, done at once when connected", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    const { identity } = await a.fact(established(b.peer));
    assert.is(identity.name, "b");
    assert.equal(await dial(a, b), { type: "dial.done", id: "dial", peer: b.peer });
    const peers = await a.ask({ type: "peers" });
    assert.equal(peers.type === "peers" && peers.list.map(({ peer }) => peer), [b.peer]);
    assert.is(a.facts.filter(established(b.peer)).length, 1);
    await left(a, b);
  });

  test("dial: nobody there is unreachable", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = [await meeting.join("a"), await meeting.join("b")];
    await b.stop();
    assert.is(codeOf(await dial(a, b)), "unreachable");
    await left(a);
  });

  test("a stranger's certificate: refused with the reason where it is judged, hung up where it is shown", async () => {
    const meeting = meetingOf(pki);
    const other = await makeTestPki({ organization: "Other" });
    const [a, b] = [await meeting.join("a"), await meeting.join("b", { node: await other.node("b") })];
    assert.is(codeOf(await dial(a, b)), "unknown-issuer");
    const refused = await a.fact((fact) => fact.type === "peer.refused" && fact);
    assert.is(refused.refusal.code, "unknown-issuer");
    assert.is(refused.direction, "outbound");
    assert.is(refused.peer?.name, "b");
    // The stranger trusts our root: it sees its own verdict pass, and then the end.
    assert.is(codeOf(await dial(b, a)), "hung-up");
    await left(a, b);
  });

  test("the certificate of an identity in hardware is refused in both directions", async () => {
    const meeting = meetingOf(pki);
    const node = await pki.node("b", { san: ["URI:spiffe://test.hypha/identity/b"] });
    const [a, b] = [await meeting.join("a"), await meeting.join("b", { node })];
    assert.is(codeOf(await dial(a, b)), "role-not-allowed");
    assert.is(codeOf(await dial(b, a)), "hung-up");
    await left(a, b);
  });

  test("request: answered, declined, not served, not answered, given up, asked twice", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    assert.is(codeOf(await ask(a, b, "unserved")), "unsupported");
    b.send({ type: "serve", protocol: health });
    await meeting.pass(50);
    const received = (nth: number) =>
      b.fact(() => b.facts.filter(({ type }) => type === "request.received")[nth] as never) as Promise<
        Extract<TransportFact, { type: "request.received" }>
      >;
    const asking = startAsking(a, b, "one");
    const first = await received(0);
    assert.is(first.peer, a.peer);
    assert.is(first.identity.name, "a");
    b.send({ type: "respond", exchange: first.exchange, message: { healthy: true } });
    assert.equal(await asking.answer(meeting), { type: "response", id: "one", message: { healthy: true } });
    const declined = startAsking(a, b, "two");
    b.send({ type: "decline", exchange: (await received(1)).exchange });
    assert.is(codeOf(await declined.answer(meeting)), "no-answer");
    assert.is(codeOf(await ask(a, b, "three", 300)), "timed-out");
    const cancelled = startAsking(a, b, "four");
    await received(3);
    const twice = startAsking(a, b, "four");
    assert.is(codeOf(await twice.answer(meeting)), "failed");
    a.send({ type: "request.cancel", id: "four" });
    assert.is(codeOf(await cancelled.answer(meeting)), "cancelled");
    await left(a, b);
  });

  test("stream: bytes, then whole; rejected ends broken; nobody serves it is unsupported", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    const open = (id: string) => a.ask({ type: "stream.open", id, peer: b.peer, protocol: push, timeoutMs: 2_000 });
    assert.is(codeOf(await open("unserved")), "unsupported");
    b.send({ type: "serve", protocol: push });
    await meeting.pass(50);
    const opened = await open("one");
    if (opened.type !== "stream.opened") return assert.unreachable(codeOf(opened));
    await a.run(opened.stream.write(new Uint8Array([1, 2, 3])));
    await a.run(opened.stream.end);
    const offered = await b.fact((fact) => fact.type === "stream.received" && fact);
    assert.is(offered.peer, a.peer);
    const taken = await b.ask({ type: "stream.accept", exchange: offered.exchange });
    if (taken.type !== "stream.opened") return assert.unreachable(codeOf(taken));
    const chunk = await b.run(taken.stream.read);
    assert.equal(chunk.type === "bytes" && [...chunk.bytes], [1, 2, 3]);
    assert.equal(await b.run(taken.stream.read), { type: "end", outcome: "whole" });
    assert.equal(await b.run(taken.stream.read), { type: "end", outcome: "whole" });
    const second = await open("two");
    if (second.type !== "stream.opened") return assert.unreachable(codeOf(second));
    const next = await b.fact(() => b.facts.filter(({ type }) => type === "stream.received")[1] as never) as {
      exchange: string;
    };
    b.send({ type: "stream.reject", exchange: next.exchange });
    assert.equal(await a.run(second.stream.read), { type: "end", outcome: "broken" });
    const late = await b.ask({ type: "stream.accept", exchange: next.exchange });
    assert.is(codeOf(late), "timed-out");
    await left(a, b);
  });

  test("stream: the fallback is selected on the same stream if the peer does not support the protocol, and both handles report it", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    const protocols = { protocol: "/hypha-tensor-stream/push/2", fallback: push } as const;
    const open = (id: string) => a.ask({ type: "stream.open", id, peer: b.peer, ...protocols, timeoutMs: 2_000 });
    assert.is(codeOf(await open("none")), "unsupported");
    for (const [count, served] of [[1, push], [2, protocols.protocol]] as const) {
      b.send({ type: "serve", protocol: served });
      await meeting.pass(50);
      const opened = await open(served);
      if (opened.type !== "stream.opened") return assert.unreachable(codeOf(opened));
      assert.is(opened.stream.protocol, served);
      await a.run(opened.stream.write(new Uint8Array([count])));
      await a.run(opened.stream.end);
      const offers = () => b.facts.filter((fact) => fact.type === "stream.received");
      const offered = await b.fact(() => offers()[count - 1]);
      assert.is(offered.protocol, served);
      const taken = await b.ask({ type: "stream.accept", exchange: offered.exchange });
      if (taken.type !== "stream.opened") return assert.unreachable(codeOf(taken));
      assert.is(taken.stream.protocol, served);
      const chunk = await b.run(taken.stream.read);
      assert.equal(chunk.type === "bytes" && [...chunk.bytes], [count]);
      assert.is(offers().length, count, "one stream for both protocols");
    }
    await left(a, b);
  });

  test("stream: each protocol is served by itself, and its handles say which at both ends", async () => {
    const meeting = meetingOf(pki);
    const [a, worker] = await connected(meeting);
    const data = await meeting.join("data", { input: { role: "data" } });
    assert.is((await dial(a, data)).type, "dial.done");
    for (const protocol of streamProtocols) {
      const b = protocol.includes("pull") ? data : worker;
      const open = (other: StreamProtocol) =>
        a.ask({ type: "stream.open", id: `${protocol} ${other}`, peer: b.peer, protocol: other, timeoutMs: 2_000 });
      b.send({ type: "serve", protocol });
      await meeting.pass(50);
      const opened = await open(protocol);
      if (opened.type !== "stream.opened") return assert.unreachable(codeOf(opened));
      assert.is(opened.stream.protocol, protocol);
      const fact = await b.fact(() =>
        b.facts.find((each) => each.type === "stream.received" && each.protocol === protocol) as never
      ) as { readonly exchange: string };
      const taken = await b.ask({ type: "stream.accept", exchange: fact.exchange });
      if (taken.type !== "stream.opened") return assert.unreachable(codeOf(taken));
      assert.is(taken.stream.protocol, protocol);
      b.send({ type: "unserve", protocol });
      await meeting.pass(50);
      assert.is(codeOf(await open(protocol)), "unsupported", protocol);
    }
    await left(a, worker, data);
  });

  test("close: by us here, by them there, and asks that were under way fail", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    b.send({ type: "serve", protocol: health });
    await meeting.pass(50);
    const asking = startAsking(a, b, "one", 5_000);
    await b.fact((fact) => fact.type === "request.received" && fact);
    b.send({ type: "close", peer: a.peer, reason: "enough" });
    assert.equal((await b.fact(closed(a.peer))).reason, { type: "by-us", detail: "enough" });
    // A goodbye that takes longer than its grace ends in a reset, which looks like a loss from here.
    assert.ok(["by-them", "lost"].includes((await a.fact(closed(b.peer))).reason.type));
    assert.is((await asking.answer(meeting)).type, "request.failed");
    await left(a, b);
  });

  test("trust: a revoked peer is closed with its refusal, and refused when it comes again", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    const crlsPem = await pki.crls({ revoked: [b.node] });
    a.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
    const { reason } = await a.fact(closed(b.peer));
    assert.is(reason.type === "trust.changed" && reason.refusal.code, "certificate-revoked");
    await b.fact(closed(a.peer));
    assert.is(codeOf(await dial(a, b)), "certificate-revoked");
    assert.is(codeOf(await dial(b, a)), "hung-up");
    await left(a, b);
  });

  test("identity: another certificate of the same key is shown from now on; another key is not taken up", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = [await meeting.join("a"), await meeting.join("b")];
    const again = await pki.node("a again", { keyPem: a.node.keyPem });
    a.send({ type: "identity.changed", identity: { ...identityOf(again), generation: 2 } });
    assert.is((await dial(b, a)).type, "dial.done");
    assert.is((await b.fact(established(a.peer))).identity.name, "a again");
    a.send({ type: "identity.changed", identity: { ...identityOf(await pki.node("other")), generation: 3 } });
    const failed = await a.fact((fact) => fact.type === "transport.failed" && fact);
    assert.is(failed.error.code, "failed");
    await left(a, b);
  });

  test("retire: another key takes the address over, the former one answers whom it knows until it is drained", async () => {
    const meeting = meetingOf(pki);
    const [b, a] = [await meeting.join("b"), await meeting.join("a")];
    a.send({ type: "serve", protocol: health });
    assert.is((await dial(a, b)).type, "dial.done");
    await b.fact(established(a.peer));
    const heard: TransportFact[] = [];
    const before = a.facts.length;
    const retired = await a.ask({ type: "retire", factsTo: { send: (fact) => void heard.push(fact) } });
    if (retired.type !== "retired") return assert.unreachable(codeOf(retired));
    assert.equal(retired.peers, [{ peer: b.peer, addresses: [b.address] }]);
    const c = await meeting.join("c");
    assert.is(codeOf(await dial(c, a)), "unreachable");
    const successor = await meeting.join("a", { at: retired.listenAddresses[0] ?? a.address });
    assert.is(successor.address.split("/p2p/")[0], a.address.split("/p2p/")[0]);
    assert.is(codeOf(await dial(c, a)), "peer-id-mismatch");
    const [plain = ""] = a.address.split("/p2p/");
    const found = await c.ask({ type: "dial", id: "plain", target: { address: plain } });
    assert.equal(found, { type: "dial.done", id: "plain", peer: successor.peer });
    const told = await successor.ask({
      type: "dial",
      id: "told",
      target: { address: retired.peers[0]?.addresses[0] as string },
    });
    assert.is(told.type, "dial.done");
    await b.fact(established(successor.peer));
    // An exchange over the former key's connection: begun before the drain, answered within its grace.
    const asking = startAsking(b, a, "late", 8_000);
    const received = await a.fact(() => {
      const fact = heard.find(({ type }) => type === "request.received");
      return fact as Extract<TransportFact, { type: "request.received" }> | undefined;
    });
    let drained = false;
    a.send({ type: "drain", graceMs: 5_000, replyTo: { send: () => void (drained = true) } });
    await meeting.pass(300);
    assert.not(drained);
    assert.is(codeOf(await ask(a, b, "new")), "stopped");
    a.send({ type: "respond", exchange: received.exchange, message: { healthy: true } });
    assert.equal(await asking.answer(meeting), { type: "response", id: "late", message: { healthy: true } });
    await b.fact(closed(a.peer));
    for (let time = 0; !drained && time < 100; time++) await meeting.pass(50);
    assert.ok(drained && a.facts.length === before);
    await left(a, b, c, successor);
  });

  test("drain: one that nobody answers ends when the grace is over, or is cut short", async () => {
    const meeting = meetingOf(pki);
    for (const [graceMs, cut] of [[300, false], [60_000, true]] as const) {
      const [a, b] = await connected(meeting);
      b.send({ type: "serve", protocol: health });
      await meeting.pass(50);
      const asking = startAsking(a, b, "never", 20_000);
      await b.fact((fact) => fact.type === "request.received" && fact);
      let drained = 0;
      const replyTo = { send: () => void drained++ };
      b.send({ type: "drain", graceMs, replyTo });
      await meeting.pass(100);
      assert.is(drained, 0);
      if (cut) b.send({ type: "drain", graceMs: 0, replyTo });
      for (let time = 0; drained === 0 && time < 100; time++) await meeting.pass(50);
      assert.ok(drained > 0);
      assert.is((await asking.answer(meeting)).type, "request.failed");
      await left(a, b);
    }
  });

  test("bug: a drain with a grace kept connections of a previous certificate that ends by time", async () => {
    const meeting = meetingOf(pki);
    const rotation = { drain: "time", drainMs: 500 } as const;
    const [a, b] = [await meeting.join("a"), await meeting.join("b", { input: { rotation } })];
    assert.is((await dial(a, b)).type, "dial.done");
    b.send({ type: "serve", protocol: health });
    await meeting.pass(50);
    const asking = startAsking(a, b, "never", 20_000);
    await b.fact((fact) => fact.type === "request.received" && fact);
    const again = await pki.node("b again", { keyPem: b.node.keyPem });
    b.send({ type: "identity.changed", identity: { ...identityOf(again), generation: 2 } });
    let drained = false;
    b.send({ type: "drain", graceMs: 60_000, replyTo: { send: () => void (drained = true) } });
    await meeting.pass(200);
    assert.is(b.facts.some(closed(a.peer)), false, "its time is not over");
    await meeting.pass(500);
    assert.ok(b.facts.some(closed(a.peer)), "its time is over");
    assert.is((await asking.answer(meeting)).type, "request.failed");
    for (let time = 0; !drained && time < 100; time++) await meeting.pass(50);
    assert.ok(drained);
    await left(a, b);
  });

  test("drain: what was sent before a connection's end arrives, also where the other side still talks", async () => {
    const meeting = meetingOf(pki);
    const piece = new Uint8Array(65_536).fill(7);
    const send = async (pieces: number) => {
      const [a, b] = await connected(meeting);
      a.send({ type: "serve", protocol: health });
      b.send({ type: "serve", protocol: push });
      await meeting.pass(50);
      const opened = await a.ask({ type: "stream.open", id: "one", peer: b.peer, protocol: push, timeoutMs: 2_000 });
      if (opened.type !== "stream.opened") return assert.unreachable(codeOf(opened));
      const offered = await b.fact((fact) => fact.type === "stream.received" && fact);
      const taken = await b.ask({ type: "stream.accept", exchange: offered.exchange });
      if (taken.type !== "stream.opened") return assert.unreachable(codeOf(taken));
      await b.run(taken.stream.end);
      const said = Array.from({ length: 20 }, (_, at) => startAsking(b, a, `${at}`));
      for (let at = 0; at < pieces; at++) await a.run(opened.stream.write(piece));
      await a.run(opened.stream.end);
      let drained = false;
      a.send({ type: "drain", graceMs: 10_000, replyTo: { send: () => void (drained = true) } });
      const read = await b.run(allOf(taken.stream));
      assert.equal(read, { size: pieces * piece.byteLength, outcome: "whole" });
      for (let time = 0; !drained && time < 200; time++) await meeting.pass(50);
      assert.ok(drained);
      for (const asking of said) await asking.answer(meeting);
      await left(b);
    };
    // Beside each other where time is real: a drain takes its seconds.
    if (meetingOf === realMeeting) await Promise.all([0, 1, 3].map(send));
    else for (const pieces of [0, 1, 3]) await send(pieces);
  });

  test("bug: a gentle close ended the streams whose writing side its user had not ended: a part of a file was taken for the whole", async () => {
    const meeting = meetingOf(pki);
    const b = await meeting.join("b");
    b.send({ type: "serve", protocol: push });
    const a = await meeting.intrude("a");
    a.dial(b.address);
    await b.fact(established(a.identity.peer));
    await meeting.pass(200);
    const [connection] = a.connections;
    if (connection === undefined) return assert.unreachable("no connection");
    const sent = [1_000, 1_048_576].map((size) => {
      const stream = a.open(connection, push);
      stream.send(new Uint8Array(size));
      return stream;
    });
    const offered = () => b.facts.filter((fact) => fact.type === "stream.received");
    await b.fact(() => offered().length === sent.length);
    const taken = await Promise.all(offered().map(({ exchange }) => b.ask({ type: "stream.accept", exchange })));
    connection.close("gently", "done");
    for (const answer of taken) {
      if (answer.type !== "stream.opened") return assert.unreachable(codeOf(answer));
      const { outcome } = await b.run(allOf(answer.stream));
      assert.is(outcome, "broken");
    }
    a.wire.stop(() => {});
    await left(b);
  });

  test("publish: nobody to hear it fails; heard with author and who handed it on", async () => {
    const meeting = meetingOf(pki);
    const a = await meeting.join("a");
    const message = {
      id: "00000000-0000-4000-8000-000000000001",
      spec: { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [] },
      timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
      bid: 1,
    };
    const publish = (id: string) => a.ask({ type: "publish", id, topic: "hypha/worker", message });
    assert.is(codeOf(await publish("alone")), "not-connected");
    const b = await meeting.join("b");
    b.send({ type: "subscribe", topic: "hypha/worker" });
    await dial(a, b);
    await b.fact(established(a.peer));
    let done = "";
    for (let time = 0; time < 20 && done !== "publish.done"; time++) {
      await meeting.pass(200);
      done = (await publish(`time ${time}`)).type;
    }
    assert.is(done, "publish.done");
    const heard = await b.fact((fact) => fact.type === "published" && fact);
    assert.equal([heard.from, heard.via, heard.message.id], [a.peer, a.peer, message.id]);
    await left(a, b);
  });

  test("record: nobody to keep it fails; kept, found with its publisher; another is missing", async () => {
    const meeting = meetingOf(pki);
    const a = await meeting.join("a");
    const value = new TextEncoder().encode('{"num_slices":3}');
    const put = (id: string, timeoutMs = 3_000) => a.ask({ type: "record.put", id, key: "digits", value, timeoutMs });
    assert.is((await put("alone", 500)).type, "record.failed");
    const b = await meeting.join("b", { gateway: true });
    await dial(a, b);
    await b.fact(established(a.peer));
    let stored = "";
    for (let time = 0; time < 20 && stored !== "record.stored"; time++) {
      await meeting.pass(200);
      stored = (await put(`time ${time}`)).type;
    }
    assert.is(stored, "record.stored");
    const found = await b.ask({ type: "record.get", id: "get", key: "digits", timeoutMs: 3_000 });
    assert.is(found.type, "record");
    assert.is(found.type === "record" && found.publisher, a.peer);
    assert.is((await b.ask({ type: "record.get", id: "none", key: "none", timeoutMs: 3_000 })).type, "record.missing");
    await left(a, b);
  });

  test("drain: drained, and everything asked after it is answered with stopped", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    assert.equal(await a.ask({ type: "drain" }), { type: "drained" });
    await b.fact(closed(a.peer));
    assert.is(codeOf(await ask(a, b, "late")), "stopped");
    assert.is((await dial(a, b)).type, "dial.failed");
    assert.equal(await a.ask({ type: "peers" }), { type: "peers", list: [] });
    assert.equal(await a.ask({ type: "drain" }), { type: "drained" });
    await left(b);
  });

  test.run();
}
