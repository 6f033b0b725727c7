/** Verdicts, runs and leases of a scheduler: which messages workers get, and when. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, setup } from "xstate";
import type { EventOf } from "../../actors/runtime/effect_actor.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { foreignWaitMs } from "../../actors/training/workers.ts";
import { takeRun, takeRunActor, trainingIdOf } from "../../actors/training/run_number.ts";
import { noticeMs } from "../../actors/training/judging.ts";
import { silenceCheckMs } from "../../actors/training/training_setup.ts";
import { failedWith, identityOf } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { configOf, startScheduler, training } from "../support/scheduler_world.ts";

const test = suite("a scheduler's verdicts and runs");
type World = ReturnType<typeof training>["world"];
/** What workers were sent over `/hypha-training/1` since the last look. */
const told = (world: World) =>
  world.asks.flatMap((ask) => ask.type === "request" && ask.protocol === "/hypha-training/1" ? [ask] : []).map((
    ask,
  ) => [
    ask.peer,
    Object.keys(ask.message)[0],
  ]);

test("bug: only the aggregator knew whose update was rejected; the scheduler judges, reports it and sends the worker a notice", () => {
  const { world, progress, say, jobs, live, actor } = training(["a", "b", "c"], 3);
  for (const peer of ["a", "b", "c"]) progress(peer, "update");
  const members = [
    { peer: "a", outcome: "counted" as const, norm: 1 },
    { peer: "b", outcome: "rejected" as const, code: "norm", detail: "14 times" },
    { peer: "c", outcome: "clipped" as const, norm: 3 },
    { peer: "stranger", outcome: "rejected" as const, code: "norm" },
  ];
  const aggregated = {
    job_id: jobs.get("aggregator")?.jobId ?? "",
    progress: "updated" as const,
    report: { round: 1, members },
  };
  assert.equal(say("aggregator", aggregated), { type: "Ok" });
  assert.equal(world.reported("update.rejected").map(({ peer, code, aggregator }) => [peer, code, aggregator]), [
    ["b", "norm", "aggregator"],
  ]);
  assert.equal(world.reported("update.clipped").map(({ peer, norm }) => [peer, norm]), [["c", 3]]);
  assert.equal(told(world), [["b", "Notice"]]);
  live(noticeMs);
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["a", "c"]);
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), "claimed");
  assert.equal(told(world), [["b", "Notice"], ["b", "Release"]]);
  const repeated = say("aggregator", aggregated);
  assert.equal(repeated, { type: "Ok" });
  assert.is(world.reported("update.rejected").length, 1, "a report that is repeated is judged once");
});

test("bug: a trainer that its aggregator no longer waited for stayed a member without a result, round after round", () => {
  const { world, progress, say, jobs, live, actor } = training(["a", "b"], 4);
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  const finish = (round: number) => {
    progress("a", "update");
    const members = [{ peer: "a", outcome: "counted" as const, norm: 1 }];
    const job_id = jobs.get("aggregator")?.jobId ?? "";
    assert.equal(say("aggregator", { job_id, progress: "updated", report: { round, members } }), { type: "Ok" });
    progress("a", "update-received");
    live(500);
  };
  progress("b", "update");
  finish(7);
  assert.equal(trainers(), ["a", "b"], "it may have entered in this round, whatever number the report claims");
  finish(2);
  assert.equal(trainers(), ["a"]);
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), /does not wait for its updates.*round 1/);
  assert.ok(told(world).some(([peer, what]) => peer === "b" && what === "Release"), "its worker can be leased again");
});

test("a trainer's report of rejected updates is ignored", () => {
  const { world, say, jobs } = training(["a", "b"], 2);
  const members = [{ peer: "b", outcome: "rejected" as const, code: "norm" }];
  const update = { job_id: jobs.get("a")?.jobId ?? "", progress: "update" as const, report: { round: 1, members } };
  say("a", update);
  assert.is(world.reported("update.rejected").length, 0);
});

