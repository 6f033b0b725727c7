/** Turns of trainings that look for workers: one at a time, the oldest first. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { DilocoJobConfig } from "../../actors/config/config.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { nextTurn, passedMaxMs, patience } from "../../actors/scheduler/queue.ts";
import { formatJob, formatState, jobPath, statePath, weightsPath } from "../../actors/scheduler/training_record.ts";
import { emptyWatch } from "../../actors/training/watch.ts";
import { beginning, identityOf } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { configOf, startDaemon } from "../support/scheduler_world.ts";
import { submittedJob } from "../support/submission.ts";
import { revoked } from "../support/worker_world.ts";

const test = suite("turns of trainings");

const cases: readonly (readonly [
  name: string,
  turns: Omit<Parameters<typeof nextTurn>[0], "trainings">,
  now: number,
  expected: string | undefined,
])[] = [
  ["no training wants workers", { wanting: {}, queue: [], turn: undefined }, 0, undefined],
  ["the oldest goes first", { wanting: { b: 2, a: 1 }, queue: ["b", "a"], turn: undefined }, 3, "a"],
  ["one at a time", { wanting: { a: 1, b: 2 }, queue: ["b"], turn: "a" }, 3, undefined],
  ["a younger one passes one that rests", { wanting: { a: 0, b: 2 }, queue: ["b"], turn: undefined }, 599_999, "b"],
  ["but none that has waited", { wanting: { a: 0, b: 2 }, queue: ["b"], turn: undefined }, passedMaxMs, undefined],
  [
    "a training that has waited gets its turn",
    { wanting: { a: 0, b: 2 }, queue: ["b", "a"], turn: undefined },
    passedMaxMs,
    "a",
  ],
  [
    "one that ran before goes first all the same",
    { wanting: { a: 9, b: 2 }, queue: ["b", "a"], turn: undefined },
    9,
    "a",
  ],
  [
    "none passes another that has waited",
    { wanting: { a: 9, b: 0, c: 1 }, queue: ["c"], turn: undefined },
    passedMaxMs,
    undefined,
  ],
];
const trainings = { a: { queuedAt: 1 }, b: { queuedAt: 2 }, c: { queuedAt: 3 } };
for (const [name, turns, now, expected] of cases) {
  test(name, () => assert.is(nextTurn({ ...turns, trainings }, now), expected));
}

/** A daemon with trainings that have found their data set. */
const daemonWith = (...ids: readonly string[]) => daemonOf(configOf(1, 1).job, ...ids);

