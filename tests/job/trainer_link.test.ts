/** A trainer's link to its aggregator: updates that are kept and sent again, results that are taken in order. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWorkDirectory } from "../../actors/files/contained_files.ts";
import { readLabel } from "../../actors/files/labelled_stream.ts";
import { readStreamFile } from "../../actors/files/stream_file.ts";
import { handOver } from "../../actors/job/copy.ts";
import { makeJobNetworkHost } from "../../actors/job/job_network.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { trainerLinkOf } from "../../actors/job/effects.ts";
import type { SavedResult, TrainerLink } from "../../actors/job/trainer_link.ts";
import { networkOf } from "../../actors/job/training_network.ts";
import { type StreamHandle, type TransportAsk, TransportError } from "../../transport/port.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import { identityOf } from "../support/fake_transport.ts";
import { eventually, holdOpen, realPorts, streamPair, temporary } from "../support/job_world.ts";
import { trainSpec } from "../support/train_spec.ts";

const test = suite("trainer's link");
const scheduler = "12D3KooWA7SQJtmVh49Xoi1t8XGnSEvzWyAQrQN4qYw6RCU5hEj7";
const training = { scheduler, id: "t-1", run: 3 };
const job = "f4633ad1-6b37-4597-85a6-4e58a2117f5a";
const roles = (aggregator: string) => ({ aggregator, results: [aggregator] });
const spec = trainSpec({
  ...{ job, scheduler, aggregator: "agg-1" },
  training: { ...training, round: 4, rounds: 9, samples: 0 },
});

interface Pushed {
  readonly peer: string;
  readonly round: number | undefined;
  readonly samples: number | undefined;
  readonly text: string;
}

/** A link after round 4, over a transport that the test plays: `pushed` is what aggregators got. */
async function start() {
  const folder = temporary();
  const work = join(folder.path, "work");
  mkdirSync(work, { mode: 0o700 });
  const ports = realPorts();
  const pushed: Pushed[] = [];
  const rejected: string[] = [];
  const unreachable = new Set<string>();
  const incoming = new Map<string, StreamHandle>();
  const host = makeJobNetworkHost({ send: (ask: TransportAsk) => play(ask) }, ports);
  function play(ask: TransportAsk): void {
    if (ask.type === "stream.reject") rejected.push(ask.exchange);
    if (ask.type === "stream.accept") {
      ask.replyTo.send({ type: "stream.opened", id: ask.exchange, stream: incoming.get(ask.exchange) as StreamHandle });
    }
    if (ask.type !== "stream.open") return;
    if (unreachable.has(ask.peer)) {
      const error = new TransportError({ code: "not-connected", detail: "gone" });
      return ask.replyTo.send({ type: "stream.failed", id: ask.id, error });
    }
    const { near, far } = streamPair({ near: "trainer", far: ask.peer }, ask.protocol);
    ask.replyTo.send({ type: "stream.opened", id: ask.id, stream: near });
    Effect.runFork(Effect.gen(function* () {
      const { stream, label } = yield* readLabel(far, { idleMs: 5_000 });
      let text = "";
      yield* readStreamFile(stream, (piece) => Effect.sync(() => void (text += new TextDecoder().decode(piece))), {
        ...jobLimits,
      });
      yield* stream.end;
      pushed.push({ peer: ask.peer, round: label?.round, samples: label?.samples, text });
    }));
  }
  const network = networkOf(host.network, training);
  const held = await holdOpen(Effect.flatMap(openWorkDirectory(work), (directory) =>
    Effect.map(
      trainerLinkOf({ ports, job: { spec, network }, limits: { ...jobLimits, idleMs: 2_000 }, directory }),
      (link) => link as TrainerLink,
    )));
  let exchanges = 0;
  /** An aggregator sends the result of a round; whether the trainer's worker took it. */
  const result = async (peer: string, round: number, ofJob = 0): Promise<boolean> => {
    const exchange = `x${++exchanges}`;
    const { near, far } = streamPair({ near: "trainer", far: peer }, "/hypha-tensor-stream/push/2");
    incoming.set(exchange, near);
    host.offer({
      type: "stream.received",
      exchange,
      peer,
      identity: identityOf(peer),
      protocol: "/hypha-tensor-stream/push/2",
    });
    if (rejected.includes(exchange)) return false;
    const bytes = new TextEncoder().encode(`result ${round}`);
    const label: PushLabel = { scheduler, training: "t-1", run: 3, job: `${job.slice(0, -1)}${ofJob}`, round };
    const read = (into: Uint8Array, position: number) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + into.length);
        into.set(piece);
        return piece.length;
      });
    const file = { fd: -1, sizeBytes: bytes.length, read };
    const outcome = await Effect.runPromise(
      Effect.result(handOver(file, far, { ...jobLimits, acknowledgeMs: 2_000 }, label)),
    );
    return outcome._tag === "Success";
  };
  /** The executor takes the next result. */
  const take = async (): Promise<SavedResult> => {
    const next = await Effect.runPromise(held.value.next);
    held.value.handed(next);
    return next;
  };
  const write = (name: string, text: string) => writeFileSync(join(work, name), text);
  const end = async () => {
    await held.close();
    folder.remove();
  };
  return { link: held.value, work, ports, pushed, unreachable, result, take, write, end };
}

