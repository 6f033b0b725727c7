/** Members, and a scheduler, whose nodes take another key in the middle of a training that is kept. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { identityOf } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { configIn, recordOf, tensors, trained } from "../support/kept_training.ts";
import { configOf, startScheduler, training } from "../support/scheduler_world.ts";

const test = suite("members with another key");

/** A training of trainer `a` and aggregator `s`, of whom some connect with another key, and what it did then. */
async function rekeyed(folder: string, ...names: string[]) {
  const started = await trained(configIn(folder, 3));
  const { world, actor } = started;
  const connect = (name: string, role?: "scheduler") => {
    const identity = identityOf(`${name}-2`, role, `${name}.name`);
    actor.send({ type: "peer.established", peer: identity.peer, identity });
  };
  const members = () => {
    const { training: { trainers, aggregator } } = actor.getSnapshot().context;
    return [...Object.keys(trainers), ...(aggregator === undefined ? [] : [aggregator.peer])];
  };
  const reported = (event: string) => world.reported(event).map(({ peer }) => peer);
  for (const name of names) connect(name);
  return { ...started, connect, members, reported };
}

test("a trainer leaves after the round, and is leased again under its new PeerID", async () => {
  const folder = temporary();
  const { actor, world, connect, say, progress, push, members, reported, live, offer, dispatches, jobs, run } =
    await rekeyed(folder.path);
  const job_id = jobs.find(({ peer }) => peer === "a")?.spec.job_id ?? "";
  say("a", { job_id, progress: { status: { batch_size: 10 } }, training: run });
  connect("a", "scheduler");
  assert.equal(reported("member.rekeyed"), [], "another role is another member");
  connect("a");
  connect("a");
  assert.equal(reported("member.rekeyed"), ["a"], "once");
  assert.equal(members(), ["a", "s"], "it has begun the round");
  progress("a", "update");
  progress("s", "updated");
  assert.equal(members(), ["a", "s"], "its round is not on disk");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.equal(members(), ["s"]);
  assert.equal([reported("trainer.left"), reported("trainer.lost")], [["a"], []]);
  assert.equal(actor.getSnapshot().context.excluded, {});
  live(1_000);
  offer("a-2");
  live(1_000);
  for (const { accept } of dispatches()) accept();
  assert.equal(members(), ["a-2", "s"]);
  assert.ok(dispatches().some(({ peer }) => peer === "a-2"), "it gets its job when the aggregator knows it");
  assert.equal(world.reported("training.waiting").length, 1, "there was no trainer meanwhile");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("a trainer that has done nothing for its round leaves at once", async () => {
  const folder = temporary();
  const { actor, members } = await rekeyed(folder.path, "a");
  assert.equal(members(), ["s"]);
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("an aggregator leaves when its trainers have the result, and at once where it has no update", async () => {
  const folder = temporary();
  const { actor, connect, progress, push, members, reported, live, offer, dispatches, world } = await rekeyed(
    folder.path,
  );
  progress("a", "update");
  connect("s");
  assert.equal(members(), ["a", "s"], "it has an update");
  progress("s", "updated");
  assert.ok(await push(tensors(1, 1), "r1"));
  assert.equal(members(), ["a", "s"], "the trainer waits for its result");
  progress("a", "update-received");
  assert.equal(members(), ["a"]);
  assert.equal([reported("aggregator.left"), reported("aggregator.lost")], [["s"], []]);
  live(1_000);
  offer("s-2");
  live(1_000);
  const [job] = dispatches();
  assert.equal([job?.peer, job?.spec.training?.round], ["s-2", 1]);
  world.take("request");
  job?.accept();
  const changes = world.take("request").filter(({ message }) => "Change" in message);
  assert.equal(changes.map(({ peer }) => peer), ["a"], "its trainer gets the change");
  const third = identityOf("s-3", undefined, "s-2.name");
  actor.send({ type: "peer.established", peer: third.peer, identity: third });
  assert.equal(members(), ["a"], "no update was sent");
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a round waited for an aggregator that its trainers could not reach, because its node had taken another key", async () => {
  const folder = temporary();
  const { actor, connect, progress, members, reported, live, offer, dispatches } = await rekeyed(folder.path);
  progress("a", "update");
  connect("s");
  live(15_000);
  assert.equal(members(), ["a", "s"], "the update may be on its way");
  live(15_000);
  assert.equal(members(), ["a"]);
  assert.equal([reported("aggregator.left"), reported("aggregator.lost")], [["s"], []]);
  offer("s-2");
  live(1_000);
  assert.equal(
    dispatches().map(({ peer, spec }) => [peer, spec.training?.round]),
    [["s-2", 0]],
    "the round is made again",
  );
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("no newcomer is sought for an aggregator that leaves: it could not reach it", async () => {
  const folder = temporary();
  const { actor, connect, progress, members } = await rekeyed(folder.path);
  progress("a", "update");
  connect("s");
  actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  assert.equal(members(), [], "without a trainer it has no round to finish");
  assert.ok(actor.getSnapshot().matches({ running: { members: "seekingAggregator" } }));
  actor.send({ type: "role.drain" });
  folder.remove();
});

test("no member leaves after the last round, nor where the scheduler keeps no model", async () => {
  const folder = temporary();
  const { actor, connect, progress, push, reported } = await rekeyed(folder.path);
  for (const round of ["r1", "r2", "r3"]) {
    progress("a", "update");
    progress("s", "updated");
    assert.ok(await push(tensors(1, 1), round));
    if (round !== "r3") progress("a", "update-received");
  }
  connect("a");
  connect("s");
  assert.equal([reported("trainer.left"), reported("aggregator.left")], [[], []]);
  assert.is(progress("a", "update-received"), "Done");
  actor.send({ type: "role.drain" });
  folder.remove();
  const { actor: other, world } = training(["a"], 3, "s");
  for (const name of ["a", "s"]) {
    const identity = identityOf(`${name}-2`, undefined, `${name}.name`);
    other.send({ type: "peer.established", peer: identity.peer, identity });
  }
  assert.equal(world.reported("member.rekeyed"), []);
});

test("a training whose scheduler takes another key goes on under it after the round", async () => {
  const folder = temporary();
  const { scheduler, actor, progress, push, run } = await trained(configIn(folder.path, 2));
  progress("a", "update");
  scheduler.send({ type: "role.retire", withinMs: 600_000 });
  progress("s", "updated");
  assert.is(scheduler.getSnapshot().status, "active");
  await push(tensors(1, 1), "r1");
  await eventually("it ends", () => scheduler.getSnapshot().status === "done");
  assert.equal(scheduler.getSnapshot().output, { type: "drained" });
  const again = await trained(configIn(folder.path, 2));
  assert.equal(again.jobs[0]?.spec.training, { id: run.id, run: run.run + 1, round: 1, samples: 0, rounds: 2 });
  again.actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  again.scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.is(again.scheduler.getSnapshot().status, "done", "no round can be finished");
  assert.is(actor.getSnapshot().status, "done");
  folder.remove();
});

/** Found by a seed. */
test("bug: a training under its scheduler's former key never heard that its aggregator had another key, too", async () => {
  for (const isSent of [true, false]) {
    const folder = temporary();
    const { scheduler, actor, live, progress, members, reported } = await rekeyed(folder.path);
    if (isSent) progress("a", "update");
    scheduler.send({ type: "role.retire", withinMs: 600_000 });
    const meet = (name: string) =>
      scheduler.send({ type: "member.connected", identity: identityOf(`${name}-2`, undefined, `${name}.name`) });
    meet("a");
    assert.equal([members(), reported("member.rekeyed")], [["a", "s"], []], "its trainer finishes the round");
    meet("s");
    assert.equal(reported("member.rekeyed"), ["s"]);
    if (isSent) {
      live(15_000);
      assert.is(actor.getSnapshot().status, "active", "the update may be on its way");
      live(15_000);
    }
    assert.equal(scheduler.getSnapshot().output, { type: "drained" }, "it goes on under the present key");
    folder.remove();
  }
});

test("bug: a training under its scheduler's former key kept a data node's former PeerID, and left lost connections to those that cannot dial it", async () => {
  const folder = temporary();
  const { scheduler, actor, world } = await rekeyed(folder.path);
  scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.equal(world.take("hold").at(-1)?.peers, ["a", "s"]);
  scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.equal(world.take("hold"), [], "once");
  const before = world.take("record.get").length;
  const connect = (name: string, role?: "data") =>
    scheduler.send({ type: "member.connected", identity: identityOf(`${name}-2`, role, `${name}.name`) });
  connect("b");
  assert.equal([before, world.take("record.get").length], [0, 0]);
  connect("data", "data");
  assert.is(world.take("record.get").length, 1, "its record names the present PeerID");
  const answer = { ...recordOf(3), publisher: "data-2", identity: identityOf("data-2", "data") };
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer });
  assert.equal(world.reported("dataset.moved").map(({ peer }) => peer), ["data-2"]);
  scheduler.send({ type: "role.drain" });
  folder.remove();
});

test("bug: a training without a model that lacked a worker went on seeking under its scheduler's former key", () => {
  for (const parts of [["a"], ["a", "s"]]) {
    const { scheduler, found, offer } = startScheduler(configOf(1, 2));
    found();
    offer(...parts);
    scheduler.send({ type: "role.retire", withinMs: 600_000 });
    assert.equal(scheduler.getSnapshot().output, { type: "drained" }, parts.join());
  }
});

test("a training that is over ends as finished under the former key, or is opened again where its model is kept", async () => {
  const { scheduler, actor, round } = training(["a"], 1, "s");
  round("a");
  assert.is(actor.getSnapshot().value, "concluding");
  scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.is(actor.getSnapshot().value, "concluding");
  scheduler.send({ type: "role.drain" });
  const folder = temporary();
  const kept = await trained(configIn(folder.path, 1));
  kept.progress("a", "update");
  kept.progress("s", "updated");
  assert.ok(await kept.push(tensors(1, 1), "r1"));
  assert.is(kept.progress("a", "update-received"), "Done");
  assert.is(kept.actor.getSnapshot().value, "concluding");
  kept.scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.equal(kept.scheduler.getSnapshot().output, { type: "drained" });
  folder.remove();
});

test("a training that has not begun its rounds gives way at once", async () => {
  const folder = temporary();
  const { scheduler, actor } = await trained(configIn(folder.path, 2));
  actor.send({ type: "participant.lost", peer: "a", reason: "test" });
  scheduler.send({ type: "role.retire", withinMs: 600_000 });
  assert.equal(scheduler.getSnapshot().output, { type: "drained" });
  folder.remove();
});
test.run();