test("messages of another run or training are declined; those of a foreign worker name none", () => {
  const { say, jobs, actor } = training(["a"], 2);
  const run = actor.getSnapshot().context.run ?? { id: "", run: 0 };
  const job_id = jobs.get("a")?.jobId ?? "";
  const update = (training?: { id: string; run: number }) =>
    say("a", { job_id, progress: { status: { batch_size: 1 } }, ...(training === undefined ? {} : { training }) });
  assert.is(update({ ...run, run: run.run - 1 }), "declined");
  assert.is(update({ ...run, id: "t-other" }), "declined");
  assert.is.not(update(run), "declined");
  assert.is.not(update(), "declined");
  const data = (training: { id: string; run: number }) => say("a", { Data: { dataset: "digits", training } });
  assert.is(data({ ...run, run: run.run + 1 }), "declined");
  assert.is.not(data(run), "declined");
});

test("each dispatch and each renewal names the run", () => {
  const { world, actor, jobs } = training(["a"], 2);
  const { run } = actor.getSnapshot().context;
  assert.is(jobs.size, 2);
  const named = world.asks.flatMap((ask) => ask.type === "request" ? Object.values(ask.message) : []) as {
    training?: unknown;
  }[];
  assert.ok(named.length >= 4);
  for (const { training } of named) assert.equal(training, run);
});

test("at the end the leases whose jobs have ended are released; a scheduler that drains releases all", () => {
  const done = training(["a"], 1);
  done.progress("a", "update");
  done.progress("aggregator", "updated");
  done.progress("a", "update-received");
  const status = { type: "Finished" as const };
  done.say("a", { JobStatus: { task_id: done.jobs.get("a")?.taskId ?? "", status } });
  done.live(3_000);
  assert.equal(done.actor.getSnapshot().output, { type: "finished" });
  assert.equal(told(done.world), [["a", "Release"]], "the executor of the other may still save what it has");
  const drained = training(["a"], 1);
  drained.actor.send({ type: "role.drain" });
  assert.equal(told(drained.world), [["a", "Release"], ["aggregator", "Release"]]);
});

const deadlineMs = configOf(1, 1).job.aggregation.roundDeadlineS * 1_000;

test("bug: a round that never ended was waited for silently; the aggregator is named, then lost", () => {
  const { world, progress, live, actor } = training(["a", "b"], 2);
  for (const peer of ["a", "b"]) progress(peer, "update");
  live(deadlineMs);
  assert.is(world.reported("round.stalled").length, 0);
  live(silenceCheckMs);
  assert.equal(world.reported("round.stalled").map(({ peer, round, part }) => [peer, round, part]), [
    ["aggregator", 1, "aggregator"],
  ]);
  live(deadlineMs);
  assert.is(world.reported("round.stalled").length, 1);
  assert.equal(actor.getSnapshot().output, { type: "failed", reason: "the aggregator is lost" });
});

/** Lets time pass in which trainers report batches, and push nothing. */
function report({ live, progress }: Pick<ReturnType<typeof training>, "live" | "progress">, peers: string, ms: number) {
  for (let passed = 0; passed < ms; passed += silenceCheckMs) {
    for (const peer of peers) progress(peer, { status: { batch_size: 0 } });
    live(silenceCheckMs);
  }
}

test("bug: a trainer that reports and never sends its update held the round for ever; it is named, then lost", () => {
  const started = training(["a", "b", "c"], 2);
  const { world, progress, actor, round, live } = started;
  for (const peer of ["a", "b"]) progress(peer, "update");
  report(started, "c", deadlineMs);
  assert.is(world.reported("round.stalled").length, 0);
  report(started, "c", silenceCheckMs);
  assert.equal(world.reported("round.stalled").map(({ peer, part }) => [peer, part]), [["c", "trainer"]]);
  report(started, "c", deadlineMs);
  assert.equal(world.reported("trainer.lost").map(({ peer }) => peer), ["c"]);
  live(deadlineMs);
  assert.is(world.reported("aggregator.lost").length, 0, "the time of the others' round begins again");
  assert.equal(round("a", "b"), ["Ok", "Continue", "Continue"]);
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["a", "b"]);
});

