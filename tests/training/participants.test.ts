/** Which workers are leased at the start of a training, and which are leased again after a failure. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { offersInMs } from "../../actors/training/allocation.ts";
import { monotonicNow } from "../../actors/runtime/ports.ts";
import type { KnownTraining } from "../../actors/scheduler/training_record.ts";
import { runningTrainings } from "../../actors/scheduler/scheduler_setup.ts";
import { stateNow } from "../../actors/scheduler/status.ts";
import { restMs } from "../../actors/training/training_setup.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { failedWith, identityOf, requestFrom } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { configIn, recordOf, tensors, trained } from "../support/kept_training.ts";
import { configOf, resources, startScheduler, training } from "../support/scheduler_world.ts";

const test = suite("workers that are leased again");

test("a worker that failed rests, and is leased again afterwards", async () => {
  const folder = temporary();
  const { actor, live, offer, world } = await trained(configIn(folder.path, 3));
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  live(restMs - 1_000);
  offer("a");
  assert.equal(trainers(), [], "it rests");
  live(30_000);
  offer("a");
  assert.equal(trainers(), ["a"]);
  assert.equal(world.reported("allocation.forgiven").map(({ forgiven }) => forgiven), [["a"]]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

const deadlineMs = configOf(1, 1).job.aggregation.roundDeadlineS * 1_000;

test("bug: workers that ended their jobs at once, one after the other, kept an aggregator that stood still for ever", async () => {
  const folder = temporary();
  const { actor, live, offer, join, progress, world } = await trained(configIn(folder.path, 3, 2), ["a", "b"]);
  actor.send({ type: "participant.lost", peer: "b", reason: "test" });
  progress("a", "update");
  let leased = 0;
  const lost = () => world.reported("aggregator.lost").map(({ peer }) => peer);
  for (let passed = 0; passed < 2 * deadlineMs + 60_000 && lost().length === 0; passed += 30_000) {
    const peer = `h-${passed}`;
    live(1_000);
    offer(peer);
    live(1_000);
    join();
    if (actor.getSnapshot().context.training.trainers[peer]?.state === "running") leased++;
    actor.send({ type: "participant.lost", peer, reason: "its job ended before the last round" });
    progress("a", "update");
    live(28_000);
  }
  assert.ok(leased > 30, `${leased}`);
  assert.equal(world.reported("round.stalled").map(({ peer }) => peer), ["s"]);
  assert.equal(lost(), ["s"]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

const rests: [name: string, waitS: number | undefined, times: readonly number[]][] = [
  ["twice as long each time, and no longer than sixteen times", undefined, [1, 2, 4, 8, 16, 16]],
  ["no longer than half of the wait for workers", 120, [1, 2, 3, 3]],
];
for (const [name, waitS, timesOfRest] of rests) {
  test(`a worker that fails again and again rests ${name}`, async () => {
    const folder = temporary();
    const config = configIn(folder.path, 3);
    const job = config.job!;
    const resources = { ...job.resources, ...(waitS === undefined ? {} : { waitS }) };
    const { actor, live, offer, world } = await trained({ ...config, job: { ...job, resources } });
    const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
    for (const times of timesOfRest) {
      assert.equal(trainers(), ["a"]);
      actor.send({ type: "participant.lost", peer: "a", reason: "test" });
      live(times * restMs - 1_000);
      offer("a");
      assert.equal(trainers(), [], `it rests ${times} times as long`);
      live(32_000);
      offer("a");
    }
    assert.equal(trainers(), ["a"]);
    assert.is(world.reported("trainer.lost").length, timesOfRest.length);
    actor.send({ type: "role.drain" });
    folder.remove();
  });
}

test("bug: a trainer that held a round for two deadlines was leased again after twenty seconds, and held the next one", async () => {
  const folder = temporary();
  const { actor, live, progress, say, jobs, run, world } = await trained(configIn(folder.path, 3, 2), ["a", "b"]);
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  const job_id = jobs.find(({ peer }) => peer === "b")?.spec.job_id ?? "";
  progress("a", "update");
  for (let passed = 0; trainers().includes("b"); passed += 10_000) {
    assert.ok(passed <= 2 * deadlineMs + 20_000);
    say("b", { job_id, progress: { status: { batch_size: 0 } }, training: run });
    live(10_000);
  }
  const restsUntil = actor.getSnapshot().context.excluded["b"] ?? 0;
  assert.ok(restsUntil - monotonicNow(world.ports) > 2 * deadlineMs - 20_000, "it rests as long as it was waited for");
  actor.send({ type: "role.drain" });
  folder.remove();
});

/** The data node connects, or its last connection closes. */
const dataNode = ({ actor }: Pick<Awaited<ReturnType<typeof trained>>, "actor">) => {
  const of = { peer: "data", identity: identityOf("data", "data") } as const;
  return {
    come: () => actor.send({ type: "peer.established", ...of }),
    go: () => actor.send({ type: "peer.closed", ...of, reason: { type: "lost", detail: "gone" } }),
  };
};
const stateOf = ({ scheduler }: Pick<Awaited<ReturnType<typeof trained>>, "scheduler">) => {
  const [running] = runningTrainings(scheduler);
  return running && stateNow({ state: "running" } as KnownTraining, running);
};