async function daemonOf(job: DilocoJobConfig, ...ids: readonly string[]) {
  const place = temporary();
  const daemon = await startDaemon(place.path);
  for (const id of ids) {
    daemon.submit(id, { ...job, dataset: `data-${id}` }, daemon.world.ports.now() + ids.indexOf(id));
    for (let tries = 0; tries < 200 && daemon.training(id)?.matches({ finding: "asking" }) !== true; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    daemon.found();
  }
  const phase = (id: string) => JSON.stringify(daemon.training(id)?.value);
  return { ...daemon, place, phase };
}

test("while one looks for workers the next waits; without an aggregator nothing is held for longer than five seconds", async () => {
  const { world, offer, live, phase, training, place, scheduler } = await daemonWith("t-a", "t-b");
  assert.equal([phase("t-a"), phase("t-b")], ['{"allocating":"trainers"}', '{"allocating":"queueing"}']);
  // bug: a clock that was set an hour forward made the oldest wait for more than ten minutes, and no younger one passed
  world.step(3_600_000);
  offer("w1");
  assert.is(phase("t-a"), '{"allocating":"aggregator"}');
  const took = world.ports.now();
  const trainers = () => Object.keys(training("t-a")?.context.training.trainers ?? {});
  assert.equal(trainers(), ["w1"]);
  while (trainers().length > 0) live(100);
  assert.ok(world.ports.now() - took <= patience.holdMs, `${world.ports.now() - took} ms`);
  const released = world.asks.flatMap((ask) => ask.type === "request" && "Release" in ask.message ? [ask.peer] : []);
  assert.equal(released, ["w1"]);
  assert.equal([phase("t-a"), phase("t-b")], ['{"allocating":"resting"}', '{"allocating":"trainers"}']);
  live(patience.holdMs);
  const rested = world.ports.now();
  while (phase("t-a") !== '{"allocating":"aggregator"}') {
    live(100);
    if (world.ports.now() - rested > patience.restMs[1]) throw new Error(`it rests on: ${phase("t-a")}`);
  }
  scheduler.stop();
  place.remove();
});

test("a training that has all its workers gives its turn to the next", async () => {
  const { offer, phase, dispatches, ask, place, scheduler, answerTraining, live } = await daemonWith("t-a", "t-b");
  offer("w1");
  offer("w2");
  assert.match(phase("t-a"), "dispatching");
  assert.is(phase("t-b"), '{"allocating":"trainers"}');
  assert.is((ask({ type: "status", id: "t-a" }).body as { state: string }).state, "running");
  assert.is((ask({ type: "status", id: "t-b" }).body as { state: string }).state, "queued");
  // The other's workers may be of the existing network: they could not tell two leases apart.
  offer("w1");
  assert.is(phase("t-b"), '{"allocating":"trainers"}');
  answerTraining("ours");
  live(1_000);
  offer("w1");
  assert.is(phase("t-b"), '{"allocating":"aggregator"}');
  assert.is(dispatches().length, 1);
  scheduler.stop();
  place.remove();
});

test("bug: a training that lost its aggregator before it began looked for another at the same time as the next one, outside of its turn", async () => {
  const { world, offer, phase, training, place, scheduler, live } = await daemonWith("t-a", "t-b");
  offer("w1");
  offer("w2");
  assert.equal([phase("t-a"), phase("t-b")], ['{"dispatching":"aggregator"}', '{"allocating":"trainers"}']);
  world.take("request");
  scheduler.send({ type: "peer.closed", peer: "w2", identity: identityOf("w2"), reason: revoked });
  assert.equal([phase("t-a"), phase("t-b")], ['{"allocating":"resting"}', '{"allocating":"trainers"}']);
  assert.equal(Object.keys(training("t-a")?.context.training.trainers ?? {}), [], "it holds nothing while it waits");
  const released = world.take("request").filter(({ message }) => "Release" in message).map(({ peer }) => peer);
  assert.ok(released.includes("w1"), released.join(" "));
  live(patience.holdMs + patience.restMs[0]);
  assert.match(phase("t-a"), /"(queueing|trainers|aggregator)"/, "it waits for its turn again");
  scheduler.stop();
  place.remove();
});

test("bug: two trainings took offers of one worker of the existing network at the same time", async () => {
  const { world, offer, say, phase, training, place, scheduler, live } = await daemonWith("t-a", "t-b");
  offer("w1");
  offer("w2");
  const known = world.asks.length;
  const request = world.asks.flatMap((ask) => ask.type === "publish" ? [ask.message.id] : []).at(-1) ?? "";
  say("w2", { WorkerOffer: { id: "again", request_id: request, price: 1, resources: none, timeout: at } });
  const asked = world.asks.slice(known).flatMap((ask) => ask.type === "request" ? [ask] : []);
  assert.equal(asked.map(({ protocol }) => protocol), ["/hypha-training/1"], "the question is whether it is of ours");
  live(5_000);
  assert.equal(Object.keys(training("t-b")?.context.training.trainers ?? {}), []);
  assert.match(phase("t-a"), "dispatching");
  scheduler.stop();
  place.remove();
});

test("bug: a lease whose acceptance was under way when the turn ended had no holder until it lapsed", async () => {
  const { world, say, phase, place, scheduler } = await daemonWith("t-a");
  world.pass(patience.holdMs - 500);
  const request = world.asks.flatMap((ask) => ask.type === "publish" ? [ask.message.id] : []).at(-1) ?? "";
  say("w1", { WorkerOffer: { id: "late", request_id: request, price: 1, resources: none, timeout: at } });
  world.pass(600);
  assert.is(phase("t-a"), '{"allocating":"resting"}');
  const released = world.asks.flatMap((ask) => ask.type === "request" && "Release" in ask.message ? [ask.message] : []);
  assert.equal(released, [{ Release: { lease: "late" } }]);
  scheduler.stop();
  place.remove();
});

const none = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
const at = { secs_since_epoch: 0, nanos_since_epoch: 0 };

test("a training under way seeks another member at its own pace, long after its turn", async () => {
  const folder = temporary();
  const weights = join(folder.path, "init.safetensors");
  writeFileSync(weights, encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]])));
  const { job } = configOf(1, 1);
  const { world, offer, live, phase, dispatches, scheduler, place } = await daemonOf({
    ...job,
    model: { weights, type: "image-classification", inputNames: ["x"] },
    rounds: { ...job.rounds, keepRounds: 1 },
  }, "t-a");
  offer("w1");
  offer("w2");
  for (const { accept } of dispatches()) accept();
  for (const { accept } of dispatches()) accept();
  assert.match(phase("t-a"), /"running"/);
  live(2 * patience.holdMs);
  scheduler.send({ type: "peer.closed", peer: "w1", identity: identityOf("w1"), reason: revoked });
  live(500);
  assert.match(phase("t-a"), /seekingTrainer/);
  world.take("publish");
  live(3_000);
  const asked = world.take("publish").length;
  assert.ok(asked >= 1 && asked <= 4, `${asked} requests in three seconds`);
  scheduler.stop();
  place.remove();
  folder.remove();
});

for (const [state, next] of [["running", "trainers"], ["queued", "queueing"]] as const) {
  test(`bug: time that a training ran counted as waiting, and after a restart no other got a turn (${state})`, async () => {
    const place = temporary();
    const folder = join(place.path, "trainings", "t-a");
    const at = beginning - 3_600_000;
    mkdirSync(folder, { recursive: true });
    writeFileSync(jobPath(folder), formatJob("t-a", at, submittedJob));
    writeFileSync(weightsPath(folder), encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]])));
    writeFileSync(statePath(folder), formatState({ state, reason: null, since: at, queuedAt: at }, emptyWatch));
    const daemon = await startDaemon(place.path);
    for (const id of ["t-a", "t-b"]) {
      if (id === "t-b") daemon.submit(id, configOf(1, 1).job);
      await eventually(`${id} looks for its data`, () => daemon.training(id)?.matches({ finding: "asking" }) === true);
      daemon.found();
    }
    const phases = () => ["t-a", "t-b"].map((id) => daemon.training(id)?.value);
    assert.equal(phases(), [{ allocating: "trainers" }, { allocating: "queueing" }], "the oldest goes first");
    daemon.live(patience.holdMs);
    assert.equal(phases(), [{ allocating: "resting" }, { allocating: next }]);
    daemon.scheduler.stop();
    place.remove();
  });
}

test.run();
