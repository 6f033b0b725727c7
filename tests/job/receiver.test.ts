/** Pushes that name what they belong to: each goes to its own training, run, job and round, or nowhere. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect, Option } from "effect";
import { makeJobNetworkHost } from "../../actors/job/job_network.ts";
import { networkOf } from "../../actors/job/training_network.ts";
import { writeStreamFile } from "../../actors/files/stream_file.ts";
import type { StreamHandle, TransportAsk, TransportFact } from "../../transport/port.ts";
import { decodeFileHead, encodeFileHead } from "../../transport/protocols/mod.ts";
import type { PushLabel, TrainingKey } from "../../transport/protocols/messages.ts";
import { holdOpen, openBytes, realPorts, runOf, streamPair } from "../support/job_world.ts";

const alice = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const one = "12D3KooWCofsHFCiPAZDDo4ZcRkzUZEkhuz3awyU9iHkhvf6LQPH";
const other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
const key = (scheduler: string, run = 1, id = "t-1"): TrainingKey => ({ scheduler, id, run });
const jobs = ["f4633ad1-6b37-4597-85a6-4e58a2117f5a", "0c3f1d0e-52ff-4a9b-9f0b-0e4d8a4f8f11"] as const;
const labelFor = ({ scheduler, id, run }: TrainingKey, round = 1, job: string = jobs[0]): PushLabel => ({
  scheduler,
  training: id,
  run,
  job,
  round,
});
const bytes = new TextEncoder().encode("seven");
const source = openBytes(bytes);

/** A worker's job network; a push with a label, or without one on the plain protocol. */
function host(now = Date.now) {
  const ports = { ...realPorts(), now };
  const asked: TransportAsk[] = [];
  const made = makeJobNetworkHost({ send: (ask) => void asked.push(ask) }, ports);
  let exchanges = 0;
  /** @param write In place of a whole file. */
  const push = (peer: string, label?: PushLabel, write?: (far: StreamHandle) => Effect.Effect<void, unknown>) => {
    const protocol = label === undefined ? "/hypha-tensor-stream/push" : "/hypha-tensor-stream/push/2";
    const exchange = `e-${++exchanges}`;
    made.offer({ type: "stream.received", exchange, peer, protocol } as Extract<
      TransportFact,
      { type: "stream.received" }
    >);
    const ask = asked.at(-1);
    if (ask?.type !== "stream.accept") return "rejected";
    const { near, far } = streamPair({ near: "me", far: peer }, protocol);
    Effect.runFork(Effect.ignore(write?.(far) ?? writeStreamFile(far, source, { idleMs: 2_000 }, label)));
    ask.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    return "accepted";
  };
  return { ...made, ports, push };
}
const arrives = (next: Effect.Effect<StreamHandle, unknown>) =>
  runOf(Effect.map(Effect.timeoutOption(Effect.orDie(next), 60), Option.isSome));

const test = suite("labels of pushes");

test("bug: a push of another scheduler's training was averaged in: the newer job of a sender got each", async () => {
  const { network, push, ports } = host();
  const first = await holdOpen(networkOf(network, key(one)).receive({ peers: [alice], round: 1 }));
  const second = await holdOpen(networkOf(network, key(other)).receive({ peers: [alice], round: 1 }));
  assert.is(push(alice, labelFor(key(one))), "accepted");
  assert.is(await arrives(first.value.next), true, "the older job, which it belongs to");
  assert.is(await arrives(second.value.next), false);
  push(alice, labelFor(key(other), 1, jobs[1]));
  assert.is(await arrives(second.value.next), true);
  assert.is(ports.reports.length, 0);
  assert.is(push(alice), "rejected", "without a label it cannot be told whose it is");
  await first.close();
  assert.is(push(alice), "accepted", "with one scheduler it can");
  await second.close();
});