test("an update goes to another aggregator by itself, until the result of its round is here", async () => {
  const { link, pushed, result, take, write, end } = await start();
  write("u", "update 5");
  link.countSamples(40);
  await Effect.runPromise(link.send("u"));
  await eventually("the first has it", () => pushed.length === 1);
  link.change(roles("agg-2"));
  await eventually("the second has it", () => pushed.length === 2);
  assert.equal(pushed, ["agg-1", "agg-2"].map((peer) => ({ peer, round: 5, samples: 40, text: "update 5" })));
  assert.not.ok(await result("agg-1", 5), "the first one is no aggregator any more");
  assert.ok(await result("agg-2", 5));
  assert.is((await take()).round, 5);
  link.change(roles("agg-3"));
  write("u", "update 6");
  assert.is(await Effect.runPromise(link.applied()), 5);
  await Effect.runPromise(link.send("u"));
  await eventually("the third has the next one", () => pushed.length === 3);
  assert.equal(pushed[2], { peer: "agg-3", round: 6, samples: 0, text: "update 6" }, "and not the one before");
  await end();
});

test("bug: where the same worker aggregated again, it was not sent the update, and its results were refused", async () => {
  const { link, pushed, result, take, write, end } = await start();
  assert.ok(await result("agg-1", 5, 0));
  await take();
  await Effect.runPromise(link.applied());
  write("u", "update 6");
  await Effect.runPromise(link.send("u"));
  await eventually("it has it", () => pushed.length === 1);
  assert.not.ok(await result("agg-1", 6, 1), "another job of a worker that did not change");
  link.change(roles("agg-1"));
  await eventually("it has it again", () => pushed.length === 2);
  assert.ok(await result("agg-1", 6, 1));
  await end();
});

test("an update that reaches no aggregator reaches the next one", async () => {
  const { link, ports, pushed, unreachable, write, end } = await start();
  unreachable.add("agg-1");
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  await eventually("it is reported", () => ports.reports.some(({ event }) => event === "job.send.failed"));
  link.change(roles("agg-2"));
  await eventually("the second has it", () => pushed.length === 1);
  assert.is(pushed[0]?.text, "update 5");
  await end();
});

test("bug: a job ended between two tries of its last update, which was lost; what the end cuts is reported", async () => {
  const { link, ports, pushed, unreachable, write, end } = await start();
  const reasons = () =>
    ports.reports.filter(({ event }) => event === "job.send.failed").map(({ fields }) => fields?.["reason"]);
  unreachable.add("agg-1");
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  await eventually("it failed once", () => reasons().length === 1);
  unreachable.clear();
  await Effect.runPromise(link.idle);
  assert.equal(pushed.map(({ text }) => text), ["update 5"]);
  unreachable.add("agg-2");
  link.change(roles("agg-2"));
  await eventually("it failed again", () => reasons().length === 2);
  await end();
  assert.match(String(reasons()[2]), /its job ended first/);
});

test("bug: what the end of a job cut was logged on debug where a try had failed before", async () => {
  const { ports, link, unreachable, write, end } = await start();
  const warned = () =>
    ports.reports.filter(({ level }) => level === "warn").map(({ event, fields }) => [event, fields?.["error"]]);
  unreachable.add("agg-1");
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  await eventually("it failed once", () => warned().length === 1);
  await end();
  assert.equal(warned(), [["job.send.failed", "not-connected"], ["job.send.failed", "cancelled"]]);
});

test("results are taken before the executor receives, in order, and each is handed over", async () => {
  const { link, work, result, take, end } = await start();
  assert.not.ok(await result("agg-1", 6), "5 comes first");
  assert.ok(await result("agg-1", 5));
  assert.not.ok(await result("agg-1", 5), "once");
  assert.ok(await result("agg-1", 6));
  link.receiveInto("elsewhere");
  assert.ok(await result("agg-1", 7));
  const taken = [await take(), await take(), await take()];
  assert.equal(taken.map(({ path }) => path), [
    "incoming/round-5.safetensors",
    "incoming/round-6.safetensors",
    "elsewhere/round-7.safetensors",
  ]);
  for (const { path, round } of taken) assert.is(readFileSync(join(work, path), "utf8"), `result ${round}`);
  assert.is(await Effect.runPromise(link.applied()), 7);
  await end();
});