test("a training whose only trainer reports and sends no update ends, and says why", () => {
  const started = training(["a"], 2);
  report(started, "a", 2 * deadlineMs + silenceCheckMs);
  assert.match(String(started.world.reported("trainer.lost")[0]?.["reason"]), "round 1 has waited 18");
  assert.equal(started.actor.getSnapshot().output, { type: "failed", reason: "no trainer is left" });
});

test("bug: a clock step of an hour lost every member of a training, or kept a silent one for an hour longer", () => {
  const hourMs = 3_600_000;
  const { world, live, progress, actor } = training(["a", "b"], 2);
  progress("a", { status: { batch_size: 1 } });
  world.step(hourMs);
  live(2 * silenceCheckMs);
  const lost = () => [...world.reported("trainer.lost"), ...world.reported("aggregator.lost")].map(({ peer }) => peer);
  assert.equal([lost(), world.reported("round.stalled")], [[], []]);
  world.step(-2 * hourMs);
  live(2 * silenceCheckMs);
  assert.equal(lost(), []);
  live(deadlineMs);
  assert.equal(lost(), ["b", "a"].sort(), "they gave no sign of life for fifteen minutes");
  assert.is(actor.getSnapshot().status, "done");
});

test("with each finished round the time begins again", () => {
  const started = training(["a", "b"], 5);
  for (let nth = 0; nth < 3; nth++) {
    report(started, "ab", deadlineMs - silenceCheckMs);
    assert.equal(started.round("a", "b"), ["Ok", "Continue", "Continue"]);
  }
  assert.is(started.world.reported("round.stalled").length, 0);
});

test("bug: a trainer that said it sent its update and did not cost the aggregator its part; the aggregator reports which updates it misses", () => {
  const { world, progress, say, jobs, live, round, actor } = training(["a", "b", "c"], 2);
  for (const peer of ["a", "b", "c"]) progress(peer, "update");
  const tell = (from: string, peers: readonly string[], nth = 1) => {
    const members = peers.map((peer) => ({ peer, outcome: "missing" as const }));
    const job_id = jobs.get(from)?.jobId ?? "";
    return say(from, { job_id, progress: { metrics: { round: nth, metrics: {} } }, report: { round: nth, members } });
  };
  const missing = () => actor.getSnapshot().context.training.aggregator?.missing;
  assert.equal(tell("aggregator", ["a"], 2), { type: "Ok" });
  assert.equal(missing(), [], "of a round that is not under way");
  tell("a", ["b"]);
  assert.equal(missing(), [], "a trainer is not believed");
  progress("a", "update");
  tell("aggregator", ["c", "c", "stranger"]);
  assert.equal(missing(), ["c"]);
  live(deadlineMs + silenceCheckMs);
  assert.equal(world.reported("round.stalled").map(({ peer }) => peer), ["c"]);
  live(deadlineMs);
  assert.equal([world.reported("trainer.lost").length, world.reported("aggregator.lost").length], [1, 0]);
  assert.equal(round("a", "b"), ["Ok", "Continue", "Continue"]);
});

