/**
 * Acts over both wires: what a member's certificate does not allow is refused by the identity of the connection it came in on,
 * and told; what changed rules forbid ends.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HostileAnswer } from "../../actors/simulation/hostile_peer.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import { memberOf } from "../../pki/member.ts";
import type { Act } from "../../transport/authorization/acts.ts";
import type { Rule } from "../../transport/authorization/authorize.ts";
import type { WireConnection } from "../../transport/core/wire.ts";
import type { AskTarget, StreamProtocol, TransportAnswer, TransportFact } from "../../transport/port.ts";
import type { ApiRequest, Message, MessageProtocol } from "../../transport/protocols/messages.ts";
import { type JoinOptions, type Meeting, type Party, realMeeting, simulatedMeeting } from "../support/conformance.ts";
import { codeOf, dial, established, health, left, startAsking } from "../support/conformance_acts.ts";
import { makeTestPki, type TestPki } from "../support/pki.ts";
import { identityOf, provenOf } from "../support/transports.ts";

const id = "3c508384-6829-4d62-83d3-061ae58b76fa";
const api = "/hypha-api/0.0.1" as const;
const topic = "hypha/worker";
const resources = { gpu: 0, cpu: 1, storage: 0, memory: 1 };
const anyRole = ["gateway", "scheduler", "worker", "data"] as const;
const instant = { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 };
const renewal: ApiRequest = { RenewLease: { id } };
const offer: ApiRequest = { WorkerOffer: { id, request_id: id, price: 1, resources, timeout: instant } };

type Refused = Extract<TransportFact, { type: "act.refused" }>;
const refusals = ({ facts }: Party) => facts.filter((fact): fact is Refused => fact.type === "act.refused");
const told = (party: Party) => refusals(party).map(({ act, identity: { role }, untold }) => [act, role, untold]);
const refused = (act: Act) => (fact: TransportFact) => fact.type === "act.refused" && fact.act === act && fact;
const count = ({ facts }: Party, type: TransportFact["type"]) => facts.filter((fact) => fact.type === type).length;

/** Denies acts to certificates of a name. */
function deny(name: string, ...acts: Act[]): Rule {
  return { label: "authorization.rules[0]", effect: "deny", acts, fits: (member) => member.name === name };
}

/** A node whose certificate names its role, or that the test says. */
async function joinAs(
  pki: TestPki,
  meeting: Meeting,
  role: MemberRole,
  options: JoinOptions,
  name: string,
): Promise<Party> {
  const node = options.node ?? await pki.node(name, { role });
  return await meeting.join(name, { ...options, node, input: { role, ...options.input } });
}
async function connect(from: Party, ...others: Party[]): Promise<void> {
  for (const to of others) {
    assert.is((await dial(from, to)).type, "dial.done");
    await to.fact(established(from.peer));
  }
}
const meantForNobody = { type: "request", id: "nobody", protocol: api, timeoutMs: 3_000 } as const;
/** Sends a request to whomever of a PeerID, also where it is not for them. */
const request = (from: Party, to: Party, message: Message, protocol: MessageProtocol = api) =>
  from.ask({
    type: "request",
    id: `${Math.random()}`,
    peer: to.peer,
    to: { roles: anyRole },
    protocol,
    message,
    timeoutMs: 3_000,
  });
const open = (from: Party, to: Party, protocol: StreamProtocol) =>
  from.ask({ type: "stream.open", id: "open", peer: to.peer, protocol, timeoutMs: 3_000 });
/** Sends a request and answers it. */
async function answered(from: Party, to: Party, message: Message, response: Message): Promise<TransportAnswer> {
  const before = count(to, "request.received");
  let answer: TransportAnswer | undefined;
  from.send({
    type: "request",
    id: `${Math.random()}`,
    peer: to.peer,
    protocol: api,
    message,
    timeoutMs: 3_000,
    replyTo: { send: (said: TransportAnswer) => void (answer = said) },
  });
  const exchange = await to.fact(() =>
    to.facts.filter((fact) => fact.type === "request.received")[before] as never as { exchange: string } | undefined
  );
  to.send({ type: "respond", exchange: exchange.exchange, message: response });
  return await from.fact(() => answer);
}

