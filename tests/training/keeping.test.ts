/** A scheduler that keeps the model of its training: which messages members get, and when a round is finished. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { layoutDigest } from "../../actors/learning/mod.ts";
import type { DilocoJobConfig } from "../../actors/config/config.ts";
import { timerMaxMs } from "../../actors/runtime/ports.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";
import { configIn, tensors, trained } from "../support/kept_training.ts";
import { changeAgainMs } from "../../actors/training/replacing.ts";
import { trainingIdOf } from "../../actors/training/run_number.ts";
import { dispatchDeadlineMs } from "../../actors/training/training_setup.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { TransportError } from "../../transport/port.ts";
import { identityOf } from "../support/fake_transport.ts";
import { startScheduler } from "../support/scheduler_world.ts";
import { revoked } from "../support/worker_world.ts";

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

test("bug: a training that may wait for members longer than a timer of the runtime lasts failed at once", async () => {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 2) as ReturnType<typeof configIn> & { job: DilocoJobConfig };
  const dayMs = 86_400_000;
  const waiting = { ...config, job: { ...job, resources: { ...job.resources, waitS: 60 * dayMs / 1_000 } } };
  const { world, scheduler, actor } = await trained(waiting as ReturnType<typeof configIn>);
  const start = world.clock.setTimeout.bind(world.clock);
  world.clock.setTimeout = (task, ms) => start(task, ms > timerMaxMs ? 1 : ms);
  actor.send({ type: "peer.closed", peer: "a", identity: identityOf("a"), reason: revoked });
  for (const ms of [10, 20 * dayMs, 20 * dayMs, 20 * dayMs - 1_000]) {
    world.clock.increment(ms);
    assert.is(scheduler.getSnapshot().status, "active", `after ${ms} ms more`);
  }
  assert.is(world.reported("training.waiting").length, 1);
  world.clock.increment(1_000);
  const { output } = scheduler.getSnapshot();
  assert.match(JSON.stringify(output), /waited 5184000 s/);
  folder.remove();
});

/** The whole result is there, and its round is being written. */
async function hasArrived(folder: string): Promise<void> {
  const [id = ""] = readdirSync(join(folder, "state/trainings"));
  const path = join(folder, "state/trainings", id, "incoming.safetensors");
  for (let turns = 0; !existsSync(path); turns++) {
    assert.ok(turns < 100_000, "no result arrived");
    await setImmediate();
  }
}

test("bug: a round that was on disk just after its aggregator was lost was not counted, and the training ended with one fewer", async () => {
  for (const rounds of [1, 2]) {
    const folder = temporary();
    const { world, actor, progress, push, offer, dispatches } = await trained(configIn(folder.path, rounds));
    progress("a", "update");
    progress("s", "updated");
    const pushed = push(tensors(1, 1), "r1");
    await hasArrived(folder.path);
    actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
    assert.is(world.reported("aggregator.lost").length, 1);
    await pushed;
    await eventually("the round is kept", () => world.reported("round.finished").length === 1);
    assert.equal(world.reported("round.finished").map(({ round }) => round), [1]);
    assert.is(actor.getSnapshot().context.training.roundsDone, 1);
    if (rounds === 1) {
      await eventually("it ends", () => world.reported("training.done").length === 1);
      assert.equal(world.reported("training.done").map((done) => done["rounds"]), [1]);
    } else {
      world.pass(1_000);
      offer("t");
      world.pass(1_000);
      assert.equal(dispatches().map(({ peer, spec }) => [peer, spec.training?.round]), [["t", 1]]);
      assert.not(actor.getSnapshot().context.training.trainers["a"]?.waiting, "it waits for the result");
      actor.send({ type: "role.drain" });
    }
    folder.remove();
  }
});

