/**
 * Members over both wires: two certificates of one key, many connections, asks before the start is over, records of others, and
 * authors whose trust changed.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { recordTtlMaxS } from "../../transport/core/record_store.ts";
import { expirySweepMs } from "../../transport/core/reverification.ts";
import type { TransportAnswer, TransportAsk, TransportFact } from "../../transport/port.ts";
import { type Meeting, type Party, realMeeting, simulatedMeeting } from "../support/conformance.ts";
import {
  ask,
  closed,
  codeOf,
  connected,
  dial,
  established,
  health,
  left,
  startAsking,
} from "../support/conformance_acts.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";
import { snapshotOf } from "../support/transports.ts";

const topic = "hypha/worker";
type Received = Extract<TransportFact, { type: "request.received" }>;
const requests = ({ facts }: Party) => facts.filter((fact): fact is Received => fact.type === "request.received");

/** Tries again while the network gets to know who is there. */
async function eventually(meeting: Meeting, what: string, act: () => Promise<boolean>): Promise<void> {
  for (let time = 0; time < 40; time++) {
    if (await act()) return;
    await meeting.pass(200);
  }
  throw new Error(`Cannot see ${what}`);
}

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`members over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });

  test("two certificates of one key: each request has its own connection's identity, revoking one leaves the other", async () => {
    const meeting = meetingOf(pki);
    const worker = await pki.node("worker", { role: "worker" });
    const scheduler = await pki.node("scheduler", { role: "scheduler", keyPem: worker.keyPem });
    const [one, two, b] = [
      await meeting.join("one", { node: worker }),
      await meeting.join("two", { node: scheduler }),
      await meeting.join("b"),
    ];
    assert.is(one.peer, two.peer);
    b.send({ type: "serve", protocol: health });
    await dial(one, b);
    await dial(two, b);
    await b.fact(() => b.facts.filter(established(one.peer)).length === 2);
    const asking = [startAsking(one, b, "one", 8_000), startAsking(two, b, "two", 8_000)] as const;
    await b.fact(() => requests(b).length === 2);
    assert.equal(requests(b).map(({ identity }) => identity.role).sort(), ["scheduler", "worker"]);
    const crlsPem = await pki.crls({ revoked: [scheduler] });
    b.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
    const { identity, reason } = await b.fact(closed(one.peer));
    assert.equal([identity.role, reason.type], ["scheduler", "trust.changed"]);
    await two.fact(closed(b.peer));
    for (const { exchange } of requests(b)) b.send({ type: "respond", exchange, message: { healthy: true } });
    assert.is((await asking[0].answer(meeting)).type, "response");
    assert.is((await asking[1].answer(meeting)).type, "request.failed");
    assert.not(one.facts.some((fact) => closed(b.peer)(fact)));
    const peers = await b.ask({ type: "peers" });
    assert.equal(peers.type === "peers" && peers.list.map(({ identity: { role } }) => role), ["worker"]);
    await left(one, two, b);
  });

  test("a renewal with the same key is the same member: established once, closed with its last connection", async () => {
    const meeting = meetingOf(pki);
    const first = await pki.node("scheduler", { role: "scheduler" });
    const second = await pki.node("scheduler", { role: "scheduler", keyPem: first.keyPem });
    const [one, two, b] = [
      await meeting.join("one", { node: first }),
      await meeting.join("two", { node: second }),
      await meeting.join("b"),
    ];
    b.send({ type: "serve", protocol: health });
    await dial(one, b);
    await dial(two, b);
    await two.fact(established(b.peer));
    const asking = [startAsking(one, b, "one", 8_000), startAsking(two, b, "two", 8_000)] as const;
    await b.fact(() => requests(b).length === 2);
    const serials = new Set(requests(b).map(({ identity: { serial } }) => serial));
    assert.is(serials.size, 2, "each request has its own certificate");
    const crlsPem = await pki.crls({ revoked: [first] });
    b.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
    await one.fact(closed(b.peer));
    for (const { exchange } of requests(b)) b.send({ type: "respond", exchange, message: { healthy: true } });
    assert.is((await asking[0].answer(meeting)).type, "request.failed");
    assert.is((await asking[1].answer(meeting)).type, "response");
    assert.is(b.facts.filter(established(one.peer)).length, 1);
    const again = b.facts.flatMap((fact) => fact.type === "peer.reconnected" ? [fact.identity.serial] : []);
    assert.equal(again, [second.serial], "another connection of it is told");
    assert.not(b.facts.some((fact) => closed(one.peer)(fact)), "the member is still there");
    const peers = await b.ask({ type: "peers" });
    assert.is(peers.type === "peers" && peers.list.length, 1);
    const both = await pki.crls({ revoked: [first, second], number: 2n });
    b.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem: both, generation: 3 }) });
    const { identity, reason } = await b.fact(closed(one.peer));
    assert.equal([identity.serial, reason.type], [second.serial, "trust.changed"]);
    assert.is(b.facts.filter((fact) => closed(one.peer)(fact)).length, 1);
    await left(one, two, b);
  });

  test("many connections: the newest is checked again too while the trust keeps changing, and closed alone", async () => {
    const meeting = meetingOf(pki);
    const count = meetingOf === realMeeting ? 20 : 40;
    const b = await meeting.join("b");
    const others: Party[] = [];
    for (let nth = 0; nth < count; nth++) {
      const other = await meeting.join(`other ${nth}`);
      others.push(other);
      assert.is((await dial(other, b)).type, "dial.done");
      await b.fact(established(other.peer));
    }
    const newest = others.at(-1) as Party;
    const crlsPem = await pki.crls({ revoked: [newest.node] });
    let generation = 1;
    const revoking = snapshotOf(pki, { crlsPem });
    // Over libp2p one change in each turn of the event loop, until the newest connection is closed.
    const flood = () => {
      if (generation >= 20_000) return;
      if (meetingOf === realMeeting) setImmediate(flood);
      b.send({ type: "trust.changed", snapshot: { ...revoking, generation: ++generation } });
    };
    flood();
    const { reason } = await b.fact(closed(newest.peer));
    generation = 20_000;
    assert.is(reason.type, "trust.changed");
    await meeting.pass(100);
    const peers = await b.ask({ type: "peers" });
    assert.is(peers.type === "peers" && peers.list.length, count - 1);
    await Promise.all([b, ...others].map((party) => party.stop()));
  });

  test("a clock that steps forward past notAfter closes the connection, and tells why", async () => {
    const meeting = meetingOf(pki);
    const node = await pki.node("short", { notAfter: new Date(Date.now() + 3_600_000) });
    const [a, b] = [await meeting.join("a", { node }), await meeting.join("b")];
    await dial(a, b);
    await b.fact(established(a.peer));
    meeting.jump(3_500_000);
    await meeting.pass(meetingOf === realMeeting ? 300 : expirySweepMs + 1);
    assert.not(b.facts.some((fact) => closed(a.peer)(fact)), "it is still valid");
    meeting.jump(200_000);
    if (meetingOf === simulatedMeeting) await meeting.pass(expirySweepMs + 1);
    const { reason } = await b.fact(closed(a.peer));
    assert.equal([reason.type, "refusal" in reason && reason.refusal.code], ["expired", "certificate-expired"]);
    await left(a, b);
  });

  test("early asks: what is asked while the start is under way is done once it is over", async () => {
    const meeting = meetingOf(pki);
    const b = await meeting.join("b");
    const answers: TransportAnswer[] = [];
    const replyTo = { send: (answer: TransportAnswer) => void answers.push(answer) };
    const early = (send: (ask: TransportAsk) => void) => {
      send({ type: "dial", id: "early", target: { address: b.address }, replyTo });
      send({ type: "serve", protocol: health });
      assert.equal(answers, []);
    };
    const a = await meeting.join("a", { early });
    await b.fact(established(a.peer));
    for (let time = 0; time < 40 && answers.length === 0; time++) await meeting.pass(25);
    assert.equal(answers, [{ type: "dial.done", id: "early", peer: b.peer }]);
    const asking = startAsking(b, a, "served");
    const { exchange } = await a.fact((fact) => fact.type === "request.received" && fact);
    a.send({ type: "respond", exchange, message: { healthy: true } });
    assert.is((await asking.answer(meeting)).type, "response");
    await left(a, b);
  });

  test("record: a key stays its first publisher's, and a record is gone after its life", async () => {
    const meeting = meetingOf(pki);
    const gateway = await meeting.join("gateway", { gateway: true });
    const [first, second] = [await meeting.join("first"), await meeting.join("second")];
    for (const party of [first, second]) {
      await dial(party, gateway);
      await gateway.fact(established(party.peer));
    }
    const put = async (from: Party, key: string) => {
      const value = new TextEncoder().encode(from.peer);
      return (await from.ask({ type: "record.put", id: "put", key, value, timeoutMs: 3_000 })).type;
    };
    const get = (from: Party, key: string) => from.ask({ type: "record.get", id: "get", key, timeoutMs: 3_000 });
    await eventually(meeting, "a stored record", async () => await put(first, "digits") === "record.stored");
    await eventually(meeting, "another", async () => await put(second, "letters") === "record.stored");
    assert.is(await put(second, "digits"), "record.failed");
    const found = await get(gateway, "digits");
    assert.is(found.type === "record" && found.publisher, first.peer);
    assert.is(await put(first, "digits"), "record.stored", "its own publisher may write it again");
    meeting.jump((recordTtlMaxS - 60) * 1_000);
    assert.is((await get(gateway, "digits")).type, "record");
    meeting.jump(120_000);
    const answers: string[] = [];
    // On a busy machine a look-up may end without an answer.
    await eventually(meeting, "an answer", async () => {
      answers.push((await get(gateway, "digits")).type);
      return answers.at(-1) !== "record.failed";
    });
    assert.is(answers.at(-1), "record.missing");
    await left(gateway, first, second);
  });

  test("gossip: an author that was verified lately counts no more once the trust changed", async () => {
    const meeting = meetingOf(pki);
    const [author, between, b] = [await meeting.join("author"), await meeting.join("between"), await meeting.join("b")];
    for (const party of [between, b]) party.send({ type: "subscribe", topic });
    for (const party of [author, b]) {
      assert.is((await dial(party, between)).type, "dial.done");
      await between.fact(established(party.peer));
    }
    let published = 0;
    const publish = () => {
      const id = `00000000-0000-4000-8000-${String(++published).padStart(12, "0")}`;
      const spec = { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [] };
      const message = {
        id,
        spec,
        timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
        bid: 1,
      };
      return author.ask({ type: "publish", id, topic, message });
    };
    const heardAt = (party: Party) => party.facts.filter(({ type }) => type === "published").length;
    await eventually(meeting, "gossip through another", async () => {
      await publish();
      await meeting.pass(300);
      return heardAt(b) > 0;
    });
    // Verified by a connection of its own, which ends: it counts as one that was verified lately.
    b.send({ type: "close", peer: author.peer, reason: "enough" });
    await b.fact(closed(author.peer));
    const before = heardAt(b);
    await eventually(meeting, "gossip of one verified lately", async () => {
      await publish();
      await meeting.pass(300);
      return heardAt(b) > before;
    });
    assert.is(b.facts.filter(established(author.peer)).length, 1, "it was not dialled again");
    const crlsPem = await pki.crls({ revoked: [author.node] });
    b.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
    await meeting.pass(100);
    const [atB, atBetween] = [heardAt(b), heardAt(between)];
    for (let time = 0; time < 3; time++) {
      await publish();
      await meeting.pass(400);
    }
    assert.ok(heardAt(between) > atBetween, "the one between still hears it");
    assert.is(heardAt(b), atB);
    const refused = await b.fact((fact) => fact.type === "peer.refused" && fact);
    assert.is(refused.refusal.code, "certificate-revoked");
    await left(author, between, b);
  });

  test("request: one that is not answered declines itself after ten seconds", async () => {
    const meeting = meetingOf(pki);
    const [a, b] = await connected(meeting);
    b.send({ type: "serve", protocol: health });
    await meeting.pass(50);
    const asking = startAsking(a, b, "long", 29_000);
    await b.fact((fact) => fact.type === "request.received" && fact);
    await meeting.pass(9_000);
    assert.is((await b.ask({ type: "peers" })).type, "peers");
    const answer = await asking.answer(meeting);
    assert.is(codeOf(answer), "stream-reset");
    assert.is(codeOf(await ask(a, b, "next", 200)), "timed-out");
    await left(a, b);
  });

  test.run();
}