for (const meetingOf of [realMeeting, simulatedMeeting]) {
  let pki: TestPki;
  const test = suite(`acts over ${meetingOf === realMeeting ? "libp2p" : "the virtual network"}`);
  test.before(async () => {
    pki = await makeTestPki();
  });
  const as = (meeting: Meeting, role: MemberRole, options: JoinOptions = {}, name: string = role) =>
    joinAs(pki, meeting, role, options, name);

  test("requests: by the role of the connection's certificate; a refused one ends without a byte and is told once", async () => {
    const meeting = meetingOf(pki);
    const [worker, data] = [await as(meeting, "worker"), await as(meeting, "data")];
    const [scheduler, roleless] = [await as(meeting, "scheduler"), await meeting.join("roleless")];
    for (const party of [worker, scheduler]) party.send({ type: "serve", protocol: api });
    await connect(data, worker, scheduler);
    await connect(scheduler, worker);
    await connect(roleless, worker);
    await meeting.pass(50);
    for (let time = 0; time < 3; time++) assert.is(codeOf(await request(data, worker, renewal)), "no-answer");
    assert.is(codeOf(await request(data, scheduler, offer)), "no-answer");
    assert.is(codeOf(await request(data, worker, offer)), "no-answer", "what a worker does not take");
    const { refusal, peer } = await scheduler.fact(refused("worker.offer"));
    assert.equal([refusal.role, refusal.name, refusal.rule, peer], ["data", "data", "row worker.offer", data.peer]);
    assert.equal(told(worker), [["lease.renew", "data", 0], ["worker.offer", "data", 0]]);
    assert.equal([count(worker, "request.received"), count(scheduler, "request.received")], [0, 0]);
    for (const party of [scheduler, roleless]) {
      assert.is((await answered(party, worker, renewal, { RenewLease: "Failed" })).type, "response");
    }
    await left(worker, data, scheduler, roleless);
  });

  test("a CA's node connects like any member, and may do no work of a role; others ask it nothing of theirs", async () => {
    const meeting = meetingOf(pki);
    const [worker, ca] = [await as(meeting, "worker"), await as(meeting, "ca")];
    for (const party of [worker, ca]) party.send({ type: "serve", protocol: api });
    await connect(ca, worker);
    await meeting.pass(50);
    assert.is(codeOf(await request(ca, worker, renewal)), "no-answer");
    assert.equal(told(worker), [["lease.renew", "ca", 0]]);
    assert.is(count(worker, "request.received"), 0);
    assert.is(codeOf(await request(worker, ca, renewal)), "not-authorized");
    assert.is(count(ca, "request.received"), 0);
    await left(worker, ca);
  });

  test("streams: one that its peer may not open is reset, and told", async () => {
    const meeting = meetingOf(pki);
    const [data, worker] = [await as(meeting, "data"), await as(meeting, "worker")];
    const other = await as(meeting, "worker", { node: await pki.node("gateway", { role: "gateway" }) }, "other");
    data.send({ type: "serve", protocol: "/hypha-tensor-stream/pull/2" });
    worker.send({ type: "serve", protocol: "/hypha-tensor-stream/push" });
    await connect(worker, data);
    await connect(other, data, worker);
    await meeting.pass(50);
    for (const [to, protocol] of [[data, "pull/2"], [worker, "push"]] as const) {
      const opened = await open(other, to, `/hypha-tensor-stream/${protocol}`);
      if (opened.type === "stream.opened") {
        const read = await other.run(opened.stream.read);
        assert.equal(read, { type: "end", outcome: "broken" });
      }
      assert.is(count(to, "stream.received"), 0);
    }
    assert.equal([told(data), told(worker)], [[["slice.pull", "gateway", 0]], [["file.push", "gateway", 0]]]);
    assert.is((await open(worker, data, "/hypha-tensor-stream/pull/2")).type, "stream.opened");
    await data.fact((fact) => fact.type === "stream.received" && fact);
    await left(data, worker, other);
  });

  test("streams: a rule that allows lets a member of another role open one", async () => {
    const meeting = meetingOf(pki);
    const pulls: Rule = { label: "r", effect: "allow", acts: ["slice.pull"], fits: ({ name }) => name === "gateway" };
    const data = await as(meeting, "data", { input: { rules: [pulls] } });
    const [gateway, other] = [await as(meeting, "gateway"), await as(meeting, "gateway", {}, "other")];
    data.send({ type: "serve", protocol: "/hypha-tensor-stream/pull/2" });
    await connect(gateway, data);
    await connect(other, data);
    await meeting.pass(50);
    await open(other, data, "/hypha-tensor-stream/pull/2");
    await data.fact(refused("slice.pull"));
    assert.is((await open(gateway, data, "/hypha-tensor-stream/pull/2")).type, "stream.opened");
    const { identity } = await data.fact((fact) => fact.type === "stream.received" && fact);
    assert.equal([identity.name, identity.role], ["gateway", "gateway"]);
    assert.equal(told(data), [["slice.pull", "gateway", 0]]);
    await left(data, gateway, other);
  });

  test("gossip: the author's role counts, not the forwarder's, and the forwarder is not guilty", async () => {
    const meeting = meetingOf(pki);
    const [b, between] = [await as(meeting, "worker", {}, "b"), await as(meeting, "gateway", {}, "between")];
    const [worker, scheduler] = [await as(meeting, "worker"), await as(meeting, "scheduler")];
    b.send({ type: "subscribe", topic });
    between.send({ type: "subscribe", topic });
    await connect(between, b);
    // The scheduler's come through the gateway, which would hand on no other's: the worker brings its own.
    await connect(scheduler, between);
    await connect(worker, between, b);
    let published = 0;
    const publish = async (from: Party) => {
      const message = {
        id: `00000000-0000-4000-8000-${String(++published).padStart(12, "0")}`,
        spec: { resources, executor: [] },
        timeout: instant,
        bid: 1,
      };
      await from.ask({ type: "publish", id: message.id, topic, message });
      await meeting.pass(100);
    };
    for (let time = 0; time < 40 && count(b, "published") === 0; time++) await publish(scheduler);
    for (let time = 0; time < 40 && refusals(b).length === 0; time++) await publish(worker);
    for (let time = 0; time < 3; time++) await publish(worker);
    const authors = b.facts.flatMap((fact) => fact.type === "published" ? [fact.identity.role] : []);
    assert.equal([...new Set(authors)], ["scheduler"]);
    assert.equal(told(b), [["worker.request", "worker", 0]]);
    assert.is(refusals(b)[0]?.peer, worker.peer);
    const peers = await b.ask({ type: "peers" });
    const here = peers.type === "peers" ? peers.list.map(({ peer }) => peer) : [];
    assert.ok([between, worker].every(({ peer }) => here.includes(peer)), "nobody is closed for it");
    assert.equal([...new Set(told(between))].slice(0, 1), [["worker.request", "worker", 0]]);
    await left(b, between, worker, scheduler);
  });

  test("records: only a data node's is kept", async () => {
    const meeting = meetingOf(pki);
    const gateway = await as(meeting, "gateway", { gateway: true });
    const [worker, data] = [await as(meeting, "worker"), await as(meeting, "data")];
    await connect(worker, gateway);
    await connect(data, gateway);
    const put = async (from: Party) => {
      const value = new TextEncoder().encode(from.peer);
      const answer = await from.ask({ type: "record.put", id: "put", key: "digits", value, timeoutMs: 3_000 });
      return answer.type;
    };
    for (let time = 0; time < 40 && refusals(gateway).length === 0; time++) {
      assert.is(await put(worker), "record.failed");
      await meeting.pass(100);
    }
    assert.equal(told(gateway)[0], ["record.put", "worker", 0]);
    let kept = "";
    for (let time = 0; time < 40 && kept !== "record.stored"; time++) {
      kept = await put(data);
      await meeting.pass(100);
    }
    assert.is(kept, "record.stored");
    const found = await gateway.ask({ type: "record.get", id: "get", key: "digits", timeoutMs: 3_000 });
    assert.is(found.type === "record" && found.publisher, data.peer);
    await left(gateway, worker, data);
  });

  test("two certificates of one key: what one may do does not become the other's", async () => {
    const meeting = meetingOf(pki);
    const shown = await pki.node("one", { role: "scheduler" });
    const one = await as(meeting, "scheduler", { node: shown }, "one");
    const two = await as(
      meeting,
      "data",
      { node: await pki.node("two", { role: "data", keyPem: shown.keyPem }) },
      "two",
    );
    const worker = await as(meeting, "worker");
    worker.send({ type: "serve", protocol: api });
    await connect(one, worker);
    assert.is((await dial(two, worker)).type, "dial.done");
    await worker.fact(() => worker.facts.filter(established(one.peer)).length === 2);
    await meeting.pass(50);
    assert.is(codeOf(await request(two, worker, renewal)), "no-answer");
    assert.is((await answered(one, worker, renewal, { RenewLease: "Failed" })).type, "response");
    assert.equal(told(worker), [["lease.renew", "data", 0]]);
    await left(one, two, worker);
  });

  // The virtual wire's circuits are the simulation's (`wrong-role`), and there a peer dials from where it listens.
  if (meetingOf === realMeeting) {
    test("circuits: a stranger's relay, of whatever role, brings none, and no reservation is asked for there", async () => {
      const meeting = meetingOf(pki);
      const b = await as(meeting, "worker", { input: { relay: "client" } });
      for (const role of ["worker", "gateway"] as const) {
        const hostile = await meeting.intrude(role, await pki.node(`relay-${role}`, { role }));
        const offered: string[] = [];
        hostile.wire.serve("/libp2p/circuit/relay/0.2.0/hop");
        hostile.onOffered = (_, { protocol }) => {
          offered.push(protocol);
          return undefined;
        };
        const connection = await new Promise<WireConnection>((resolve, reject) =>
          hostile.dial(
            b.address,
            (outcome) => Result.isSuccess(outcome) ? resolve(outcome.success) : reject(outcome.failure),
          )
        );
        const { how, bytes } = await new Promise<HostileAnswer>((resolve) =>
          hostile.exchange(connection, "/libp2p/circuit/relay/0.2.0/stop", Uint8Array.of(2, 8, 0), resolve)
        );
        assert.equal([how, bytes.length], ["reset", 0], role);
        await b.fact(() => refusals(b).some(({ identity }) => identity.role === role));
        assert.not(offered.includes("/libp2p/circuit/relay/0.2.0/hop"), role);
        await new Promise<void>((resolve) => hostile.wire.stop(resolve));
      }
      const rules = refusals(b).map(({ act, refusal: { rule } }) => [act, rule]);
      assert.equal(rules, [
        ["relay.connect", "row relay.connect"],
        ["relay.connect", "this node has no reservation there"],
      ]);
      await left(b);
    });

    test("a configured gateway is not found in a connection that some other member made", async () => {
      const meeting = meetingOf(pki);
      const worker = await as(meeting, "worker");
      const data = await as(meeting, "data", { input: { gatewayAddresses: [worker.address] } });
      await connect(worker, data);
      assert.is(codeOf(await dial(data, worker)), "not-authorized");
      await left(worker, data);
    });
  }

  test("asks reach the member that they are meant for: by a fresh connection where none fits, else not-authorized", async () => {
    const meeting = meetingOf(pki);
    const first = await pki.node("first", { role: "data" });
    const one = await as(meeting, "data", { node: first }, "first");
    const scheduler = await as(meeting, "scheduler");
    one.send({ type: "serve", protocol: health });
    await connect(scheduler, one);
    await meeting.pass(50);
    const member = memberOf(provenOf(pki, first));
    const ask = async (to: AskTarget, id: string) => {
      const asking = startAsking(scheduler, one, id, 3_000, to);
      const received = () =>
        one.facts.some((fact) => fact.type === "request.received" && !done.has(fact.exchange)) || undefined;
      for (let time = 0; time < 20 && received() === undefined; time++) await meeting.pass(25);
      for (const fact of one.facts) {
        if (fact.type !== "request.received" || done.has(fact.exchange)) continue;
        done.add(fact.exchange);
        one.send({ type: "respond", exchange: fact.exchange, message: { healthy: true } });
      }
      return codeOf(await asking.answer(meeting));
    };
    const done = new Set<string>();
    assert.equal([await ask({ roles: ["data"] }, "1"), await ask({ member }, "2")], ["response", "response"]);
    assert.is(await ask({ roles: ["worker"] }, "3"), "not-authorized");
    // The same key with a worker's certificate: new connections show it, the one there is does not.
    const second = await pki.node("second", { role: "worker", keyPem: first.keyPem });
    one.send({ type: "identity.changed", identity: { ...identityOf(second), generation: 2 } });
    const worker = memberOf(provenOf(pki, second));
    assert.is(await ask({ member: worker }, "4"), "response");
    assert.is(scheduler.facts.filter(established(one.peer)).length, 2);
    assert.equal([await ask({ member }, "5"), await ask({ member: worker }, "6")], ["response", "response"]);
    assert.is(await ask({ roles: ["scheduler"] }, "7"), "not-authorized");
    // An ask that names nobody is meant for the roles that receive its act.
    assert.is(codeOf(await scheduler.ask({ ...meantForNobody, message: renewal, peer: one.peer })), "unsupported");
    assert.is(codeOf(await scheduler.ask({ ...meantForNobody, message: offer, peer: one.peer })), "not-authorized");
    assert.is(codeOf(await open(scheduler, one, "/hypha-tensor-stream/pull")), "unsupported");
    await left(one, scheduler);
  });

  test("a rule that denies ends what runs by the act within a second, and leaves what others do", async () => {
    const meeting = meetingOf(pki);
    const [data, worker] = [await as(meeting, "data"), await as(meeting, "worker", {}, "worker")];
    const other = await as(meeting, "worker", {}, "other");
    const pull = "/hypha-tensor-stream/pull" as const;
    data.send({ type: "serve", protocol: pull });
    await connect(worker, data);
    await connect(other, data);
    await meeting.pass(50);
    const opened = [await open(worker, data, pull), await open(other, data, pull)] as const;
    for (const exchange of [0, 1]) {
      const offered = await data.fact(() => data.facts.filter((fact) => fact.type === "stream.received")[exchange]);
      await data.ask({ type: "stream.accept", exchange: (offered as { exchange: string }).exchange });
    }
    data.send({ type: "rules.changed", rules: [deny("worker", "slice.pull")] });
    const changed = await data.fact((fact) => fact.type === "authorization.changed" && fact);
    assert.equal([changed.identity.name, changed.denied], ["worker", ["slice.pull"]]);
    const [first, second] = opened;
    if (first.type !== "stream.opened" || second.type !== "stream.opened") throw new Error("Cannot open");
    assert.equal(await worker.run(first.stream.read), { type: "end", outcome: "broken" });
    assert.equal(refusals(data).map(({ refusal: { rule } }) => rule), ["authorization.rules[0]"]);
    assert.is(data.facts.filter((fact) => fact.type === "authorization.changed").length, 1);
    // The other's stream goes on, and the denied one may come again once the rule is gone.
    data.send({ type: "rules.changed", rules: [] });
    assert.is((await open(worker, data, pull)).type, "stream.opened");
    await data.fact(() => count(data, "stream.received") === 3);
    await left(data, worker, other);
  });

  test("a configured gateway's address: who may not be a gateway is refused there, with the act's code", async () => {
    const meeting = meetingOf(pki);
    const [worker, gateway] = [await as(meeting, "worker"), await as(meeting, "gateway", { gateway: true })];
    const roleless = await meeting.join("roleless");
    const gatewayAddresses = [worker, gateway, roleless].map(({ address }) => address);
    const data = await as(meeting, "data", { input: { gatewayAddresses } });
    assert.is(codeOf(await dial(data, worker)), "not-authorized");
    const { refusal, peer } = await data.fact((fact) => fact.type === "peer.refused" && fact);
    assert.equal([refusal.code, peer?.name], ["not-authorized", "worker"]);
    for (const to of [gateway, roleless]) assert.is((await dial(data, to)).type, "dial.done");
    data.send({ type: "rules.changed", rules: [deny("roleless", "gateway")] });
    const { reason } = await data.fact((fact) => fact.type === "peer.closed" && fact.peer === roleless.peer && fact);
    assert.is(reason.type, "by-us");
    assert.is(codeOf(await dial(data, roleless)), "not-authorized");
    await left(worker, gateway, roleless, data);
  });

  test.run();
}
