/** A scheduler: from looking for its data set to the last round, with members that go on the way. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect } from "effect";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { present } from "../../actors/runtime/present.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import { digitsEvaluator } from "../../scripts/executors/evaluator.ts";
import { builtinModel } from "../../scripts/executors/model.ts";
import type { Role } from "../../pki/certificate.ts";
import { memberOf } from "../../pki/member.ts";
import type { StreamChunk } from "../../transport/port.ts";
import { type FakeWorld, identityOf, requestFrom, settle } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";
import { configIn, tensors, trained } from "../support/kept_training.ts";
import { EvaluationFailed } from "../../actors/training/evaluator.ts";
import { offerOverMs } from "../../actors/training/workers.ts";
import { configOf, resources, startScheduler, training } from "../support/scheduler_world.ts";
import { revoked } from "../support/worker_world.ts";

const test = suite("scheduler");

/** How parts were filled the other way round, without the training's name. */
const regroupings = (world: FakeWorld) =>
  world.reported("allocation.regrouped").map(({ training: _, ...fields }) => fields);

test("drained before its run has a number, a scheduler ends in order", async () => {
  const place = temporary();
  const { scheduler, state } = startScheduler({ ...configOf(1, 1), stateDir: place.path });
  assert.is(state(), "numbering");
  scheduler.send({ type: "role.drain", reason: "SIGTERM was received" });
  await eventually("it has ended", () => scheduler.getSnapshot().status !== "active");
  const { status, output } = scheduler.getSnapshot();
  assert.equal([status, output], ["done", { type: "drained" }]);
  place.remove();
});

test("looks for the data set until somebody has announced it, and says what is missing", () => {
  const { world, state, found } = startScheduler(configOf(1, 1));
  const first = world.takeOne("record.get");
  assert.is(first.key, "digits");
  first.replyTo.send({ type: "record.missing", id: first.id });
  assert.equal(state(), { finding: "waiting" });
  assert.is(world.reported("dataset.missing").length, 1);
  world.pass(1_010);
  const second = world.takeOne("record.get");
  first.replyTo.send({ type: "record.missing", id: first.id });
  assert.equal(state(), { finding: "asking" }, "an answer to an earlier look is ignored");
  const value = new TextEncoder().encode('{"num_slices": 2}');
  second.replyTo.send({
    type: "record",
    id: second.id,
    key: "digits",
    value,
    publisher: "scheduler",
    identity: undefined,
  });
  world.pass(1_010);
  found();
  assert.equal(state(), { allocating: "trainers" });
});

test("a data set that is not there is looked for every second, and said at growing intervals, with what to look at", () => {
  const { world } = startScheduler(configOf(1, 1));
  for (let look = 0; look < 200; look++) {
    const { id, replyTo } = world.takeOne("record.get");
    replyTo.send({ type: "record.missing", id });
    world.pass(1_010);
  }
  const said = world.reported("dataset.missing");
  assert.equal(said.map(({ lookups }) => lookups), [1, 2, 4, 8, 16, 32, 64, 128, 192]);
  assert.match(String(said[0]?.["hint"]), /data node .*digits.* dataset\.announced.*gateway/);
});

test("workers that the other part needs are released: the parts are filled in the other order, and again", () => {
  const { world, found, offer, dispatches, live, state, answerTraining } = startScheduler(configOf(2, 1));
  found();
  live(31_000);
  assert.equal(world.reported("allocation.regrouped").length, 0, "no worker was taken");
  offer("a", "b");
  assert.equal(state(), { allocating: "aggregator" });
  live(31_000);
  assert.equal(regroupings(world), [
    { released: ["a", "b"], forgiven: [], first: "aggregator" },
  ]);
  assert.equal(state(), { allocating: "aggregator" });
  answerTraining("ours");
  offer("a");
  assert.equal(state(), { allocating: "trainers" });
  live(31_000);
  assert.equal(regroupings(world).at(-1), {
    released: ["a"],
    forgiven: [],
    first: "trainers",
  });
  assert.equal(state(), { allocating: "trainers" });
  offer("a", "c");
  offer("b");
  const [first] = dispatches();
  assert.is(first?.peer, "b");
  const executor = first?.spec.executor;
  assert.ok(executor?.class === "aggregate");
  assert.equal(executor.config.updates.peers, ["a", "c"]);
  first?.accept();
  assert.equal(dispatches().map(({ peer }) => peer), ["a", "c"]);
});