/** A training of two trainers, one of which is behind, and its data node. */
async function behind(waitS?: number) {
  const folder = temporary();
  const config = configIn(folder.path, 3, 2);
  const job = config.job!;
  const resources = { ...job.resources, ...(waitS === undefined ? {} : { waitS }) };
  const started = await trained({ ...config, job: { ...job, resources } }, ["a", "b"]);
  const { actor, idle, progress, world } = started;
  const { come, go } = dataNode(started);
  come();
  for (const peer of ["a", "b"]) idle.set(peer, 0);
  progress("a", "update");
  const lost = () => [...world.reported("trainer.lost"), ...world.reported("aggregator.lost")].map(({ peer }) => peer);
  const state = () => stateOf(started);
  const stop = () => {
    actor.send({ type: "role.drain" });
    folder.remove();
  };
  return { ...started, come, go, lost, state, stop };
}

test("bug: trainers that waited for a data node that was away were lost, and rested for as long as it had been away", async () => {
  const { come, go, live, lost, state, world, stop } = await behind();
  go();
  live(3 * deadlineMs);
  assert.equal([lost(), world.reported("round.stalled")], [[], []]);
  assert.equal([state(), world.reported("training.paused").map(({ peer }) => peer)], ["paused", ["data"]]);
  come();
  assert.is(state(), "running");
  live(2 * deadlineMs - 20_000);
  assert.equal(lost(), [], "it is not held against them");
  live(40_000);
  assert.equal(lost(), ["b"], "the data node is there");
  stop();
});

for (const part of [1 / 10, 1 / 2, 1]) {
  test(`bug: without its data node a training was not paused where wait_s is ${part} of the round's deadline`, async () => {
    const { come, go, live, lost, state, world, stop } = await behind(part * deadlineMs / 1_000);
    const events = () => ["training.paused", "training.resumed"].map((event) => world.reported(event).length);
    go();
    live(deadlineMs - 20_000);
    assert.equal([state(), events()], ["running", [0, 0]]);
    live(40_000);
    assert.equal([state(), events(), lost()], ["paused", [1, 0], []]);
    come();
    assert.equal([state(), events()], ["running", [1, 1]]);
    live(20_000);
    assert.equal([state(), events()], ["running", [1, 1]]);
    stop();
  });
}

const pausesOf = ({ world }: Pick<Awaited<ReturnType<typeof behind>>, "world">) =>
  ["training.paused", "training.resumed"].map((event) => world.reported(event).map(({ peer }) => peer));

