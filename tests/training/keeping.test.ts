/** A scheduler that keeps the model of its training: what members are told, and when a round is finished. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SchedulerConfig } from "../../actors/config/config.ts";
import { handOver } from "../../actors/job/copy.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { encodeTensors, layoutDigest } from "../../actors/learning/mod.ts";
import { identityOf, settle } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";
import { changeAgainMs } from "../../actors/training/replacing.ts";
import { dispatchDeadlineMs } from "../../actors/training/training_setup.ts";
import { TransportError } from "../../transport/port.ts";
import { configOf, startScheduler } from "../support/scheduler_world.ts";

const tensors = (...values: number[]) =>
  encodeTensors(new Map([["w", { shape: [values.length], values: Float32Array.from(values) }]]));
const limits = { ...jobLimits, acknowledgeMs: 5_000 };

function configIn(folder: string, rounds: number): SchedulerConfig {
  const { job, ...config } = configOf(1, rounds);
  const weights = join(folder, "init.safetensors");
  writeFileSync(weights, tensors(1, 2));
  const model = { weights, type: "image-classification", inputNames: ["x"] };
  return {
    ...config,
    stateDir: join(folder, "state"),
    job: { ...job, model, rounds: { ...job.rounds, keepRounds: 3 } },
  };
}

/** A training of trainer `a` and aggregator `s`, both dispatched. */
async function trained(config: SchedulerConfig) {
  const started = startScheduler(config);
  const { world, actor, offer, dispatches, say, answerTraining } = started;
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  if (actor.getSnapshot().context.isRestart) {
    // What an earlier run left at the workers is ended first.
    offer("a", "s");
    answerTraining("ours");
    world.pass(1_000);
  }
  offer("a");
  offer("s");
  const jobs = [...dispatches()];
  jobs[0]?.accept();
  jobs.push(...dispatches());
  jobs[1]?.accept();
  const { run } = actor.getSnapshot().context;
  assert.ok(run !== undefined);
  const jobOf = (peer: string) => jobs.find((job) => job.peer === peer)?.spec.job_id ?? "";
  const progress = (peer: string, progress: "update" | "updated" | "update-received") =>
    (say(peer, { job_id: jobOf(peer), progress, training: run }) as { readonly type?: string }).type;
  const data = (peer: string, dataset: string) => {
    const answer = say(peer, { Data: { dataset, training: run } });
    return typeof answer === "object" && "Data" in answer ? answer.Data : answer;
  };
  const stream = (peer: string, exchange: string, protocol: "push/2" | "pull/2") =>
    actor.send({
      type: "stream.received",
      exchange,
      peer,
      identity: identityOf(peer),
      protocol: `/hypha-tensor-stream/${protocol}`,
    });
  /** The aggregator hands a result over; whether it was acknowledged. */
  const push = async (bytes: Uint8Array, exchange: string) => {
    stream("s", exchange, "push/2");
    const accept = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: "s" }, "/hypha-tensor-stream/push/2");
    accept.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const read = (into: Uint8Array, position: number) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + into.length);
        into.set(piece);
        return piece.length;
      });
    const outcome = await Effect.runPromise(
      Effect.result(handOver({ fd: -1, sizeBytes: bytes.length, read }, far, limits)),
    );
    await settle();
    return Result.isSuccess(outcome);
  };
  return { ...started, jobs, progress, data, stream, push, run };
}

function recordOf(slices: number) {
  const value = new TextEncoder().encode(JSON.stringify({ num_slices: slices }));
  const identity = identityOf("data", "data");
  return { type: "record", id: "", key: "digits", value, publisher: "data", identity } as const;
}

const test = suite("a scheduler that keeps the model");