test("a lease that comes too late takes no part, and no worker gets two", () => {
  const { world, actor, found, offer, dispatches } = startScheduler(configOf(1, 1));
  found();
  offer("a");
  const lease = (peer: string) => ({
    id: `late-${peer}`,
    peer,
    member: memberOf(identityOf(peer)),
    timeout: instantFromMs(0),
    price: 1,
    resources,
  });
  actor.send({ type: "allocation.granted", class: "aggregate", lease: lease("a") });
  offer("b");
  actor.send({ type: "allocation.granted", class: "aggregate", lease: lease("c") });
  const [first] = dispatches();
  assert.is(first?.peer, "b");
  first?.accept();
  assert.equal(dispatches().map(({ peer }) => peer), ["a"]);
  assert.is(world.reported("lease.granted").length, 2);
});

test("a lost worker gets another request where there are too few without it", () => {
  const { world, actor, found, offer, live, state } = startScheduler(configOf(1, 1));
  found();
  offer("a");
  actor.send({ type: "peer.closed", peer: "a", identity: identityOf("a"), reason: revoked });
  live(31_000);
  assert.equal(regroupings(world), [{ released: [], forgiven: ["a"], first: "aggregator" }]);
  offer("b");
  assert.equal(state(), { allocating: "trainers" });
  offer("a");
  assert.equal(state(), { dispatching: "aggregator" });
});

test("allocates trainers, then an aggregator that is none of them; dispatches the aggregator first", () => {
  const { world, found, offer, dispatches, state } = startScheduler(configOf(2, 1));
  found();
  offer("a", "b");
  assert.equal(state(), { allocating: "aggregator" });
  offer("a", "c");
  const [first, ...none] = dispatches();
  assert.equal([first?.peer, none.length], ["c", 0]);
  const executor = first?.spec.executor;
  assert.ok(executor?.class === "aggregate");
  assert.equal(executor.config.updates.peers, ["a", "b"]);
  assert.equal(executor.config.results.peers, ["a", "b"], "there is no evaluation");
  first?.accept();
  world.pass(offerOverMs); // it may be foreign, and its last offer was not accepted
  const trainers = dispatches();
  assert.equal(trainers.map(({ peer }) => peer), ["b", "a"]);
  const spec = trainers[0]?.spec.executor;
  assert.ok(spec?.class === "train");
  assert.equal(spec.config.data, { type: "scheduler", peer: "scheduler", dataset: "digits" });
  assert.equal([spec.config.updates.peers, spec.config.results.peers], [["c"], ["c"]]);
  for (const { accept } of trainers) accept();
  assert.equal(state(), {
    running: { progress: { rounds: "listening" }, members: "settled", strength: "enough" },
  });
  const granted = world.reported("lease.granted").map(({ class: of, peer }) => [of, peer]);
  assert.equal(granted, [["train", "a"], ["train", "b"], ["aggregate", "c"]]);
  assert.is(world.reported("job.dispatched").length, 3);
});

test("an aggregator that refuses its job is replaced; a trainer that refuses is left out", () => {
  const { found, offer, dispatches, state } = startScheduler(configOf(2, 1));
  found();
  offer("a", "b");
  offer("c");
  dispatches()[0]?.refuse();
  assert.equal(state(), { allocating: "aggregator" });
  offer("c", "d");
  dispatches()[0]?.accept();
  const [a, b] = dispatches();
  a?.accept();
  b?.refuse();
  assert.equal(state(), {
    running: { progress: { rounds: "listening" }, members: "settled", strength: "enough" },
  });
  const [again] = dispatches();
  assert.is(again?.peer, "d");
  assert.ok(again?.spec.executor.class === "aggregate");
  assert.equal(again.spec.executor.config.updates.peers, ["a"]);
});

