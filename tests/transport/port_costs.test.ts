/**
 * What a member costs, over the virtual network: a minute of a flood passes at once there. Over real sockets: `tests/network/floods.test.ts`.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WireConnection } from "../../transport/core/wire.ts";
import { encodeMessage } from "../../transport/protocols/mod.ts";
import { simulatedMeeting } from "../support/conformance.ts";
import { closed, dial, established, health, startAsking } from "../support/conformance_acts.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("what a member costs");
const pki = await makeTestPki();
const question = encodeMessage(health, "request", {});

test("a member that floods for half a minute is closed and refused for a minute; others are answered", async () => {
  const meeting = simulatedMeeting(pki);
  const [node, honest] = [await meeting.join("node"), await meeting.join("honest")];
  const member = await meeting.intrude("member");
  assert.is((await dial(honest, node)).type, "dial.done");
  node.send({ type: "serve", protocol: health });
  const connect = async () => {
    let outcome: Result.Result<WireConnection, { readonly code: string }> | undefined;
    member.dial(node.address, (said) => outcome = said);
    await meeting.pass(100);
    return outcome;
  };
  await connect();
  await node.fact(established(member.identity.peer));
  assert.is(member.connections.size, 1);
  let answered = 0;
  let said = 0;
  /** The node answers each request. */
  const answer = () => {
    for (; said < node.facts.length; said++) {
      const fact = node.facts[said];
      if (fact?.type !== "request.received") continue;
      if (fact.peer === member.identity.peer) answered += 1;
      node.send({ type: "respond", exchange: fact.exchange, message: { healthy: true } });
    }
  };
  const refusal = () => node.facts.find((fact) => fact.type === "peer.refused");
  for (let ms = 0; ms < 40_000 && refusal() === undefined; ms += 100) {
    for (const connection of member.connections) {
      for (let each = 0; each < 50; each++) member.exchange(connection, health, question);
    }
    await meeting.pass(100);
    answer();
    if (ms % 2_000 !== 0) continue;
    const asked = startAsking(honest, node, `${ms}`);
    await meeting.pass(20);
    answer();
    assert.is((await asked.answer(meeting)).type, "response", `an honest peer after ${ms} ms`);
  }
  const fact = refusal();
  assert.is(fact?.type === "peer.refused" && fact.refusal.code, "too-expensive");
  const { reason } = await node.fact(closed(member.identity.peer));
  assert.is(reason.type, "by-us");
  await meeting.pass(1_000);
  assert.is(member.connections.size, 0);
  // Each costs more than half a millisecond: a burst, and a tenth of a core for as long as it lasted.
  assert.ok(answered > 1_000 && answered < 12_000, `${answered} were answered`);
  await connect();
  await meeting.pass(1_000);
  assert.is(member.connections.size, 0, "refused within the minute");
  await meeting.pass(60_000);
  await connect();
  assert.is(member.connections.size, 1, "let in again");
  await node.stop();
  await honest.stop();
});

test("a member that opens streams without pause is read as fast as it may cost", async () => {
  const meeting = simulatedMeeting(pki);
  const node = await meeting.join("node");
  const member = await meeting.intrude("member");
  node.send({ type: "serve", protocol: health });
  member.dial(node.address, () => {});
  await node.fact(established(member.identity.peer));
  const [connection] = member.connections;
  assert.ok(connection !== undefined);
  const opened = 20_000;
  let over = 0;
  for (let ms = 0; ms < 10_000; ms += 100) {
    for (let each = 0; each < opened / 100; each++) member.exchange(connection, health, question, () => over += 1);
    await meeting.pass(100);
  }
  // A stream costs 300 µs: a burst, and a tenth of a core for ten seconds. Requests without an answer wait for nothing else.
  const read = node.facts.filter(({ type }) => type === "request.received").length;
  assert.ok(read > 100 && over < 8_000, `${read} were read, ${over} are over`);
  await node.stop();
});

test.run();
