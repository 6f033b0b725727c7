/** Workers of the existing network, which know no release and report no ends of jobs: what a scheduler waits for, in virtual time. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { executorEndMs, foreignWaitMs, offerOverMs } from "../../actors/training/workers.ts";
import { regroupMs, silenceCheckMs, tailMs } from "../../actors/training/training_setup.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import type { RoleEvent } from "../../actors/runtime/role.ts";
import type { StreamHandle } from "../../transport/port.ts";
import type { Progress } from "../../transport/protocols/messages.ts";
import { failedWith, type FakeWorld, identityOf } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";
import { configIn, tensors, trained } from "../support/kept_training.ts";
import { configOf, resources, startScheduler, training } from "../support/scheduler_world.ts";
import { revoked } from "../support/worker_world.ts";

const test = suite("a scheduler of foreign workers");

/** A scheduler whose only trainer is leased, and released again because there is no aggregator. */
function regrouped() {
  const started = startScheduler(configOf(1, 1));
  const { world, found, offer, live, actor, answerTraining } = started;
  found();
  offer("rust");
  const lease = () => Object.values(actor.getSnapshot().children).find((child) => child?.id.startsWith("lease/"));
  const endsAt = () => (lease()?.getSnapshot() as { context: { endsAt: number } }).context.endsAt;
  let ends = endsAt();
  for (let passed = 0; passed < regroupMs * 1.5 && lease() !== undefined; passed += 500) {
    ends = endsAt();
    live(500);
  }
  assert.is(world.reported("allocation.regrouped").length, 1);
  offer("aggregator");
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  /** Offers each second until there is a trainer; when that was. */
  const untilTaken = () => {
    for (let second = 0; second < 30 && trainers().length === 0; second++) {
      live(1_000);
      offer("rust");
    }
    assert.equal(trainers(), ["rust"]);
    return world.ports.now();
  };
  return { answerTraining, ends, untilTaken, now: world.ports.now };
}

test("a foreign worker that was released gets a request again when its lease and what ran under it are over", () => {
  for (const known of [true, false]) {
    const { answerTraining, ends, untilTaken, now } = regrouped();
    if (known) answerTraining("foreign");
    assert.ok(ends > now() + 1_000, "the lease goes on");
    const taken = untilTaken();
    assert.ok(taken >= ends + executorEndMs && taken <= ends + executorEndMs + 2_000, `${taken - ends}`);
  }
});

test("a worker of ours that was released gets a request again at once", () => {
  const { answerTraining, untilTaken, now } = regrouped();
  answerTraining("ours");
  const before = now();
  assert.ok(untilTaken() - before <= 2_000);
});

test("bug: a worker whose acceptance got no answer was leased twice; it is requested to release, and gets no requests for a while if it is foreign", () => {
  for (const are of ["ours", "foreign"] as const) {
    const { world, found, say, live, offer, answerTraining, actor } = startScheduler(configOf(1, 1));
    found();
    const request_id = world.take("publish").at(-1)?.message.id ?? "";
    say("w", { WorkerOffer: { id: "lost", request_id, price: 1, resources, timeout: instantFromMs(0) } });
    const acceptance = world.takeOne("request");
    acceptance.replyTo.send({ type: "request.failed", id: acceptance.id, error: failedWith("timed-out") });
    const released = world.asks.flatMap((ask) => ask.type === "request" && "Release" in ask.message ? [ask] : []);
    assert.equal(released.map(({ peer, message }) => [peer, message]), [["w", { Release: { lease: "lost" } }]]);
    answerTraining(are);
    const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
    /** It offers, and is taken when no others have offered. */
    const offerAgain = () => {
      offer("w");
      live(500);
    };
    live(1_000);
    offerAgain();
    assert.equal(trainers(), are === "ours" ? ["w"] : []);
    live(foreignWaitMs - 2_500);
    offerAgain();
    assert.equal(trainers(), are === "ours" ? ["w"] : []);
    live(1_000);
    offerAgain();
    assert.equal(trainers(), ["w"]);
  }
});