test("members that never answer their dispatch don't hold the training up for ever", () => {
  const { found, offer, dispatches, state, live } = startScheduler(configOf(1, 1));
  found();
  offer("a");
  offer("b");
  assert.is(dispatches().length, 1);
  live(12_500);
  assert.equal(state(), { allocating: "aggregator" });
});

test("a trainer lost before the dispatch is replaced", () => {
  const { found, offer, state, actor, live } = startScheduler(configOf(2, 1));
  found();
  offer("a", "b");
  actor.send({ type: "peer.closed", peer: "a", identity: identityOf("a"), reason: revoked });
  offer("c");
  assert.equal(state(), { allocating: "trainers" });
  offer("d");
  assert.equal(state(), { dispatching: "aggregator" });
  live(500);
});

test("hands every slice out once an epoch, to trainers alone", () => {
  const { say } = training(["a", "b"], 1);
  const slice = (peer: string, dataset = "digits") => {
    const answer = say(peer, { Data: { dataset } }) as {
      Data?: { Success?: { index: number; data_provider: string } };
    };
    return answer.Data?.Success?.index ?? answer.Data ?? answer;
  };
  assert.equal([slice("a"), slice("b"), slice("a"), slice("a"), slice("b")], [0, 1, 2, 0, 1]);
  assert.is(slice("a", "other"), "NotFound");
  assert.is(slice("aggregator"), "declined");
  assert.is(slice("stranger"), "declined");
});

test("rounds go on to the last, then the scheduler ends by itself", () => {
  const { world, round, actor, say, jobs, state } = training(["a", "b"], 2);
  assert.equal(round("a", "b"), ["Ok", "Continue", "Continue"]);
  assert.equal(round("a", "b"), ["Done", "Done", "Done"]);
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1, 2]);
  assert.equal(world.reported("training.done").map(({ rounds, accuracy }) => [rounds, accuracy]), [[2, null]]);
  assert.is(state(), "concluding");
  for (const [peer, { taskId }] of jobs) {
    const answer = say(peer, { JobStatus: { task_id: taskId, status: { type: "Finished" } } });
    assert.equal(answer, { JobStatus: {} });
  }
  assert.is(world.reported("trainer.lost").length, 0);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

test("bug: a worker that said several times that its job ended wrote a line each time", () => {
  const { world, round, say, jobs } = training(["a", "b"], 1);
  round("a", "b");
  const status = { JobStatus: { task_id: jobs.get("a")?.taskId ?? "", status: { type: "Finished" } } } as const;
  assert.equal([say("a", status), say("a", status)], [{ JobStatus: {} }, { JobStatus: {} }]);
  assert.is(world.reported("job.ended").length, 1);
});

test("workers that don't say that their jobs ended are not waited for long", () => {
  const { world, round, actor } = training(["a"], 1);
  assert.equal(round("a"), ["Done", "Done"]);
  world.pass(2_010);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

test("a revoked trainer is dropped at once: the aggregator gets a message, and the training completes", () => {
  const { world, round, close, dispatches, progress } = training(["a", "b"], 3);
  round("a", "b");
  progress("a", "update");
  close("b", revoked);
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), "certificate-revoked");
  const [again] = dispatches();
  assert.is(again?.peer, "aggregator");
  assert.ok(again?.spec.executor.class === "aggregate");
  assert.equal(again.spec.executor.config.updates.peers, ["a"]);
  again?.accept();
  assert.is(progress("b", "update"), "declined");
  assert.equal(round("a"), ["Ok", "Continue"]);
  world.pass(9_000);
  const renewed = world.take("request").filter(({ message }) => "RenewLease" in message).map(({ peer }) => peer);
  assert.equal([...new Set(renewed)].sort(), ["a", "aggregator"], "its lease is let go");
  assert.equal(round("a"), ["Done", "Done"]);
  assert.is(world.reported("training.done")[0]?.["trainers"], 1);
});