test("bug: a round that was on disk after the next aggregator had its job was made again, and trainers had other parameters", async () => {
  const folder = temporary();
  const { world, actor, progress, push, offer, dispatches, live } = await trained(configIn(folder.path, 3));
  const round = async (nth: number) => {
    progress("a", "update");
    progress("s", "updated");
    const pushed = push(tensors(nth, 1), `r${nth}`);
    if (nth === 1) {
      assert.ok(await pushed);
      progress("a", "update-received");
      return;
    }
    await hasArrived(folder.path);
    actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
    // Another is there at once, while the round is being written.
    offer("t");
    live(1_000);
    offer("t");
    live(1_000);
    const early = dispatches().map(({ peer, spec }) => [peer, spec.training?.round]);
    await pushed;
    await eventually("the round is kept", () => world.reported("round.finished").length === nth);
    offer("t");
    live(1_000);
    const jobs = [...early, ...dispatches().map(({ peer, spec }) => [peer, spec.training?.round])];
    assert.equal(jobs, [["t", 2]], "it goes on after the round that is kept");
  };
  await round(1);
  await round(2);
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1, 2]);
  assert.is(actor.getSnapshot().context.training.roundsDone, 2);
  assert.not(actor.getSnapshot().context.training.trainers["a"]?.waiting, "it waits for the result");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: an aggregator that was lost before its result was found not to fit was leased again", async () => {
  const folder = temporary();
  const { world, actor, progress, push, offer, live } = await trained(configIn(folder.path, 2));
  progress("a", "update");
  progress("s", "updated");
  const pushed = push(tensors(1, 1, 1), "r1");
  await hasArrived(folder.path);
  actor.send({ type: "participant.lost", peer: "s", reason: "test" });
  assert.not.ok(await pushed);
  await eventually("its result is settled", () => actor.getSnapshot().context.model?.isSettling === false);
  live(60_000);
  offer("s");
  live(1_000);
  assert.is(actor.getSnapshot().context.training.aggregator, undefined);
  offer("t");
  live(1_000);
  assert.is(actor.getSnapshot().context.training.aggregator?.peer, "t");
  assert.is(world.reported("aggregator.lost").length, 1);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a lost aggregator whose push went on kept its successor's results out, and its own could count later", async () => {
  const folder = temporary();
  const { world, actor, progress, stream, push, offer, dispatches, live, join } = await trained(
    configIn(folder.path, 2),
  );
  progress("a", "update");
  progress("s", "updated");
  stream("s", "slow", "push/2");
  const accept = world.takeOne("stream.accept");
  const { near, far } = streamPair({ near: "scheduler", far: "s" }, "/hypha-tensor-stream/push/2");
  accept.replyTo.send({ type: "stream.opened", id: "slow", stream: near });
  await Effect.runPromise(far.write(new Uint8Array(8)));
  stream("s", "next", "push/2");
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
  await eventually("its push is reset", () => world.reported("result.refused").length === 1);
  assert.equal(world.take("stream.reject").map(({ exchange }) => exchange), ["next"]);
  assert.ok(Result.isFailure(await Effect.runPromise(Effect.result(far.write(new Uint8Array(8))))));
  offer("t");
  live(1_000);
  assert.equal(dispatches().map(({ peer, spec }) => [peer, spec.training?.round]), [["t", 0]]);
  join();
  progress("t", "updated");
  assert.ok(await push(tensors(1, 1), "r1", "t"));
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a trainer that reported batches of any size made every later record of a round unreadable", async () => {
  const folder = temporary();
  const { actor, say, progress, push, run, jobs, data } = await trained(configIn(folder.path, 2));
  const train = jobs.find(({ peer }) => peer === "a")?.spec;
  assert.ok(train?.executor.class === "train");
  const status = () => {
    const batch_size = 2 ** 32 - 1;
    return say("a", { job_id: train.job_id, progress: { status: { batch_size } }, training: run });
  };
  status();
  status();
  const most = train.executor.config.batch_size;
  assert.is(actor.getSnapshot().context.samples, 2 * most, "a batch has as many rows as its job says");
  progress("a", "update");
  progress("s", "updated");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.is(actor.getSnapshot().context.model?.checkpoint.record.samples, 2 * most);
  assert.ok(data("a", "digits"));
  progress("a", "update-received");
  progress("a", "update");
  progress("s", "updated");
  assert.ok(await push(tensors(1, 1), "r2"));
  progress("a", "update-received");
  status();
  assert.is(actor.getSnapshot().context.samples, 2 * most, "its training is over");
  folder.remove();
});