/** A scheduler with a leased trainer that offers again while an aggregator is looked for; the time from that offer to its dispatch. */
function untilDispatched(again: boolean): number {
  const { world, actor, found, offer, dispatches, say } = startScheduler(configOf(1, 1));
  found();
  offer("rust");
  if (again) {
    const request_id = world.take("publish").at(-1)?.message.id ?? "";
    const unaccepted = { id: "unaccepted", request_id, price: 1, resources, timeout: instantFromMs(0) };
    say("rust", { WorkerOffer: unaccepted });
    world.pass(100);
    actor.send({ type: "dataset.seek" });
  }
  const before = world.ports.now() - (again ? 100 : 0);
  world.pass(10);
  const [request] = world.asks.flatMap((ask) => ask.type === "publish" ? [ask] : []).slice(-1);
  say("aggregator", {
    WorkerOffer: { id: "o", request_id: request?.message.id ?? "", price: 1, resources, timeout: instantFromMs(0) },
  });
  for (let passed = 0; passed < 3_000; passed += 10) {
    for (const { peer, accept } of dispatches()) {
      if (peer === "rust") return world.ports.now() - before;
      accept();
    }
    world.pass(10);
  }
  throw new Error("the trainer got no job");
}

test("bug: a job was dispatched while an unaccepted offer of its worker was open, and ended with it", () => {
  assert.ok(untilDispatched(false) < 100);
  const waited = untilDispatched(true);
  assert.ok(waited >= offerOverMs && waited < offerOverMs + 100, `${waited}`);
});

test("a foreign trainer that sends no update is lost after one deadline", () => {
  const { progress, live, world } = training(["a", "b"], 1, "aggregator", true);
  const deadlineMs = configOf(1, 1).job.aggregation.roundDeadlineS * 1_000;
  progress("a", "update");
  for (let passed = 0; passed <= deadlineMs; passed += silenceCheckMs) {
    progress("b", { status: { batch_size: 0 } });
    live(silenceCheckMs);
  }
  assert.equal(world.reported("trainer.lost").map(({ peer }) => peer), ["b"]);
});

test("bug: at the end of a training whose aggregator is foreign 300 s were waited for a report that no such worker sends", () => {
  const { world, progress, live, actor } = training(["a", "b"], 1, "aggregator", true);
  for (const peer of ["a", "b"]) progress(peer, "update");
  assert.is(progress("aggregator", "updated"), "Done");
  assert.equal(world.reported("training.ending").map(({ missing, waitMs }) => [missing, waitMs]), [[
    ["a", "b"],
    tailMs,
  ]]);
  progress("a", "update-received");
  live(tailMs - 500);
  assert.is(world.reported("training.done").length, 0, "the other's receipt may still come");
  live(500);
  assert.equal(world.reported("training.unconfirmed").map(({ missing }) => missing), [["b"]]);
  assert.is(world.reported("training.done").length, 1);
  live(2_500);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

/** A training with weights, some of whose workers are of the existing network: they name no training, and send no receipt. */
async function mixed(foreign: boolean, trainers: readonly string[] = ["a"], quorum = 1) {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 9, trainers.length);
  assert.ok(job !== undefined);
  const resources = { ...job.resources, ...(foreign ? { foreign } : {}) };
  const aggregation = { ...job.aggregation, quorum };
  const started = await trained({ ...config, job: { ...job, resources, aggregation } }, trainers);
  const { jobs, say, actor } = started;
  /** What such a worker's report is answered. */
  const report = (peer: string, progress: Progress) => {
    const job_id = jobs.find((taken) => taken.peer === peer)?.spec.job_id ?? "";
    return (say(peer, { job_id, progress }) as { readonly type?: string }).type;
  };
  const stop = () => {
    actor.send({ type: "role.drain" });
    folder.remove();
  };
  return { ...started, report, stop };
}

/** A member opens a push as the existing network does: its end of the stream; undefined where the stream is rejected. */
function pushPlainly(
  world: FakeWorld,
  actor: { send(event: RoleEvent): void },
  peer: string,
): StreamHandle | undefined {
  const protocol = "/hypha-tensor-stream/push" as const;
  actor.send({ type: "stream.received", exchange: "plain", peer, identity: identityOf(peer), protocol });
  const [accept] = world.take("stream.accept");
  if (accept === undefined) return undefined;
  const { near, far } = streamPair({ near: "scheduler", far: peer }, protocol);
  accept.replyTo.send({ type: "stream.opened", id: "plain", stream: near });
  return far;
}

test("bug: a job that waited for the end of its worker's offer was sent after the job that replaced it", async () => {
  const { world, actor, say, dispatches, stop } = await mixed(true, ["a", "b"]);
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
  world.pass(1_000);
  const request_id = world.take("publish").at(-1)?.message.id ?? "";
  for (const id of ["taken", "unaccepted"]) {
    say("t", { WorkerOffer: { id, request_id, price: 1, resources, timeout: instantFromMs(0) } });
  }
  for (let passed = 0; passed < 1_000 && world.reported("lease.granted").length < 4; passed += 10) {
    assert.equal(dispatches(), []);
    world.pass(10);
  }
  actor.send({ type: "redispatch" });
  assert.equal(dispatches(), [], "an offer of its worker is open");
  world.pass(offerOverMs);
  assert.equal(dispatches().map(({ peer }) => peer), ["t"], "it is sent once");
  stop();
});

test("a worker that shows itself as foreign takes no part in a training with weights, unless the job says so", async () => {
  for (const [peer, part] of [["a", "trainer"], ["s", "aggregator"]] as const) {
    const { world, report, offer, live, actor, stop } = await mixed(false);
    report(peer, part === "trainer" ? { status: { batch_size: 1 } } : "updated");
    const [lost] = world.reported(`${part}.lost`);
    assert.is(lost?.["peer"], peer);
    assert.match(String(lost?.["reason"]), "foreign = true");
    live(60_000);
    offer(peer);
    live(1_000);
    const { trainers, aggregator } = actor.getSnapshot().context.training;
    assert.not([...Object.keys(trainers), aggregator?.peer].includes(peer), "it is not leased again");
    stop();
  }
});

test("with a quorum below 1 a foreign trainer is out with its first report, because it labels no update", async () => {
  const { world, report, progress, actor, stop } = await mixed(true, ["a", "b"], 0.5);
  assert.is(progress("b", "update"), "Ok");
  report("a", { status: { batch_size: 1 } });
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), /does not label its updates .* quorum below 1/);
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["b"]);
  stop();
});

