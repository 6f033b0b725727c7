/** The virtual transport by itself: whom an end concerns, own records, and what is finished while it drains. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TransportAnswer, TransportAsk, TransportFact } from "../../../transport/port.ts";
import { type Party, simulatedMeeting } from "../../support/conformance.ts";
import { makeTestPki } from "../../support/pki.ts";
import { snapshotOf } from "../../support/transports.ts";

const test = suite("the transport over the virtual network");
const pki = await makeTestPki();
const health = "/hypha-health/0.0.1" as const;

const dial = (from: Party, to: Party) => from.ask({ type: "dial", id: "dial", target: { address: to.address } });
const received = (fact: TransportFact) => fact.type === "request.received" && fact;
const closedTo = (peer: string) => (fact: TransportFact) => fact.type === "peer.closed" && fact.peer === peer && fact;

/** Asks without waiting: what was answered so far. */
function asking(party: Party, question: object): TransportAnswer[] {
  const answers: TransportAnswer[] = [];
  party.send(
    { ...question, replyTo: { send: (answer: TransportAnswer) => void answers.push(answer) } } as TransportAsk,
  );
  return answers;
}
const request = (to: Party) =>
  ({ type: "request", id: to.peer, peer: to.peer, protocol: health, message: {}, timeoutMs: 8_000 }) as const;

test("a record is stored with a peer, and its publisher finds its own", async () => {
  const meeting = simulatedMeeting(pki);
  const [a, b] = [await meeting.join("a"), await meeting.join("b")];
  await dial(a, b);
  const value = Uint8Array.of(1, 2);
  const put = await a.ask({ type: "record.put", id: "p", key: "k", value, timeoutMs: 1_000 });
  assert.equal(put, { type: "record.stored", id: "p" });
  for (const party of [a, b]) {
    const got = await party.ask({ type: "record.get", id: "g", key: "k", timeoutMs: 1_000 });
    const { identity, ...rest } = got.type === "record" ? got : { identity: undefined };
    assert.equal(rest, { type: "record", id: "g", key: "k", value, publisher: a.peer });
    assert.is(identity?.peer, party === a ? undefined : a.peer);
  }
});

test("the end of a connection ends what was asked on it, and nothing else", async () => {
  const meeting = simulatedMeeting(pki);
  const [a, b, c] = [await meeting.join("a"), await meeting.join("b"), await meeting.join("c")];
  for (const other of [b, c]) {
    await dial(a, other);
    other.send({ type: "serve", protocol: health });
  }
  const [ofB, ofC] = [asking(a, request(b)), asking(a, request(c))];
  await b.fact(received);
  const { exchange } = await c.fact(received);
  b.send({ type: "close", peer: a.peer, reason: "enough" });
  await a.fact(closedTo(b.peer));
  await meeting.pass(100);
  assert.equal(ofB.map((said) => said.type === "request.failed" && said.error.code), ["stream-reset"]);
  assert.equal(ofC, []);
  c.send({ type: "respond", exchange, message: { healthy: true } });
  await meeting.pass(100);
  assert.equal(ofC.map(({ type }) => type), ["response"]);
});

test("who is revoked at whatever moment of the handshake is refused or closed, once, and it is told", async () => {
  const [listener, dialler] = [await pki.node("listener"), await pki.node("dialler")];
  const snapshot = snapshotOf(pki, { crlsPem: await pki.crls({ revoked: [dialler] }), generation: 2 });
  for (let afterMs = 0; afterMs < 16; afterMs++) {
    const meeting = simulatedMeeting(pki);
    const [a, b] = [await meeting.join("a", { node: listener }), await meeting.join("b", { node: dialler })];
    asking(b, { type: "dial", id: "dial", target: { address: a.address } });
    await meeting.pass(afterMs);
    a.send({ type: "trust.changed", snapshot });
    await meeting.pass(1_000);
    const told = a.facts.filter(({ type }) => type === "peer.refused" || type === "peer.closed");
    assert.is(told.length, 1, `after ${afterMs} ms`);
    assert.equal(await a.ask({ type: "peers" }), { type: "peers", list: [] });
  }
});

test("who is revoked while a question of his is under way is not heard any more once he is gone", async () => {
  const [listener, dialler] = [await pki.node("listener"), await pki.node("dialler")];
  const snapshot = snapshotOf(pki, { crlsPem: await pki.crls({ revoked: [dialler] }), generation: 2 });
  let heard = 0;
  for (let afterMs = 0; afterMs < 16; afterMs++) {
    const meeting = simulatedMeeting(pki);
    const [a, b] = [await meeting.join("a", { node: listener }), await meeting.join("b", { node: dialler })];
    a.send({ type: "serve", protocol: health });
    await dial(b, a);
    asking(b, request(a));
    await meeting.pass(afterMs);
    a.send({ type: "trust.changed", snapshot });
    await meeting.pass(1_000);
    const types = a.facts.map(({ type }) => type);
    const asked = types.indexOf("request.received");
    const closed = types.findIndex((type) => type === "peer.closed" || type === "peer.refused");
    assert.ok(closed >= 0, `after ${afterMs} ms`);
    assert.ok(asked < closed, `heard after the close, after ${afterMs} ms`);
    heard += asked >= 0 ? 1 : 0;
  }
  assert.ok(heard > 0 && heard < 16, "the moment was never in between");
});

test("while it drains, idle connections end at once, what was asked is answered, and nothing new is begun", async () => {
  const meeting = simulatedMeeting(pki);
  const [a, b, c] = [await meeting.join("a"), await meeting.join("b"), await meeting.join("c")];
  for (const other of [b, c]) await dial(other, a);
  a.send({ type: "serve", protocol: health });
  const ofB = asking(b, request(a));
  const { exchange } = await a.fact(received);
  const drained = asking(a, { type: "drain", graceMs: 5_000 });
  await meeting.pass(500);
  assert.ok(c.facts.some((fact) => closedTo(a.peer)(fact)), "an idle connection is still there");
  assert.not.ok(b.facts.some((fact) => closedTo(a.peer)(fact)), "a busy connection was ended");
  assert.equal([drained, ofB], [[], []]);
  const again = asking(a, { type: "drain", graceMs: 4_000 });
  await meeting.pass(500);
  assert.equal([again, drained], [[], []], "a second drain was answered before the first");
  const late = await dial(a, c);
  assert.is(late.type, "dial.failed");
  a.send({ type: "respond", exchange, message: { healthy: true } });
  await meeting.pass(500);
  const types = (answers: readonly TransportAnswer[]) => answers.map(({ type }) => type);
  assert.equal([ofB, drained, again].map(types), [["response"], ["drained"], ["drained"]]);
});

test.run();