test("bug: a record that named another data node ended the pause before that node was there", async () => {
  const started = await behind();
  const { actor, go, live, lost, state, stop } = started;
  go();
  live(deadlineMs + 20_000);
  const identity = identityOf("data-2", "data");
  const lookup = actor.getSnapshot().context.lookups;
  actor.send({ type: "dataset.answered", lookup, answer: { ...recordOf(3), publisher: "data-2", identity } });
  assert.equal([state(), pausesOf(started)], ["paused", [["data", "data-2"], []]], "the cause is another node");
  live(3 * deadlineMs);
  assert.equal([state(), pausesOf(started), lost()], ["paused", [["data", "data-2"], []], []]);
  actor.send({ type: "peer.established", peer: "data-2", identity });
  live(20_000);
  assert.equal([state(), pausesOf(started)[1]?.length], ["running", 1]);
  stop();
});

test("bug: a round that no longer waited for the data node was paused until it was finished", async () => {
  const started = await behind();
  const { come, go, live, progress, state, stop } = started;
  go();
  live(deadlineMs + 20_000);
  progress("b", "update");
  live(20_000);
  assert.equal([state(), pausesOf(started).map(({ length }) => length)], ["running", [1, 1]], "its aggregator has all");
  live(20_000);
  come();
  assert.equal([state(), pausesOf(started).map(({ length }) => length)], ["running", [1, 1]]);
  stop();
});

test("bug: a training that was paused for two causes went on when the first of them was gone", async () => {
  for (const first of ["data", "disk"] as const) {
    const started = await behind();
    const { actor, come, go, live, state, stop } = started;
    const lengths = () => pausesOf(started).map(({ length }) => length);
    go();
    live(deadlineMs + 20_000);
    // The model store says itself that its disk is full, and that there is room.
    actor.send({ type: "model.paused", isPaused: true });
    assert.equal([state(), lengths()], ["paused", [1, 0]]);
    if (first === "data") come();
    else actor.send({ type: "model.paused", isPaused: false });
    live(20_000);
    assert.equal(
      [state(), lengths()],
      ["paused", first === "data" ? [1, 0] : [2, 0]],
      "the other cause is still there",
    );
    if (first === "disk") come();
    else actor.send({ type: "model.paused", isPaused: false });
    live(20_000);
    assert.equal([state(), lengths()], ["running", first === "data" ? [1, 0] : [2, 1]]);
    stop();
  }
});