test("bug: each result stayed in the work directory, which ended long trainings at its limit", async () => {
  const { link, work, result, take, write, end } = await start();
  const kept = () => readdirSync(join(work, "incoming")).sort();
  for (const round of [5, 6]) {
    write("u", `update ${round}`);
    await Effect.runPromise(link.send("u"));
    assert.ok(await result("agg-1", round));
    await take();
    assert.equal(kept(), [`round-${round}.safetensors`], "the executor may read it until it reports");
    assert.is(await Effect.runPromise(link.applied()), round);
    assert.equal(kept(), []);
  }
  await end();
});

test("a result that came as the executor reported is kept until the report of the next update", async () => {
  const { link, work, result, take, write, end } = await start();
  const kept = () => readdirSync(join(work, "incoming")).sort();
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  for (const round of [5, 6]) {
    assert.ok(await result("agg-1", round));
    await take();
  }
  for (const report of ["the first", "its repetition"]) {
    await Effect.runPromise(link.applied());
    assert.equal(kept(), ["round-6.safetensors"], report);
  }
  write("u", "update 7");
  await Effect.runPromise(link.send("u"));
  assert.ok(await result("agg-1", 7));
  await take();
  await Effect.runPromise(link.applied());
  assert.equal(kept(), ["round-7.safetensors"]);
  await end();
});

test("bug: a result that came after the executor's last look counted as added", async () => {
  const { link, work, pushed, result, take, write, end } = await start();
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  await eventually("it is sent", () => pushed.length === 1);
  for (const round of [5, 6]) {
    assert.ok(await result("agg-1", round));
    await take();
  }
  assert.equal([3, 4, 5, 6, 7].map((round) => link.mayHave(round)), [false, true, true, true, false]);
  for (const report of ["the first", "its repetition"]) {
    assert.is(await Effect.runPromise(link.applied(5)), 5, report);
    assert.equal(readdirSync(join(work, "incoming")), ["round-6.safetensors"], report);
  }
  await Effect.runPromise(link.send("u"));
  await eventually("it is sent", () => pushed.length === 2);
  assert.is(pushed[1]?.round, 6, "it begins from the parameters of round 5");
  assert.is(await Effect.runPromise(link.applied(6)), 6);
  assert.equal(readdirSync(join(work, "incoming")), []);
  await end();
});

test("parameters of a later round make the results up to it void, and the next one is taken", async () => {
  const { link, work, result, take, write, end } = await start();
  assert.ok(await result("agg-1", 5));
  assert.ok(await result("agg-1", 6));
  await Effect.runPromise(link.begin(5));
  assert.not.ok(existsSync(join(work, "incoming/round-5.safetensors")));
  assert.is((await take()).round, 6);
  await Effect.runPromise(link.begin(9));
  assert.not.ok(await result("agg-1", 7));
  assert.ok(await result("agg-1", 10));
  write("u", "update 10");
  await Effect.runPromise(link.send("u"));
  assert.equal([(await take()).round, await Effect.runPromise(link.applied())], [10, 10]);
  assert.equal(readdirSync(join(work, "incoming")).sort(), ["round-10.safetensors"]);
  await end();
});

test("an update of parameters that are older than the newest result says so", async () => {
  const { link, pushed, result, take, write, end } = await start();
  assert.ok(await result("agg-1", 5));
  write("u", "late");
  await Effect.runPromise(link.send("u"));
  await eventually("it is sent", () => pushed.length === 1);
  assert.is(pushed[0]?.round, 5, "its executor has not applied the result of round 5");
  await take();
  assert.is(await Effect.runPromise(link.applied()), 5);
  await end();
});

test("bug: sending a file that does not exist dropped the update before it, which no other aggregator got", async () => {
  const { link, ports, pushed, unreachable, write, end } = await start();
  unreachable.add("agg-1");
  write("u", "update 5");
  await Effect.runPromise(link.send("u"));
  await eventually("it failed once", () => ports.reports.some(({ event }) => event === "job.send.failed"));
  const outcome = await Effect.runPromise(Effect.result(link.send("nothing")));
  assert.ok(outcome._tag === "Failure" && outcome.failure._tag === "WorkFileFailed");
  link.change(roles("agg-2"));
  await eventually("the second has it", () => pushed.length === 1);
  assert.is(pushed[0]?.text, "update 5");
  await end();
});

test("a file that is not there", async () => {
  const { link, end } = await start();
  const outcome = await Effect.runPromise(Effect.result(link.send("nothing")));
  assert.ok(outcome._tag === "Failure" && outcome.failure._tag === "WorkFileFailed");
  await end();
});

test.run();