test("a trainer whose connection is lost has ten seconds to come back", () => {
  const { world, close, actor, live } = training(["a", "b"], 1);
  close("b", { type: "lost", detail: "x" });
  live(9_500);
  actor.send({ type: "peer.established", peer: "b", identity: identityOf("b") });
  live(1_000);
  assert.is(world.reported("trainer.lost").length, 0);
  close("b", { type: "by-them" });
  live(10_500);
  assert.is(world.reported("trainer.lost")[0]?.["peer"], "b");
});

test("a re-dispatch that the aggregator didn't get is sent again", () => {
  const { close, dispatches, world, live } = training(["a", "b"], 1);
  close("b", revoked);
  dispatches()[0]?.drop();
  assert.is(world.reported("job.redispatch_failed").length, 1);
  live(1_500);
  assert.is(dispatches().length, 1);
});

test("bug: an aggregator whose job was over got it again, because an earlier dispatch had been refused, and ran it a second time", () => {
  const { close, dispatches, world, live, progress } = training(["a", "b"], 1);
  progress("a", "update");
  close("b", revoked);
  dispatches()[0]?.drop();
  assert.is(world.reported("job.redispatch_failed").length, 1);
  assert.is(progress("aggregator", "updated"), "Done");
  live(1_500);
  assert.equal(dispatches(), [], "a has not said yet that it has the result");
});

test("a job that failed, a lease that ended and a trainer that says nothing are losses too", () => {
  const failed = training(["a", "b"], 1);
  const task = failed.jobs.get("a")?.taskId ?? "";
  failed.say("a", { JobStatus: { task_id: task, status: { type: "Failed", reason: "out of memory" } } });
  assert.match(String(failed.world.reported("trainer.lost")[0]?.["reason"]), "out of memory");
  assert.is(failed.world.reported("job.ended")[0]?.["outcome"], "failed");
  assert.is(
    failed.say("b", { JobStatus: { task_id: task, status: { type: "Finished" } } }),
    "declined",
    "not its own task",
  );
  const silent = training(["a", "b"], 1);
  silent.progress("b", "update");
  silent.live(899_000);
  assert.is(silent.world.reported("trainer.lost").length, 0);
  silent.live(11_500);
  assert.equal(silent.world.reported("trainer.lost").map(({ peer }) => peer), ["a"], "b waits for the others");
});

test("without trainers, or without the aggregator, the training fails and says which", () => {
  const alone = training(["a"], 1);
  alone.close("a", revoked);
  assert.equal(alone.actor.getSnapshot().output, { type: "failed", reason: "no trainer is left" });
  const headless = training(["a"], 1);
  headless.close("aggregator", revoked);
  assert.equal(headless.actor.getSnapshot().output, { type: "failed", reason: "the aggregator is lost" });
});