test("bug: a training whose data node had left before its rounds began was never reported as paused", async () => {
  const folder = temporary();
  const started = startScheduler(configIn(folder.path, 3, 2));
  const { world, actor, offer, dispatches, live, idle } = started;
  const { come, go } = dataNode(started);
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  come();
  go();
  live(2 * deadlineMs);
  for (let turn = 0; turn < 5; turn++) {
    offer("a", "b");
    offer("s");
    for (const { accept } of dispatches()) accept();
    live(500);
  }
  for (const peer of ["a", "b"]) idle.set(peer, 0);
  assert.is(stateOf(started), "running", "no trainer has waited yet");
  live(3 * deadlineMs);
  assert.equal([stateOf(started), world.reported("training.paused").length], ["paused", 1]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a training that finished its rounds was shown as paused while the data node was away", async () => {
  const folder = temporary();
  const started = await trained(configIn(folder.path, 9), ["a"]);
  const { actor, idle, live, progress, push, world } = started;
  const { come, go } = dataNode(started);
  idle.set("a", 0);
  come();
  go();
  const round = async (number: number) => {
    progress("a", "update");
    progress("s", "updated");
    assert.ok(await push(tensors(1, 1), `r${number}`));
    progress("a", "update-received", { round: number });
  };
  for (let number = 1; number <= 4; number++) {
    live(deadlineMs / 3);
    await round(number);
    assert.is(stateOf(started), "running");
  }
  assert.equal(world.reported("training.paused"), []);
  live(deadlineMs + 20_000);
  assert.equal([stateOf(started), world.reported("training.paused").length], ["paused", 1]);
  await round(5);
  assert.is(stateOf(started), "running");
  live(20_000);
  assert.is(world.reported("training.resumed").length, 1);
  live(deadlineMs + 20_000);
  come();
  live(20_000);
  assert.equal([world.reported("training.paused").length, world.reported("training.resumed").length], [2, 2]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("while the data node is away the aggregator is waited for as before; trainers that are behind are lost once wait_s is over", async () => {
  const sent = await behind();
  sent.go();
  sent.progress("b", "update");
  sent.live(2 * deadlineMs + 20_000);
  assert.equal(sent.lost(), ["s"]);
  sent.stop();
  const waitS = deadlineMs / 1_000;
  const { go, live, lost, stop } = await behind(waitS);
  go();
  live(deadlineMs + 2 * deadlineMs - 20_000);
  assert.equal(lost(), []);
  live(40_000);
  assert.equal(lost(), ["b"]);
  stop();
});

/** A training of `a`, and of a newcomer `h` that took the place of another; `round` has all but the newcomer finish a round. */
async function withNewcomer() {
  const folder = temporary();
  const started = await trained(configIn(folder.path, 9, 2), ["a", "b"]);
  const { actor, idle, live, offer, progress, push } = started;
  actor.send({ type: "participant.lost", peer: "b", reason: "test" });
  for (const peer of ["a", "h"]) idle.set(peer, 0);
  live(1_000);
  offer("h");
  let rounds = 0;
  const round = async () => {
    rounds += 1;
    progress("a", "update");
    progress("s", "updated");
    assert.ok(await push(tensors(1, 1), `r${rounds}`));
    progress("a", "update-received", { round: rounds });
  };
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  assert.equal(trainers(), ["a", "h"]);
  const stop = () => {
    actor.send({ type: "role.drain" });
    folder.remove();
  };
  return { ...started, round, trainers, stop };
}

for (const confirms of [false, true]) {
  const what = confirms
    ? "a newcomer that confirms late stays"
    : "bug: a newcomer that confirmed no result stayed for ever";
  test(what, async () => {
    const { actor, join, live, progress, round, trainers, stop, world } = await withNewcomer();
    join();
    const newcomer = () => actor.getSnapshot().context.training.trainers["h"];
    assert.equal([newcomer()?.state, newcomer()?.isCounted], ["running", false]);
    for (let passed = 0; passed < 2 * deadlineMs; passed += deadlineMs / 2) {
      live(deadlineMs / 2 + 10_000);
      if (passed === deadlineMs) await round();
    }
    await round();
    live(2 * deadlineMs - 20_000);
    assert.equal(
      trainers(),
      ["a", "h"],
      "it may have taken its parameters a moment before: its first result is this one",
    );
    if (confirms) progress("h", "update-received", { round: 2 });
    assert.is(newcomer()?.isCounted, confirms);
    await round();
    assert.equal(trainers(), confirms ? ["a", "h"] : ["a"]);
    const reasons = world.reported("trainer.lost").slice(1).map(({ reason }) => reason);
    assert.equal(reasons.length, confirms ? 0 : 1);
    stop();
  });
}

test("bug: a worker that was lost and leased again got its job before its aggregator took the list that names it again", async () => {
  const { actor, dispatches, join, live, offer, trainers, stop } = await withNewcomer();
  join();
  actor.send({ type: "participant.lost", peer: "h", reason: "test" });
  assert.equal(dispatches().map(({ peer }) => peer), ["s"], "its aggregator has to forget it");
  live(restMs + 30_000);
  offer("h");
  assert.equal(trainers(), ["a", "h"]);
  const list = dispatches();
  assert.equal(list.map(({ peer }) => peer), ["s"], "the aggregator takes the list first");
  list[0]?.accept();
  assert.equal(dispatches().map(({ peer }) => peer), ["h"]);
  stop();
});

test("bug: a newcomer that its aggregator never took stayed for ever", async () => {
  const { actor, dispatches, live, round, trainers, stop, world } = await withNewcomer();
  const leaveUnanswered = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      for (const { drop } of dispatches()) drop();
      live(10_000);
    }
  };
  leaveUnanswered(deadlineMs);
  await round();
  leaveUnanswered(deadlineMs - 20_000);
  assert.equal(trainers(), ["a", "h"]);
  leaveUnanswered(50_000);
  assert.equal(trainers(), ["a"]);
  const restsMs = (actor.getSnapshot().context.excluded["h"] ?? 0) - monotonicNow(world.ports);
  assert.ok(restsMs <= restMs, `it may be the aggregator that is at fault: ${restsMs}`);
  stop();
});

test("a worker whose update was rejected is not leased again in this run, under no key; one that is missing is", async () => {
  for (const outcome of ["rejected", "missing"] as const) {
    const folder = temporary();
    const { actor, live, offer, say, jobs, run } = await trained(configIn(folder.path, 3));
    const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
    const report = { round: 1, members: [{ peer: "a", outcome, code: "norm", detail: "14 times" }] };
    const job_id = jobs.find(({ peer }) => peer === "s")?.spec.job_id ?? "";
    if (outcome === "rejected") {
      say("s", { job_id, progress: { metrics: { round: 1, metrics: {} } }, report, training: run });
    } else say("s", { job_id, progress: "updated", report, training: run });
    live(1_000);
    assert.equal(trainers(), []);
    live(3 * restMs);
    for (const peer of ["a", identityOf("a-2", undefined, "a.name")]) {
      offer(peer);
      live(1_100);
    }
    assert.equal(trainers(), outcome === "rejected" ? [] : ["a"]);
    offer("b");
    if (outcome === "rejected") assert.equal(trainers(), ["b"]);
    actor.send({ type: "role.drain" });
    folder.remove();
  }
});

test("bug: a worker whose update was rejected was leased again where it ended its job before the verdict took effect", async () => {
  for (const outcome of ["rejected", "missing"] as const) {
    const folder = temporary();
    const { actor, world, live, offer, say, jobs, run } = await trained(configIn(folder.path, 3));
    const report = { round: 1, members: [{ peer: "a", outcome, code: "norm" }] };
    const job_id = jobs.find(({ peer }) => peer === "s")?.spec.job_id ?? "";
    const progress = { metrics: { round: 1, metrics: {} } };
    for (let times = 0; times < 2; times++) say("s", { job_id, progress, report, training: run });
    const task_id = jobs.find(({ peer }) => peer === "a")?.taskId ?? "";
    say("a", { JobStatus: { task_id, status: { type: "Failed", reason: "bye" } } });
    assert.equal(world.reported("trainer.lost").map(({ peer }) => peer), ["a"]);
    live(3 * restMs);
    offer("a");
    live(1_100);
    const { training: { trainers }, barred } = actor.getSnapshot().context;
    assert.equal([Object.keys(trainers), barred.length], outcome === "rejected" ? [[], 1] : [["a"], 0]);
    actor.send({ type: "role.drain" });
    folder.remove();
  }
});

test("a trainer that its aggregator says is absent is lost before the round ends; one whose update is awaited, or late, is not", async () => {
  for (const [code, lost] of [["absent", true], [undefined, false], ["late", false]] as const) {
    const folder = temporary();
    const { actor, live, say, jobs, run } = await trained(configIn(folder.path, 3));
    const job_id = jobs.find(({ peer }) => peer === "s")?.spec.job_id ?? "";
    const report = { round: 1, members: [{ peer: "a", outcome: "missing" as const, ...(code && { code }) }] };
    say("s", { job_id, progress: { metrics: { round: 1, metrics: {} } }, report, training: run });
    live(1_000);
    assert.is(actor.getSnapshot().context.training.trainers["a"] === undefined, lost, code);
    actor.send({ type: "role.drain" });
    folder.remove();
  }
});

test("bug: a report about a member's earlier job that was on its way cost a newcomer its place", async () => {
  const folder = temporary();
  const { actor, live, offer, say, jobs, run, world } = await trained(configIn(folder.path, 3, 2), ["a", "b"]);
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  const job_id = jobs.find(({ peer }) => peer === "s")?.spec.job_id ?? "";
  actor.send({ type: "participant.lost", peer: "b", reason: "its certificate is not accepted" });
  live(restMs + 31_000);
  offer("b");
  assert.equal(trainers(), ["a", "b"]);
  // Its aggregator does not wait for its updates before it has a result, and can say nothing of it.
  assert.not.ok(actor.getSnapshot().context.training.trainers["b"]?.isCounted);
  const report = { round: 1, members: [{ peer: "b", outcome: "missing" as const, code: "absent" }] };
  say("s", { job_id, progress: { metrics: { round: 1, metrics: {} } }, report, training: run });
  live(1_000);
  assert.equal(trainers(), ["a", "b"]);
  assert.equal(world.reported("update.rejected"), []);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: an aggregator that refused each change of its trainers kept its part, and the log had two lines a second", async () => {
  for (const kept of [true, false]) {
    const folder = temporary();
    const started = kept ? await trained(configIn(folder.path, 9, 2), ["a", "b"]) : training(["a", "b"], 9);
    const { world, actor, dispatches, live } = started;
    actor.send({ type: "participant.lost", peer: "b", reason: "test" });
    let refused = 0;
    const refuse = (seconds: number) => {
      for (let second = 0; second < seconds; second++) {
        for (const { refuse } of dispatches()) {
          refuse();
          refused++;
        }
        live(1_000);
      }
    };
    refuse(1);
    for (const { accept } of dispatches()) accept();
    actor.send({ type: "redispatch" });
    refuse(2);
    assert.equal(world.reported("aggregator.lost"), [], "it took one in between");
    refuse(60);
    const lines = ["job.redispatch_failed", "job.redispatched"].map((event) => world.reported(event).length);
    if (kept) {
      assert.equal([refused, ...lines], [4, 3, 5]);
      assert.match(String(world.reported("aggregator.lost")[0]?.["reason"]), "refused its trainers 3 times in a row");
      assert.equal(actor.getSnapshot().context.barred, []);
    } else {
      assert.ok(refused > 50);
      assert.ok(lines.every((count) => count < 15), `${lines}`);
      assert.is(actor.getSnapshot().context.training.aggregator?.peer, "aggregator", "no other one could go on");
    }
    actor.send({ type: "role.drain" });
    folder.remove();
  }
});

test("only workers that the job's pattern names aggregate; every worker may train", async () => {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 3);
  assert.ok(job !== undefined);
  const resources = { ...job.resources, aggregator: "name:trusted" };
  const { world, actor, offer, live } = startScheduler({ ...config, job: { ...job, resources } });
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  offer("a");
  const { training } = actor.getSnapshot().context;
  assert.equal(Object.keys(training.trainers), ["a"]);
  for (const [peer, name] of [["b", "b.name"], ["c", "trusted"]] as const) {
    live(1_100);
    offer(identityOf(peer, "worker", name));
    const { aggregator } = actor.getSnapshot().context.training;
    assert.is(aggregator?.peer, peer === "c" ? "c" : undefined);
  }
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a partner's worker aggregated, and saw every update, where the job named no aggregator", async () => {
  const member = (peer: string, domain: string | undefined) => {
    const names = domain === undefined ? [] : [`URI:spiffe://${domain}/worker/${peer}`];
    return { ...identityOf(peer, "worker"), domain, names } as unknown as PeerIdentity;
  };
  const partner = member("p", "partner.example");
  /** The aggregator after an offer of the partner's worker, and after one of `last`. */
  const aggregators = async (last: PeerIdentity, domain?: string, aggregator?: string) => {
    const folder = temporary();
    const { job, ...config } = configIn(folder.path, 3);
    assert.ok(job !== undefined);
    const resources = { ...job.resources, ...(aggregator === undefined ? {} : { aggregator }) };
    const started = startScheduler({ ...config, job: { ...job, resources } }, undefined, domain);
    const { world, actor, offer, live } = started;
    await eventually("the model is open", () => world.take("record.get").length > 0);
    actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
    offer(member("a", "partner.example"));
    assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["a"], "it may train");
    const found = [partner, last].map((identity) => {
      live(1_100);
      offer(identity);
      return actor.getSnapshot().context.training.aggregator?.peer;
    });
    actor.send({ type: "role.drain" });
    folder.remove();
    return found;
  };
  const own = "acme.example";
  assert.equal(await aggregators(member("s", own), own), [undefined, "s"]);
  assert.equal(await aggregators(member("s", undefined), own), [undefined, "s"], "a certificate without a URI name");
  assert.equal(await aggregators(partner, own, "spiffe://partner.example/worker/*"), ["p", "p"], "the job names it");
  assert.equal(await aggregators(partner), ["p", "p"], "the scheduler's own domain is not known");
});