test("foreign trainers: rounds are kept, and their receipts count without a round", async () => {
  const { world, report, progress, push, stop } = await mixed(true, ["a", "b"]);
  for (const round of [1, 2]) {
    assert.is(report("a", "update"), "Ok");
    progress("b", "update");
    progress("s", "updated");
    assert.ok(await push(tensors(1, 1), `r${round}`));
    assert.equal([report("a", "update-received"), progress("b", "update-received")], ["Continue", "Continue"]);
  }
  assert.equal(world.reported("round.finished").map(({ round, trainers }) => [round, trainers]), [[1, 2], [2, 2]]);
  stop();
});

test("a foreign aggregator's result is on disk before it reports the round: the round counts once, also where a trainer has it by then", async () => {
  const { report, progress, push, actor, stop } = await mixed(true, ["a"]);
  const roundsDone = () => actor.getSnapshot().context.training.roundsDone;
  for (const round of [1, 2]) {
    assert.is(progress("a", "update"), "Ok");
    assert.ok(await push(tensors(1, 1), `r${round}`));
    progress("a", "update-received");
    assert.is(report("s", "updated"), "Ok");
    progress("a", "update-received");
    assert.is(roundsDone(), round);
  }
  stop();
});

test("bug: an aggregator ended a training for good with one byte over the push protocol of the existing network", async () => {
  const barred = async (foreign: boolean) => {
    const { world, scheduler, actor, progress, offer, live, stop } = await mixed(foreign);
    progress("s", "update"); // it names the training: its worker is ours
    assert.is(scheduler.getSnapshot().context.workers.speakers["s"], "ours");
    const far = pushPlainly(world, actor, "s");
    if (far !== undefined) {
      await Effect.runPromise(far.write(Uint8Array.of(1)));
      await Effect.runPromise(far.abort("test"));
      await eventually("the training ends", () => scheduler.getSnapshot().status === "done");
    }
    assert.is(scheduler.getSnapshot().status, "active", "the training goes on");
    assert.equal(world.reported("aggregator.lost").map(({ peer }) => peer), ["s"]);
    live(60_000);
    offer("s");
    live(1_000);
    assert.is(actor.getSnapshot().context.training.aggregator, undefined, "it is not leased again");
    offer("t");
    live(1_000);
    assert.is(actor.getSnapshot().context.training.aggregator?.peer, "t");
    stop();
    return String(world.reported("aggregator.lost")[0]?.["reason"]);
  };
  for (const foreign of [false, true]) assert.match(await barred(foreign), "without a label");
});

test("a foreign aggregator's plain push is taken where the job says foreign = true, and costs it its part elsewhere", async () => {
  for (const foreign of [true, false]) {
    const { world, actor, progress, stop } = await mixed(foreign);
    progress("a", "update");
    const far = pushPlainly(world, actor, "s");
    if (foreign) {
      assert.ok(far !== undefined);
      await Effect.runPromise(Effect.andThen(far.write(tensors(1, 1)), far.end));
      await eventually("the round is kept", () => world.reported("round.finished").length === 1);
      assert.equal(world.reported("aggregator.lost"), []);
    } else {
      assert.is(far, undefined);
      assert.match(String(world.reported("aggregator.lost")[0]?.["reason"]), "foreign = true");
    }
    stop();
  }
});