test("a trainer that never says that it has the last result is not waited for longer than half a minute", () => {
  const { world, progress, actor, live, jobs, say } = training(["a", "b"], 1);
  for (const peer of ["a", "b"]) progress(peer, "update");
  assert.is(progress("aggregator", "updated"), "Done");
  assert.is(progress("a", "update-received"), "Done");
  live(60_000);
  assert.is(world.reported("training.done").length, 0, "the result may still be on its way");
  const task = jobs.get("aggregator")?.taskId ?? "";
  say("aggregator", { JobStatus: { task_id: task, status: { type: "Finished" } } });
  live(29_500);
  assert.is(world.reported("training.done").length, 0);
  live(500);
  assert.is(world.reported("training.done").length, 1);
  live(2_500);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

test("a trainer that had its last round may go", () => {
  const { world, close, progress, actor } = training(["a", "b"], 1);
  for (const peer of ["a", "b"]) progress(peer, "update");
  progress("aggregator", "updated");
  progress("a", "update-received");
  close("a", { type: "by-them" });
  close("aggregator", { type: "by-them" });
  world.pass(1_000);
  assert.is(world.reported("trainer.lost").length, 0);
  assert.is(progress("b", "update-received"), "Done");
  world.pass(2_010);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

test("pushes without an evaluation, other protocols and offers after the allocation get no answer", () => {
  const { world, actor, say } = training(["a"], 1);
  actor.send({
    type: "stream.received",
    exchange: "x",
    peer: "aggregator",
    identity: identityOf("aggregator"),
    protocol: "/hypha-tensor-stream/push",
  });
  assert.is(world.take("stream.reject").length, 1);
  actor.send(requestFrom("a", "/hypha-health/0.0.1", {}));
  assert.is(world.take("decline").length, 1);
  const offer = { id: "o", request_id: "r", price: 1, resources, timeout: instantFromMs(0) };
  assert.is(say("z", { WorkerOffer: offer }), "declined");
  assert.is(say("z", { RenewLease: { id: "x" } }), "declined");
});

test("drains from every state", () => {
  for (const begin of [() => startScheduler(configOf(1, 1)), () => training(["a"], 1)]) {
    const { actor } = begin();
    actor.send({ type: "role.drain" });
    assert.equal(actor.getSnapshot().output, { type: "drained" });
  }
});

test("a data node that comes back under another key serves from then on; another data set's size is not taken", () => {
  const { world, actor, say, close, live } = training(["a"], 1);
  const provider = () =>
    (say("a", { Data: { dataset: "digits" } }) as { Data: { Success: { data_provider: string } } }).Data.Success
      .data_provider;
  const answer = (publisher: string, slices = 3) => {
    const ask = world.take("record.get").at(-1);
    const value = new TextEncoder().encode(JSON.stringify({ num_slices: slices }));
    const identity = identityOf(publisher, "data");
    ask?.replyTo.send({ type: "record", id: ask.id, key: ask.key, value, publisher, identity });
  };
  assert.is(provider(), "data");
  // A node connects that may be it: it is looked up a few times, as its announcement may be under way.
  actor.send({ type: "peer.established", peer: "data-2", identity: identityOf("data-2", "data") });
  answer("data");
  assert.is(provider(), "data");
  live(5_500);
  answer("data-2", 4);
  assert.is(provider(), "data");
  live(5_500);
  answer("data-2");
  assert.is(provider(), "data-2");
  assert.equal(world.reported("dataset.moved")[0]?.["formerPeer"], "data");
  // Only workers fetch from it: the link would look unused.
  assert.equal(world.take("hold").map(({ peers }) => peers), [["data"], ["data-2"]]);
  assert.equal(world.take("release").map(({ peers }) => peers), [["data"]]);
  live(20_000);
  assert.equal(world.take("record.get"), []);
  // It is gone: looked for until it is back.
  close("data-2", { type: "lost", detail: "gone" }, "data");
  for (let time = 0; time < 6; time++) {
    assert.ok(world.take("record.get").length > 0);
    live(5_500);
  }
  actor.send({ type: "peer.established", peer: "data-2", identity: identityOf("data-2", "data") });
  world.take("record.get");
  live(20_000);
  assert.equal(world.take("record.get"), []);
});

test("retires at once where no worker is leased; with members it goes on to its end", () => {
  const alone = startScheduler(configOf(1, 1)).actor;
  alone.send({ type: "role.retire", withinMs: 60_000 });
  assert.equal(alone.getSnapshot().output, { type: "drained" });
  const { actor } = training(["a"], 1);
  const before = actor.getSnapshot().value;
  actor.send({ type: "role.retire", withinMs: 60_000 });
  assert.equal(actor.getSnapshot().value, before);
  actor.send({ type: "role.drain", reason: "the node's key was replaced" });
  assert.equal(actor.getSnapshot().output, { type: "drained" });
});

test("evaluates each round's model: pushes of the aggregator alone", async () => {
  const folder = temporary();
  const heldOut = join(folder.path, "held_out.csv");
  const rows = readFileSync(new URL("../fixtures/digits.csv", import.meta.url), "utf8").split("\n").slice(0, 50);
  writeFileSync(heldOut, rows.join("\n"));
  const { world, actor, found, offer, dispatches, state } = startScheduler(configOf(1, 2, heldOut), digitsEvaluator);
  await eventually("the held-out rows are read", () => JSON.stringify(state()) !== '"preparing"');
  assert.ok(world.take("serve").some(({ protocol }) => protocol === "/hypha-tensor-stream/push"));
  found();
  offer("a");
  offer("s");
  const [aggregate] = dispatches();
  assert.ok(aggregate?.spec.executor.class === "aggregate");
  assert.equal(aggregate.spec.executor.config.results.peers, ["a", "scheduler"]);
  const push = (peer: string, exchange: string, role?: Role) =>
    actor.send({
      type: "stream.received",
      exchange,
      peer,
      identity: identityOf(peer, role),
      protocol: "/hypha-tensor-stream/push",
    });
  push("a", "x");
  assert.is(world.takeOne("stream.reject").exchange, "x", "a trainer's");
  push("s", "x0", "scheduler");
  assert.is(world.takeOne("stream.reject").exchange, "x0", "another member's of the aggregator's PeerID");
  const model = builtinModel("builtin/mlp-64-32-10", "seed-7");
  assert.ok(model._tag === "Success");
  const bytes = encodeTensors(model.success.parameters);
  for (const round of [1, 2]) {
    push("s", `x${round}`);
    const accept = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: "s" });
    accept.replyTo.send({ type: "stream.opened", id: accept.exchange, stream: near });
    Effect.runFork(Effect.andThen(far.write(bytes), far.end));
    await eventually("the round is evaluated", () => world.reported("round.evaluated").length === round);
  }
  assert.equal(world.reported("round.evaluated").map(({ round }) => round), [1, 2]);
  push("s", "x3");
  const accept = world.takeOne("stream.accept");
  const { near } = streamPair({ near: "scheduler", far: "s" });
  const chunks: StreamChunk[] = [{ type: "bytes", bytes }, { type: "end", outcome: "broken" }];
  const cut = { ...near, read: Effect.sync(() => chunks.shift() as StreamChunk), end: Effect.void };
  accept.replyTo.send({ type: "stream.opened", id: accept.exchange, stream: cut });
  await eventually("a cut update ends the evaluation", () => world.reported("evaluation.broken").length === 1);
  push("s", "x4");
  assert.is(world.takeOne("stream.reject").exchange, "x4");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("held-out rows that cannot be read end it before a worker gets a request", async () => {
  const { world, actor } = startScheduler(configOf(1, 1, "/nowhere/held_out.csv"), digitsEvaluator);
  await eventually("it fails", () => actor.getSnapshot().status === "done");
  const output = actor.getSnapshot().output;
  assert.ok(output?.type === "failed");
  assert.match(output.reason, "held_out.csv");
  assert.is(world.take("record.get").length, 0);
  await settle(2);
});

test("a job with an evaluation fails at its start where the node was given no evaluator", async () => {
  const { world, actor } = startScheduler(configOf(1, 1, "held_out.csv"));
  await eventually("it fails", () => actor.getSnapshot().status === "done");
  assert.equal(actor.getSnapshot().output, {
    type: "failed",
    reason: "Cannot evaluate the model: this node was given no evaluator",
  });
  assert.is(world.take("record.get").length, 0);
  await settle(2);
});

test("bug: a training with rounds on disk failed at a restart because its evaluation could not begin", async () => {
  const folder = temporary();
  const first = await trained(configIn(folder.path, 2));
  first.progress("a", "update");
  first.progress("s", "updated");
  assert.ok(await first.push(tensors(1, 1), "r1"));
  first.actor.send({ type: "role.drain" });
  const { job, ...config } = configIn(folder.path, 2);
  const evaluation = { heldOut: join(folder.path, "rows.csv"), executor: "away" };
  const evaluated = { ...config, job: { ...present(job, "the job"), evaluation } };
  const evaluator = {
    ...digitsEvaluator,
    programs: ["away"],
    check: () => Effect.fail(new EvaluationFailed({ detail: "executor away cannot be started" })),
  };
  const { world, actor } = startScheduler(evaluated, evaluator);
  await eventually("it looks for its data set", () => world.take("record.get").length > 0);
  assert.is(actor.getSnapshot().context.evaluation, "broken");
  assert.is(world.reported("evaluation.broken").length, 1);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test.run();
