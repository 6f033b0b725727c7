/** The probe's machine against scripted transports: every way to an outcome, and that it always leaves. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, fromCallback, SimulatedClock } from "xstate";
import { leaveTimeoutMs, probeMachine, type ProbeOutcome } from "../../actors/node/probe.ts";
import type { Role } from "../../pki/certificate.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { HungUp, PeerIdMismatch } from "../../pki/refusal.ts";
import { type TransportAsk, TransportError, type TransportFact, type TransportInput } from "../../transport/port.ts";

type Ask = TransportAsk["type"];
/** What a scripted transport does when it is asked; what it has no line for stays unanswered. */
type Script = Partial<
  { [A in Ask]: (ask: Extract<TransportAsk, { type: A }>, say: (fact: TransportFact) => void) => void }
>;

const timeoutMs = 2_000;

function probe(script: Script, address = "/x") {
  const asked: Ask[] = [];
  const clock = new SimulatedClock();
  const logic = fromCallback<TransportAsk, TransportInput>(({ receive, sendBack }) => {
    receive((ask) => {
      asked.push(ask.type);
      queueMicrotask(() => script[ask.type]?.(ask as never, sendBack));
    });
  });
  const input = {
    ports: { uuid: () => "id", now: () => 1_000 + clock.now() },
    logic,
    transport: {} as TransportInput,
    address,
    timeoutMs,
  };
  const actor = createActor(probeMachine, { input, clock });
  actor.start();
  return { actor, asked, clock, outcome: () => actor.getSnapshot().output as ProbeOutcome | undefined };
}

const settle = async () => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
};

const start: Script["start"] = ({ replyTo }) => replyTo.send({ type: "listening", addresses: [], bound: [], left: [] });
const dial: Script["dial"] = ({ id, replyTo }) => replyTo.send({ type: "dial.done", id, peer: "P" });
const drain: Script["drain"] = ({ replyTo }) => replyTo.send({ type: "drained" });
const answer = (message: object): NonNullable<Script["request"]> => ({ id, replyTo }) =>
  replyTo.send({ type: "response", id, message: message as never });
const error = new TransportError({ code: "stream-reset", detail: "gone" });

const cases: [name: string, script: Script, expected: ProbeOutcome["type"]][] = [
  ["a healthy node", { start, dial, request: answer({ healthy: true }), drain }, "healthy"],
  ["a worker with its cell", { start, dial, request: answer({ healthy: true, cell: "full" }), drain }, "healthy"],
  ["a node that is not ready", { start, dial, request: answer({ healthy: false }), drain }, "unhealthy"],
  ["an answer that says nothing", { start, dial, request: answer({}), drain }, "unhealthy"],
  [
    "a refusal",
    {
      start,
      dial: ({ id, replyTo }) => replyTo.send({ type: "dial.failed", id, refusal: new HungUp({ detail: "x" }) }),
      drain,
    },
    "refused",
  ],
  [
    "no answer",
    { start, dial, request: ({ id, replyTo }) => replyTo.send({ type: "request.failed", id, error }), drain },
    "unanswered",
  ],
  ["a transport that does not start", {
    start: ({ replyTo }) => replyTo.send({ type: "transport.failed", error }),
    drain,
  }, "failed"],
  [
    "a transport that fails on the way",
    { start, dial: (_, say) => say({ type: "transport.failed", error }), drain },
    "failed",
  ],
];

const test = suite("probeMachine");

test("a node of another key than the address names is asked at its address; who answered is told", async () => {
  const targets: unknown[] = [];
  const { outcome } = probe({
    start,
    dial: ({ id, target, replyTo }) => {
      targets.push(target);
      if (targets.length > 1) return replyTo.send({ type: "dial.done", id, peer: "NEW" });
      replyTo.send({ type: "dial.failed", id, refusal: new PeerIdMismatch({ expected: "OLD", actual: "NEW" }) });
    },
    request: answer({ healthy: true }),
    drain,
  }, "/ip4/127.0.0.1/tcp/1/p2p/OLD");
  await settle();
  assert.equal(targets, [{ address: "/ip4/127.0.0.1/tcp/1/p2p/OLD" }, { address: "/ip4/127.0.0.1/tcp/1" }]);
  assert.equal(outcome(), { type: "healthy", peer: "NEW", latencyMs: 0, cell: undefined });
});

for (const [name, script, expected] of cases) {
  test(`${name} is ${expected}, and the transport is drained`, async () => {
    const { actor, asked, outcome } = probe(script);
    await settle();
    assert.is(actor.getSnapshot().status, "done");
    assert.is(outcome()?.type, expected);
    assert.is(asked.at(-1), "drain");
  });
}

for (
  const [during, script] of [["the handshake", { start, drain }], ["its answer", { start, dial, drain }], [
    "the handshake",
    { drain },
  ]] as const
) {
  test(`gives up when the time is over, waiting for ${during} (${Object.keys(script).length} answers)`, async () => {
    const { actor, clock, outcome } = probe(script);
    await settle();
    clock.increment(timeoutMs - 1);
    await settle();
    assert.is(actor.getSnapshot().status, "active", "a millisecond before it waits");
    clock.increment(1);
    await settle();
    assert.equal(outcome(), { type: "timed-out", during, timeoutMs });
  });
}

test("does not wait for ever for a transport that does not drain", async () => {
  const { actor, clock, outcome } = probe({ start, dial, request: answer({ healthy: true }) });
  await settle();
  assert.is(actor.getSnapshot().status, "active");
  clock.increment(leaveTimeoutMs);
  assert.is(outcome()?.type, "healthy");
});

test("says who answered, by its certificate, and after how long; of a relay before it nothing", async () => {
  const established = (peer: string, name: string, role: Role): TransportFact => ({
    type: "peer.established",
    peer,
    identity: { peer, name, role } as PeerIdentity,
  });
  const { actor, clock, outcome } = probe({
    start,
    dial: (ask, say) => {
      say(established("RELAY", "gateway-01", "gateway"));
      say(established("P", "worker-01", "worker"));
      dial?.(ask, say);
    },
    request: ({ id, replyTo }) => {
      clock.increment(7);
      replyTo.send({ type: "response", id, message: { healthy: false } as never });
    },
    drain,
  });
  await settle();
  assert.is(actor.getSnapshot().status, "done");
  assert.equal(outcome(), { type: "unhealthy", peer: "P", name: "worker-01", role: "worker", latencyMs: 7 });
});

test("says whom it refused, where a certificate was seen", async () => {
  const refusal = new HungUp({ detail: "x" });
  const { outcome } = probe({
    start,
    dial: ({ id, replyTo }, say) => {
      say({ type: "peer.refused", address: "/x", direction: "outbound", peer: { name: "other", id: "O" }, refusal });
      replyTo.send({ type: "dial.failed", id, refusal });
    },
    drain,
  });
  await settle();
  assert.equal(outcome(), { type: "refused", refusal, presented: { peer: "O", name: "other" } });
});

test("ignores the transport's facts", async () => {
  const { outcome } = probe({
    start: (ask, say) => {
      say({ type: "dht.ready" });
      say({ type: "reachable", addresses: [] });
      start?.(ask, say);
    },
    dial,
    request: answer({ healthy: true }),
    drain,
  });
  await settle();
  assert.is(outcome()?.type, "healthy");
});

test.run();