test("bug: a worker that offered for nothing and granted nothing was accepted again and again, in each allocation", async () => {
  const folder = temporary();
  const { world, actor, offer, live, answerTraining } = startScheduler(configIn(folder.path, 3));
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  offer("a");
  /** These offer to the next request, for nothing. */
  const offered = (...peers: string[]) => {
    world.take("publish");
    let [request] = world.take("publish");
    for (; request === undefined; [request] = world.take("publish")) live(500);
    const request_id = request.message.id;
    for (const peer of peers) {
      const free = { id: `${peer}-${request_id}`, request_id, price: 0, resources, timeout: instantFromMs(0) };
      actor.send(requestFrom(peer, "/hypha-api/0.0.1", { WorkerOffer: free }));
    }
  };
  /** Workers whose offers are accepted, and which do not answer. */
  const ignored = () => {
    const asks = world.take("request").filter(({ message }) => "RenewLease" in message);
    for (const { id, replyTo } of asks) replyTo.send({ type: "request.failed", id, error: failedWith("timed-out") });
    answerTraining("ours");
    return asks.map(({ peer }) => peer);
  };
  live(1_000);
  offered("liar");
  assert.equal(ignored(), ["liar"]);
  offered("liar");
  assert.equal(ignored(), [], "others come first");
  world.pass(offersInMs);
  assert.equal(ignored(), ["liar"], "there are none");
  offered("liar");
  world.pass(offersInMs);
  assert.equal(ignored(), [], "it rests");
  live(restMs);
  offered("liar", "s");
  assert.equal(ignored(), ["s"]);
  assert.equal(actor.getSnapshot().context.losses, {});
  actor.send({ type: "role.drain" });
  folder.remove();
});

