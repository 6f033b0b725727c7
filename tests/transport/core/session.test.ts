/** A session over a wire that the test plays: what its parts learn of each other. */
import { randomUUID } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Rule } from "../../../transport/authorization/authorize.ts";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { departedMs } from "../../../transport/core/departed.ts";
import { reverifySlice } from "../../../transport/core/reverification.ts";
import { outbox } from "../../../transport/core/outbox.ts";
import { Session } from "../../../transport/core/session.ts";
import { recentlyVerifiedMs } from "../../../transport/core/verified_peers.ts";
import type { WireListener, WireTarget } from "../../../transport/core/wire.ts";
import type { TransportFact, TransportInput } from "../../../transport/port.ts";
import { encodeWorkerRequest } from "../../../transport/protocols/mod.ts";
import { FakeConnection, fakeWire } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf, snapshotOf, transportInputOf } from "../../support/transports.ts";
import { defaultWorkLimits } from "../../../transport/core/work_budget.ts";

const test = suite("Session");
const pki = await makeTestPki();
const peer = await pki.node("peer");
const author = await pki.node("author");

/** A started session, and what its wire calls. */
async function started(about: Partial<Pick<TransportInput, "role" | "makeGate">> = {}) {
  const clock = new ManualClock(Date.now());
  const facts: TransportFact[] = [];
  const unreserved: string[] = [];
  const dialled: WireTarget[] = [];
  const input = transportInputOf({ pki, node: await pki.node("own"), ...about });
  let listener: WireListener | undefined;
  const session = new Session({
    input: { ...input, limits: { ...input.limits, connectionsPerPeerMax: 1_000 } },
    clock,
    wire: fakeWire({
      start: (given, done) => {
        listener = given;
        done(Result.succeed({ addresses: [], bound: [], left: [] }));
      },
      dial: (target) => {
        dialled.push(target);
        return () => {};
      },
      unreserve: (of) => void unreserved.push(of),
    }),
    outbox: outbox({ clock, deliver: (fact) => facts.push(fact) }),
    watch: {},
    workLimits: defaultWorkLimits,
  });
  session.start(() => {});
  if (listener === undefined) throw new Error("the wire was not started");
  const calls: WireListener = listener;
  /** A message of the author's through an honest peer; the verdict on it, where there is one at once. */
  const gossip = (topic: string): string | undefined => {
    let verdict: string | undefined;
    const bytes = encodeWorkerRequest({
      id: randomUUID(),
      spec: { resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 }, executor: [{ class: "train", name: "any" }] },
      timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
      bid: 1,
    });
    const settle = (said: string) => void (verdict = said);
    calls.gossip({ topic, author: identityOf(author).peer, via: identityOf(peer).peer, bytes, settle });
    return verdict;
  };
  return { session, clock, calls, facts, gossip, unreserved, dialled };
}