test("after a restart a worker is taken once it has ended its leftovers; a foreign one after sixteen seconds", async () => {
  const place = temporary();
  const restarted = async () => {
    const started = startScheduler({ ...configOf(1, 1), stateDir: place.path });
    await eventually("the run is taken", () => started.actor.getSnapshot().context.run !== undefined);
    started.found();
    return started;
  };
  (await restarted()).scheduler.stop();
  const { scheduler, actor, world, offer, live } = await restarted();
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  /** Each worker that was requested to end its leftovers answers: the rust one does not know the protocol. */
  const answer = () =>
    world.take("request").forEach(({ peer, id, replyTo, message }) => {
      assert.equal(Object.keys(message), ["End"]);
      if (peer === "ours") replyTo.send({ type: "response", id, message: { answer: "Ok" } });
      else replyTo.send({ type: "request.failed", id, error: failedWith("unsupported") });
    });
  assert.ok(actor.getSnapshot().context.isRestart);
  const ask = (peer: string) => actor.send({ type: "peer.established", peer, identity: identityOf(peer, "worker") });
  ask("rust");
  answer();
  for (let second = 0; second < 15; second++) {
    offer("rust");
    live(1_000);
  }
  assert.equal(trainers(), []);
  ask("ours");
  answer();
  offer("ours");
  assert.equal(trainers(), ["ours"], "it ended what it had");
  scheduler.stop();
  const other = await restarted();
  other.live(foreignWaitMs);
  other.offer("rust");
  assert.equal(Object.keys(other.actor.getSnapshot().context.training.trainers), ["rust"]);
  other.scheduler.stop();
  place.remove();
});

test("each start takes the next run, and keeps it before anything is sent", async () => {
  const place = temporary();
  const { job } = configOf(1, 1);
  const id = trainingIdOf(job);
  const second = 1_764_000_000;
  const take = (now = second * 1_000 + 500) =>
    Effect.runPromise(
      Effect.provide(takeRun(place.path, id, now), Layer.merge(NodeFileSystem.layer, NodePath.layer)),
    );
  const file = join(place.path, "trainings", id, "run");
  assert.equal(await take(), { training: { id, run: second }, isRestart: false });
  assert.is(readFileSync(file, "utf8"), `${second}\n`);
  assert.equal(await take(), { training: { id, run: second + 1 }, isRestart: true });
  assert.is((await take((second - 3_600) * 1_000)).training.run, second + 2, "a clock that went back lowers no run");
  for (const text of ["", "7\n", "no number\n", "99999999999\n", "4294967295\n"]) {
    writeFileSync(file, text);
    assert.equal(await take(), { training: { id, run: second }, isRestart: true });
  }
  place.remove();
  assert.is(
    trainingIdOf({ ...job, rounds: { ...job.rounds, updateRounds: 9 } }),
    id,
    "it has no more rounds than before",
  );
  assert.is.not(trainingIdOf({ ...job, dataset: "other" }), id);
});

test("bug: a run whose number was not kept began, and after a loss of power the same number began again", async () => {
  const place = temporary();
  const id = "t-7f3a";
  const reports: Report[] = [];
  const ports = makePorts((report) => void reports.push(report));
  const folder = join(place.path, "trainings");
  writeFileSync(folder, "a file where the folder should be");
  const kept = new Promise<EventOf<typeof takeRunActor>>((resolve) => {
    const logic = setup({ types: { events: {} as EventOf<typeof takeRunActor> }, actors: { takeRunActor } })
      .createMachine({
        invoke: { src: "takeRunActor", input: { ports, stateDir: place.path, id } },
        on: { "*": { actions: ({ event }) => resolve(event) } },
      });
    createActor(logic).start();
  });
  await eventually("the report", () => reports.some(({ event }) => event === "run.unkept"));
  assert.is(await Promise.race([kept, new Promise((wake) => setTimeout(wake, 300, "waits"))]), "waits");
  rmSync(folder);
  const event = await kept;
  assert.is(event.type, "effect.done.run");
  const { training: { run } } = (event as Extract<typeof event, { type: "effect.done.run" }>).value;
  assert.is(readFileSync(join(folder, id, "run"), "utf8"), `${run}\n`);
  assert.equal(reports.map(({ level, event, fields }) => [level, event, fields]), [["error", "run.unkept", {
    training: id,
  }]]);
  assert.match(reports[0]?.message ?? "", /trainings.*state_dir.*begins by itself/);
  await ports.dispose();
  place.remove();
});

test.run();