test("bug: a worker that offered endless GPU memory reported endless batches, and no record or job of a later round was readable", async () => {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 3) as ReturnType<typeof configIn> & { job: DilocoJobConfig };
  const large = { ...config, job: { ...job, rounds: { ...job.rounds, maxBatchSize: 1_000_000 } } };
  const start = async () => {
    const world = await trained(large as ReturnType<typeof configIn>);
    const status = (peer: string) => {
      const job_id = world.jobs.find((each) => each.peer === peer)?.spec.job_id ?? "";
      world.say(peer, { job_id, progress: { status: { batch_size: 2 ** 32 - 1 } }, training: world.run });
      return world.actor.getSnapshot().context.samples;
    };
    return { ...world, status };
  };
  const first = await start();
  assert.is(first.status("a"), 100, "a report counts at most the samples of a round");
  assert.is(first.status("s"), 100, "an aggregator trains nothing");
  first.progress("a", "update");
  first.progress("s", "updated");
  assert.ok(await first.push(tensors(1, 1), "r1"));
  const record = `${first.actor.getSnapshot().context.model?.checkpoint.parameters.replace(/\.safetensors$/, "")}.json`;
  first.scheduler.send({ type: "role.drain" });
  const most = Number.MAX_SAFE_INTEGER;
  writeFileSync(record, readFileSync(record, "utf8").replace('"samples": 100', `"samples": ${most - 1}`));
  const second = await start();
  assert.is(second.status("a"), most);
  second.progress("a", "update");
  second.progress("s", "updated");
  assert.ok(await second.push(tensors(1, 1), "r2"));
  second.scheduler.send({ type: "role.drain" });
  const third = await start();
  assert.equal(third.jobs[0]?.spec.training, { ...third.run, round: 2, samples: most, rounds: 3 });
  third.scheduler.send({ type: "role.drain" });
  folder.remove();
});