test("an author that was established after a change of trust, and that this change then ended, does not count", async () => {
  const { session, clock, calls, gossip } = await started();
  session.handle({ type: "subscribe", topic: "topic" });
  for (let each = 0; each < reverifySlice; each++) new FakeConnection().stand(calls, identityOf(peer).chain);
  const late = new FakeConnection();
  calls.opening(late);
  calls.securing(late);
  assert.ok(calls.secured(late, { version: "TLSv1.3", chain: identityOf(author).chain }));
  const crlsPem = await pki.crls({ revoked: [author] });
  session.handle({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
  late.isOpen = true;
  assert.ok(calls.opened(late), "its turn had come before: the test proves nothing");
  assert.is(gossip("topic"), "accept", "established");
  clock.pass(0);
  assert.equal(late.closes, ["now"]);
  late.end(calls, { by: "us", detail: "revoked" });
  assert.is(gossip("topic"), undefined, "not known: it has to be dialled");
});

test("an author that left by itself counts for a while", async () => {
  const { session, clock, calls, gossip } = await started();
  session.handle({ type: "subscribe", topic: "topic" });
  const connection = new FakeConnection();
  connection.stand(calls, identityOf(author).chain);
  connection.end(calls);
  clock.settle();
  assert.is(gossip("topic"), "accept");
});

test("an author that left counts where it was evaluated with the newest trust, however long it had been connected", async () => {
  for (const isEvaluated of [true, false]) {
    const { session, clock, calls, gossip } = await started();
    session.handle({ type: "subscribe", topic: "topic" });
    // A slice of gates is evaluated at once; the one behind it waits for its turn.
    for (let each = 0; each < reverifySlice; each++) new FakeConnection().stand(calls, identityOf(peer).chain);
    const connection = new FakeConnection();
    connection.stand(calls, identityOf(author).chain);
    clock.pass(2 * recentlyVerifiedMs);
    session.handle({ type: "trust.changed", snapshot: snapshotOf(pki, { generation: 2 }) });
    if (isEvaluated) clock.pass(0);
    connection.end(calls);
    assert.is(gossip("topic"), isEvaluated ? "accept" : undefined, `evaluated: ${isEvaluated}`);
  }
});

test("a session that settles lets its wire dial no longer: an idle connection that was closed would come back", async () => {
  const { session, calls } = await started();
  const address = "/ip4/198.51.100.7/tcp/4001";
  assert.ok(calls.mayDial(address));
  const busy = new FakeConnection();
  busy.stand(calls, identityOf(peer).chain);
  busy.isRelaying = true;
  let stopped = false;
  session.stop("the node drains", 5_000, () => void (stopped = true));
  assert.not(stopped, "it has work: it settles");
  assert.not(calls.mayDial(address));
});

test("bug: a rule that denied relay.reserve missed a member that was away: it kept its reservation when it came back", async () => {
  const { session, clock, calls, unreserved } = await started({ role: "gateway" });
  const away = new FakeConnection();
  away.stand(calls, identityOf(author).chain);
  away.end(calls);
  const rule: Rule = {
    label: "authorization.rules[0]",
    effect: "deny",
    acts: ["relay.reserve"],
    fits: ({ peer }) => peer === identityOf(author).peer,
  };
  session.handle({ type: "rules.changed", rules: [rule] });
  clock.settle();
  clock.pass(departedMs + 1);
  new FakeConnection().stand(calls, identityOf(peer).chain);
  assert.equal(unreserved, [], "the rule is not about this one");
  const back = new FakeConnection();
  back.stand(calls, identityOf(author).chain);
  assert.equal(unreserved, [identityOf(author).peer]);
  assert.equal(back.closes, [], "it may be a member without a reservation");
});

test("bug: a held peer whose certificate ended was not dialled, and rules that changed meanwhile missed it", async () => {
  let at = Date.now();
  const makeGate = makeGateFactory({ ports: { now: () => at, report: () => {} } });
  const { session, clock, calls, facts, dialled } = await started({ makeGate });
  const brief = await pki.node("brief", { notAfter: new Date(at + 3_600_000) });
  const held = identityOf(brief).peer;
  session.handle({ type: "hold", peers: [held] });
  new FakeConnection().stand(calls, brief.chain);
  at += 7_200_000;
  session.handle({ type: "trust.changed", snapshot: snapshotOf(pki, { generation: 2 }) });
  clock.settle();
  const closed = facts.find((fact) => fact.type === "peer.closed");
  assert.equal([closed?.peer, closed?.reason.type], [held, "expired"]);
  assert.equal(dialled, [{ peer: held }]);
  const rule: Rule = { label: "rules[0]", effect: "deny", acts: ["ping"], fits: () => true };
  session.handle({ type: "rules.changed", rules: [rule] });
  clock.settle();
  const changed = facts.find((fact) => fact.type === "authorization.changed");
  assert.equal([changed?.peer, changed?.denied], [held, ["ping"]]);
});

test.run();