const foreign: [name: string, label: PushLabel, reason: string][] = [
  ["another training", labelFor(key(one, 1, "t-2")), "another training"],
  ["the same name by another scheduler", labelFor(key(other)), "another training"],
  ["a lower run", labelFor(key(one, 1)), "run 1 instead of 2"],
  ["a higher run", labelFor(key(one, 3)), "run 3 instead of 2"],
  ["a past round", labelFor(key(one, 2), 3), "round 3 instead of 4"],
  ["a later round", labelFor(key(one, 2), 5), "round 5 instead of 4"],
  ["another job of the sender", labelFor(key(one, 2), 4, jobs[1]), "another job"],
];
for (const [name, label, reason] of foreign) {
  test(`a push of ${name} is refused and harms nothing`, async () => {
    const { network, push, ports } = host();
    const held = await holdOpen(networkOf(network, key(one, 2)).receive({ peers: [alice], round: 4 }));
    push(alice, labelFor(key(one, 2), 4));
    assert.is(await arrives(held.value.next), true);
    push(alice, label);
    assert.is(await arrives(held.value.next), false);
    const [refused] = ports.reports.filter(({ event }) => event === "push.refused");
    assert.is(refused?.fields?.["reason"], reason);
    assert.is(refused?.fields?.["code"], "push-mismatch");
    push(alice, labelFor(key(one, 2), 4));
    assert.is(await arrives(held.value.next), true, "its own is still taken");
    held.value.allow([alice], 5);
    push(alice, labelFor(key(one, 2), 5));
    assert.is(await arrives(held.value.next), true, "and that of the next round");
    await held.close();
  });
}

test("bug: each refused push was a line of the log; a member's are reported once a minute, with their number", async () => {
  let at = 0;
  const { network, push, ports } = host(() => at);
  const held = await holdOpen(networkOf(network, key(one, 2)).receive({ peers: [alice, other], round: 4 }));
  const refusals = () => ports.reports.filter(({ event }) => event === "push.refused");
  for (let round = 10; round < 15; round++) {
    push(alice, labelFor(key(one, 2), round));
    assert.is(await arrives(held.value.next), false);
  }
  push(other, labelFor(key(one, 2), 10));
  assert.is(await arrives(held.value.next), false);
  at = 60_000;
  push(alice, labelFor(key(one, 2), 20));
  assert.is(await arrives(held.value.next), false);
  assert.equal(refusals().map(({ fields = {} }) => [fields["peer"], fields["reason"], fields["untold"]]), [
    [alice, "round 10 instead of 4", 0],
    [other, "round 10 instead of 4", 0],
    [alice, "round 20 instead of 4", 4],
  ]);
  await held.close();
});

test("bug: of a push whose head arrives malformed nobody heard, and its round waited without end", async () => {
  const { network, push } = host();
  const held = await holdOpen(networkOf(network, key(one)).receive({ peers: [alice], round: 1 }));
  for (const head of [Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3), new Uint8Array(100_000).fill(0x20)]) {
    push(alice, labelFor(key(one)), (far) => Effect.andThen(far.write(head), far.end));
    assert.is(await arrives(held.value.next), true, "it is its sender's, and breaks while it is saved");
  }
  await held.close();
});

test("a job without a training takes no push with a label; what a job of a training sends names it", async () => {
  const asked: unknown[] = [];
  const { network, push } = host();
  const plain = await holdOpen(network.receive({ peers: [alice] }));
  push(alice, labelFor(key(one)));
  assert.is(await arrives(plain.value.next), false);
  await plain.close();
  const sending = networkOf({
    ...network,
    request: (_peer, _protocol, message) => {
      asked.push(message);
      return Effect.die("not answered");
    },
  }, key(one, 7));
  for (const message of [{ job_id: jobs[0], progress: "update" as const }]) {
    await runOf(Effect.exit(sending.request(alice, "/hypha-progress/0.0.1", message, 10)));
  }
  await runOf(Effect.exit(sending.request(alice, "/hypha-api/0.0.1", { Data: { dataset: "d" } }, 10)));
  assert.equal(asked, [
    { job_id: jobs[0], progress: "update", training: { id: "t-1", run: 7 } },
    { Data: { dataset: "d", training: { id: "t-1", run: 7 } } },
  ]);
});

test("a head with a label: whole or refused, and the plain one is what it was", () => {
  const label = { ...labelFor(key(one, 3), 9), samples: 640 };
  const head = { size: 5, label };
  const read = decodeFileHead(encodeFileHead(head));
  assert.equal(read._tag === "Success" && read.success?.head, head);
  assert.is(new TextDecoder().decode(encodeFileHead({ size: 5 }).subarray(8)), '{"size":5}');
  const text = '{"size":5,"training":"t-1","run":3}';
  const part = new Uint8Array([text.length, 0, 0, 0, 0, 0, 0, 0, ...new TextEncoder().encode(text)]);
  assert.is(decodeFileHead(part)._tag, "Failure");
});

test.run();