test("a trainer whose parameters are not the scheduler's is lost; with a second one the aggregator is, and is not leased again", async () => {
  const folder = temporary();
  const names = ["a", "b", "c"];
  const { world, actor, progress, push, offer, dispatches, live } = await trained(configIn(folder.path, 9, 3), names);
  const lost = (part: string) => world.reported(`${part}.lost`).map(({ peer }) => peer);
  const digestOf = (round: number) => actor.getSnapshot().context.training.digests[round] ?? "";
  /** One round, and what each trainer has after it. */
  const round = async (nth: number, has: (peer: string) => string) => {
    for (const peer of names) progress(peer, "update");
    assert.is(progress("s", "updated"), "Ok");
    assert.ok(await push(tensors(nth, 1), `r${nth}`));
    for (const peer of names) progress(peer, "update-received", { round: nth, parameters: has(peer) });
  };
  await round(1, () => digestOf(1));
  assert.equal(world.reported("member.diverged"), []);
  const other = "ab".repeat(32);
  await round(2, (peer) => peer === "b" ? other : digestOf(2));
  assert.equal(world.reported("member.diverged").map(({ peer, round, sha256 }) => [peer, round, sha256]), [
    ["b", 2, other],
  ]);
  assert.equal([lost("trainer"), lost("aggregator")], [["b"], []]);
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), /^diverged: its parameters after round 2/);
  assert.is(progress("b", "update"), undefined, "it is no member");
  for (const { accept } of dispatches()) accept();
  await round(3, (peer) => peer === "c" ? other : digestOf(3));
  assert.equal([lost("trainer"), lost("aggregator")], [["b", "c"], ["s"]]);
  assert.equal(actor.getSnapshot().context.training.roundsDone, 3, "the round is the scheduler's, and stays");
  live(30_000);
  offer("s");
  live(1_000);
  assert.is(actor.getSnapshot().context.training.aggregator, undefined);
  offer("t");
  live(1_000);
  assert.equal(dispatches().map(({ peer, spec }) => [peer, spec.training?.round]), [["t", 3]]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a trainer that lied under two keys expelled the aggregator, and two that lied together expelled each", async () => {
  const folder = temporary();
  const names = ["a", "b", "c", "d"];
  const { world, actor, progress, push, offer, join, live } = await trained(configIn(folder.path, 9, 4), names);
  const lost = (part: string) => world.reported(`${part}.lost`).map(({ peer }) => peer);
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers).sort().join();
  const other = "ab".repeat(32);
  let nth = 0;
  /** One round, after which these trainers say that they have other parameters. */
  const round = async (aggregator: string, present: readonly PeerIdentity[], liars: readonly PeerIdentity[]) => {
    nth++;
    for (const peer of present) progress(peer, "update");
    assert.is(progress(aggregator, "updated"), "Ok");
    assert.ok(await push(tensors(nth, 1), `r${nth}`, aggregator));
    const expected = actor.getSnapshot().context.training.digests[nth] ?? "";
    for (const peer of present) {
      progress(peer, "update-received", { round: nth, parameters: liars.includes(peer) ? other : expected });
    }
  };
  /** A worker offers, is leased and has its job. */
  const rejoin = (...peers: (string | PeerIdentity)[]) => {
    live(1_000);
    offer(...peers);
    live(1_000);
    join();
  };
  const [a, b, c, d] = names.map((name) => identityOf(name));
  assert.ok(a && b && c && d);
  const [b2, b3, c2] = [
    identityOf("b2", undefined, "b.name"),
    identityOf("b3", undefined, "b.name"),
    identityOf("c2", undefined, "c.name"),
  ];
  await round("s", [a, b, c, d], [b]);
  rejoin(b2);
  await round("s", [a, b2, c, d], [b2]);
  assert.equal([lost("trainer"), lost("aggregator")], [["b", "b2"], []], "one node counts once, whatever its key");
  rejoin(b3);
  await round("s", [a, b3, c, d], [c]);
  assert.equal(lost("aggregator"), ["s"], "two nodes contradict it");
  rejoin("t");
  rejoin(c2);
  assert.is(trainers(), "a,b3,c2,d");
  await round("t", [a, b3, c2, d], [b3, c2]);
  assert.equal(
    [lost("trainer").slice(3), lost("aggregator")],
    [["b3", "c2"], ["s"]],
    "they contradict each aggregator",
  );
  live(120_000);
  rejoin("b", "c", "e");
  assert.is(trainers(), "a,d,e", "they are not leased again");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("an aggregator that does not take its job is replaced too; a worker that was not reached gets its message again", async () => {
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
  const said = [change, again].map((request) =>
    (request?.message as { readonly Change: { readonly dispatch: number } }).Change
  );
  const [first = 0, second = 0] = said.map(({ dispatch }) => dispatch);
  assert.equal([again?.peer, { ...said[1], dispatch: first }], ["a", said[0]]);
  assert.ok(second > first, "each is numbered");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("a model of a repository is kept too: trainers begin with its files, those that join later with the scheduler's", async () => {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 3);
  assert.ok(job !== undefined);
  const { type, inputNames } = job.model;
  const hub = { repository: "acme/model", revision: "ab".repeat(20), filenames: ["a.safetensors"], token: undefined };
  const kept = { ...job, model: { ...hub, type, inputNames, keep: true } };
  const place = join(folder.path, "state", "trainings", trainingIdOf(kept));
  mkdirSync(place, { recursive: true });
  // As an earlier run fetched it.
  writeFileSync(join(place, "repository.safetensors"), tensors(1, 2));
  const { world, actor, jobs, progress, push, offer, dispatches, live, run } = await trained({ ...config, job: kept });
  const artifactOf = (of: typeof jobs[number] | undefined) =>
    of?.spec.executor.class === "train" ? of.spec.executor.config.model.artifact : undefined;
  assert.equal(artifactOf(jobs[1]), { type: "huggingface", ...hub, token: null });
  progress("a", "update");
  progress("s", "updated");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1]);
  progress("a", "update-received", { round: 1, parameters: "ab".repeat(32) });
  assert.equal(world.reported("member.diverged"), [], "its file has the header of the repository's");
  actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  live(1_000);
  offer("b");
  live(1_000);
  for (const { accept } of dispatches()) accept();
  const newcomer = dispatches().find(({ peer }) => peer === "b");
  assert.equal(artifactOf(newcomer), { type: "scheduler", peer: "scheduler", dataset: `hypha:weights/${run.id}` });
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
