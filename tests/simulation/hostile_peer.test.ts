/**
 * A hostile member against the core, over both wires: whatever it does, the node serves others meanwhile, and nothing of it is
 * left fifteen seconds later.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WireConnection } from "../../transport/core/wire.ts";
import { streamProtocols } from "../../transport/port.ts";
import { messageProtocols, workerTopic } from "../../transport/protocols/messages.ts";
import { type Meeting, type Party, realMeeting, simulatedMeeting } from "../support/conformance.ts";
import { dial, established, left, startAsking } from "../support/conformance_acts.ts";
import { hostileActs, stolenKey } from "../support/hostile_script.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";

/** Requests that a member without a role may send, or that name no act. Others of it are refused without being decoded. */
const forAnyMember = ["/hypha-api/0.0.1", "/hypha-audit/1", "/hypha-crl/1", "/hypha-health/0.0.1"];
/** Every deadline of the core for what a peer began is over by then, in milliseconds. */
const quietMs = 15_000;

async function victimOf(meeting: Meeting): Promise<readonly [victim: Party, friend: Party]> {
  const [victim, friend] = [await meeting.join("victim", { gateway: true }), await meeting.join("friend")];
  for (const protocol of [...messageProtocols, ...streamProtocols]) victim.send({ type: "serve", protocol });
  victim.send({ type: "subscribe", topic: workerTopic });
  await dial(friend, victim);
  await victim.fact(established(friend.peer));
  await meeting.pass(50);
  return [victim, friend];
}

/** The friend asks, and the victim answers. */
async function serves(meeting: Meeting, [victim, friend]: readonly [Party, Party], id: string): Promise<void> {
  const asked = () =>
    victim.facts.findLast((fact) => fact.type === "request.received" && fact.peer === friend.peer) as
      | { readonly exchange: string }
      | undefined;
  const before = asked()?.exchange;
  const asking = startAsking(friend, victim, id, 5_000);
  const { exchange } = await victim.fact(() => asked()?.exchange !== before && asked());
  victim.send({ type: "respond", exchange, message: { healthy: true } });
  assert.is((await asking.answer(meeting)).type, "response", id);
}

async function admitted(meeting: Meeting, name: string, victim: Party) {
  const peer = await meeting.intrude(name);
  let connection: WireConnection | undefined;
  peer.dial(victim.address, (outcome) => connection = Result.getOrUndefined(outcome));
  await victim.fact(established(peer.identity.peer));
  for (let time = 0; connection === undefined && time < 40; time++) await meeting.pass(25);
  assert.ok(connection !== undefined, `${name} was not let in`);
  await meeting.pass(200);
  return { peer, connection };
}

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`hostile members over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });

  test("each act, all at once, leaves a node that serves and holds nothing", async () => {
    const meeting = meetingOf(pki);
    const both = await victimOf(meeting);
    const [victim, friend] = both;
    const intruders = [];
    for (const [name, act] of Object.entries(hostileActs)) {
      const { peer, connection } = await admitted(meeting, name, victim);
      intruders.push(peer);
      act(peer, connection, { friend: friend.peer });
    }
    await serves(meeting, both, "meanwhile");
    await meeting.pass(1_000);
    assert.ok(victim.size > streamProtocols.length, `what was begun is open: ${victim.size}`);
    assert.ok(victim.size < 600, `not more than may be: ${victim.size}`);
    await meeting.pass(quietMs);
    assert.is(victim.size, 0);
    await serves(meeting, both, "afterwards");
    const record = await friend.ask({ type: "record.get", id: "get", key: stolenKey, timeoutMs: 3_000 });
    assert.is(record.type, "record.missing");
    const types = new Set(victim.facts.map(({ type }) => type));
    assert.not(types.has("published") || types.has("transport.failed"));
    const malformed = victim.facts.filter((fact) => fact.type === "request.malformed");
    assert.equal(
      malformed.map(({ protocol }) => protocol).sort(),
      forAnyMember,
      "what does not decode is told once of each",
    );
    let stopped = 0;
    for (const { wire } of intruders) wire.stop(() => stopped++);
    for (let time = 0; stopped < intruders.length && time < 200; time++) await meeting.pass(25);
    await left(friend, victim);
  });

  test.run();
}