test("a foreign trainer is lost with its aggregator, because its worker knows no other one; a trainer of ours stays", async () => {
  const { world, report, progress, actor, offer, live, dispatches, stop } = await mixed(true, ["a", "b"]);
  report("a", "update");
  progress("b", "update");
  actor.send({ type: "participant.lost", peer: "s", reason: "test" });
  offer("t");
  live(1_000);
  const [job] = dispatches();
  assert.is(job?.peer, "t");
  world.take("request");
  job?.accept();
  for (const { peer, id, message, replyTo } of world.take("request")) {
    if (!("Change" in message)) continue;
    if (peer === "b") replyTo.send({ type: "response", id, message: { answer: "Ok" } });
    else replyTo.send({ type: "request.failed", id, error: failedWith("unsupported") });
  }
  assert.equal(world.reported("trainer.lost").map(({ peer }) => peer), ["a"]);
  assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), "no other aggregator");
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["b"]);
  stop();
});

test("a lost foreign trainer is replaced by a worker of ours; a foreign one in its place trains, and never counts", async () => {
  for (const kind of ["ours", "foreign"] as const) {
    const { world, report, progress, push, actor, offer, live, join, stop } = await mixed(true, ["a", "b"]);
    report("a", { status: { batch_size: 1 } });
    assert.ok(world.reported("job.progress").some(({ peer }) => peer === "a"), "logs have a line about it");
    actor.send({ type: "participant.lost", peer: "a", reason: "test" });
    live(2_000);
    offer("c");
    live(2_000);
    join();
    for (const round of [1, 2]) {
      progress("b", "update");
      if (round > 1) assert.is(kind === "ours" ? progress("c", "update") : report("c", "update"), "Ok");
      progress("s", "updated");
      assert.ok(await push(tensors(1, 1), `r${round}`));
      progress("b", "update-received", { round });
      const received = kind === "ours" ? progress("c", "update-received", { round }) : report("c", "update-received");
      assert.is(received, "Continue");
      live(2_000);
      join();
    }
    const { trainers, aggregator } = actor.getSnapshot().context.training;
    assert.equal(Object.keys(trainers), ["b", "c"]);
    assert.is(trainers["c"]?.isCounted, kind === "ours");
    assert.equal(aggregator?.knows.updates, kind === "ours" ? ["b", "c"] : ["b"]);
    stop();
  }
});

test("bug: a foreign newcomer that confirmed each round was lost because it had not confirmed one", async () => {
  const { world, report, progress, push, actor, offer, live, join, stop } = await mixed(true, ["a", "b"]);
  const { roundDeadlineS } = actor.getSnapshot().context.config.job.aggregation;
  actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  live(2_000);
  offer("c");
  live(2_000);
  join();
  for (let round = 1; round <= 6; round++) {
    live(roundDeadlineS * 500);
    report("c", "update");
    progress("b", "update");
    progress("s", "updated");
    assert.ok(await push(tensors(1, 1), `r${round}`));
    progress("b", "update-received", { round });
    report("c", "update-received");
  }
  const [, { peer, reason } = {}, ...more] = world.reported("trainer.lost");
  assert.equal([peer, more], ["c", []]);
  assert.is(reason, "its worker names no round in its receipts, so it cannot count");
  stop();
});

test("a foreign aggregator: its result is kept before its report; no trainer joins it, and another takes over from it", async () => {
  const { world, report, progress, push, actor, offer, live, dispatches, stop } = await mixed(true, ["a", "b"]);
  for (const peer of ["a", "b"]) progress(peer, "update");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.is(report("s", "updated"), "Ok");
  assert.equal(world.reported("round.finished").map(({ round }) => round), [1]);
  for (const peer of ["a", "b"]) assert.is(progress(peer, "update-received", { round: 1 }), "Continue");
  actor.send({ type: "participant.lost", peer: "b", reason: "test" });
  live(2_000);
  offer("c");
  live(2_000);
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["a"]);
  actor.send({ type: "participant.lost", peer: "s", reason: "test" });
  live(2_000);
  offer("t");
  live(1_000);
  const job = dispatches().find(({ peer }) => peer === "t");
  assert.is(job?.spec.training?.round, 1);
  job?.accept();
  live(1_000);
  offer("c");
  assert.equal(Object.keys(actor.getSnapshot().context.training.trainers), ["a", "c"], "this one takes newcomers");
  stop();
});

test.run();