/** A job of three trainers whose model is kept, and the workers that send offers for its second request. */
async function startOf(minTrainers: number | undefined, ...peers: string[]) {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 3);
  assert.ok(job !== undefined);
  const resources = { ...job.resources, numWorkers: 3, ...(minTrainers === undefined ? {} : { minTrainers }) };
  const { world, actor, offer } = startScheduler({ ...config, job: { ...job, resources } });
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  world.pass(1_000);
  offer(...peers);
  world.pass(offersInMs);
  offer();
  const { training: { trainers } } = actor.getSnapshot().context;
  actor.send({ type: "role.drain" });
  folder.remove();
  return Object.keys(trainers);
}

test("a training begins with min_trainers where no more are there, and without them with all", async () => {
  assert.equal(await startOf(2, "a", "b"), ["a", "b"]);
  assert.equal(await startOf(2, "a"), []);
  assert.equal(await startOf(undefined, "a", "b"), []);
  assert.equal(await startOf(2, "a", "b", "c"), ["a", "b", "c"]);
});

test("a training whose model is not kept begins with all: no trainer can join it later", () => {
  const { job, ...config } = configOf(3, 2);
  const { world, actor, found, offer } = startScheduler({
    ...config,
    job: { ...job, resources: { ...job.resources, minTrainers: 1 } },
  });
  found();
  world.pass(1_000);
  offer("a", "b");
  world.pass(offersInMs);
  offer();
  assert.equal(actor.getSnapshot().context.training.trainers, {});
});
test.run();