test("members get the weights from it, and a round is finished when it is on disk", async () => {
  const folder = temporary();
  const { world, actor, jobs, progress, data, stream, push, run } = await trained(configIn(folder.path, 2));
  const [aggregate, train] = jobs.map(({ spec }) => spec);
  assert.ok(aggregate?.executor.class === "aggregate" && train?.executor.class === "train");
  const beginning = { ...run, round: 0, samples: 0, rounds: 2 };
  assert.equal([aggregate.training, train.training], [beginning, beginning]);
  assert.equal(aggregate.executor.config.results.peers, ["a", "scheduler"]);
  assert.equal(aggregate.aggregation, { layout: layoutDigest([{ name: "w", shape: [2], dtype: "F32" }]) });
  assert.is(train.aggregation, undefined);
  const dataset = `hypha:weights/${run.id}`;
  assert.equal(train.executor.config.model.artifact, { type: "scheduler", peer: "scheduler", dataset });
  assert.equal(data("a", dataset), { Success: { data_provider: "scheduler", index: 4_294_967_296 } });
  assert.is(data("stranger", dataset), "declined");
  assert.is(data("s", `hypha:velocity/${run.id}`), "declined", "there is none before round 1");
  stream("stranger", "p1", "pull/2");
  stream("a", "p2", "push/2");
  assert.equal(world.take("stream.reject").map(({ exchange }) => exchange), ["p1", "p2"]);
  assert.is(progress("a", "update"), "Ok");
  assert.is(progress("s", "updated"), "Ok");
  assert.equal(world.reported("round.finished"), [], "it was reported, and is not on disk");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1]);
  assert.equal(data("s", `hypha:velocity/${run.id}`), {
    Success: { data_provider: "scheduler", index: 4_294_967_297 },
  });
  assert.is(data("a", `hypha:velocity/${run.id}`), "NotFound", "for the aggregator alone");
  assert.is(progress("a", "update-received"), "Continue");
  assert.is(progress("a", "update"), "Ok");
  assert.is(progress("s", "updated"), "Done");
  assert.is(progress("s", "updated"), "Done", "its answer was lost");
  assert.is(actor.getSnapshot().context.training.aggregator?.state, "running", "its result is not here");
  assert.ok(await push(tensors(1, 1), "r2"));
  assert.is(actor.getSnapshot().context.training.aggregator?.state, "done");
  assert.is(progress("a", "update-received"), "Done");
  world.pass(3_000);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
  assert.equal(world.reported("training.model").map(({ rounds }) => rounds), [2]);
  const again = startScheduler(configIn(folder.path, 2));
  await eventually("there is nothing left to do", () => again.actor.getSnapshot().status === "done");
  assert.equal(again.world.reported("training.model").map(({ rounds }) => rounds), [2]);
  const more = await trained(configIn(folder.path, 3));
  assert.equal(more.jobs[0]?.spec.training, { id: run.id, run: run.run + 2, round: 2, samples: 0, rounds: 3 });
  assert.is(more.progress("a", "update"), "Ok");
  assert.is(more.progress("s", "updated"), "Done");
  more.actor.send({ type: "role.drain" });
  folder.remove();
});

test("an aggregator whose result does not fit is lost; the round is done again with another one", async () => {
  const folder = temporary();
  const { world, actor, progress, push, offer, dispatches, live, run } = await trained(configIn(folder.path, 2));
  progress("a", "update");
  progress("s", "updated");
  assert.not.ok(await push(tensors(1, 1, 1), "r1"));
  await eventually("it is lost", () => world.reported("aggregator.lost").length === 1);
  assert.equal(actor.getSnapshot().context.training.roundsDone, 0, "what was not kept is done again");
  offer("t");
  live(1_000);
  const [job] = dispatches();
  assert.ok(job?.spec.executor.class === "aggregate");
  assert.equal([job.peer, job.spec.training?.round, job.spec.executor.config.updates.peers], ["t", 0, ["a"]]);
  world.take("request");
  job.accept();
  const [change] = world.take("request").flatMap(({ peer, message }) =>
    "Change" in message ? [{ peer, ...message }] : []
  );
  assert.is(change?.peer, "a");
  assert.equal([change?.Change.aggregator, change?.Change.results, change?.Change.run], ["t", ["t"], run.run]);
  live(1_000);
  assert.equal(world.reported("round.finished"), []);
  assert.equal(world.reported("training.waiting").length, 1);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("an aggregator that does not take its job is replaced too; a worker that was not reached is told again", async () => {
  const folder = temporary();
  const { world, actor, progress, push, offer, dispatches, live } = await trained(configIn(folder.path, 2));
  progress("a", "update");
  progress("s", "updated");
  assert.not.ok(await push(tensors(1, 1, 1), "r1"));
  await eventually("it is lost", () => world.reported("aggregator.lost").length === 1);
  offer("t");
  live(1_000);
  assert.equal(dispatches().map(({ peer }) => peer), ["t"]);
  live(dispatchDeadlineMs);
  assert.equal(world.reported("aggregator.lost").map(({ peer }) => peer), ["s", "t"], "it did not answer in time");
  offer("u");
  live(1_000);
  const [job] = dispatches();
  assert.is(job?.peer, "u");
  world.take("request");
  job?.accept();
  const changes = () => world.take("request").filter(({ message }) => "Change" in message);
  const [change] = changes();
  const error = new TransportError({ code: "timed-out", detail: "no answer" });
  change?.replyTo.send({ type: "request.failed", id: change.id, error });
  assert.equal(changes(), [], "not at once");
  world.pass(changeAgainMs);
  const [again] = changes();
  assert.equal([again?.peer, again?.message], ["a", change?.message]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("weights without a state directory fail at the start", async () => {
  const folder = temporary();
  const { stateDir: _, ...config } = configIn(folder.path, 2);
  const { scheduler } = startScheduler(config);
  await eventually("it fails", () => scheduler.getSnapshot().status === "done");
  const { output } = scheduler.getSnapshot();
  assert.match(output?.type === "failed" ? output.reason : "", "state_dir");
  folder.remove();
});
test.run();
