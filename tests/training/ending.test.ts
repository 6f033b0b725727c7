/** The end of a training: what its scheduler waits for after the last round. */
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { present } from "../../actors/runtime/present.ts";
import type { Evaluator, Metrics } from "../../actors/training/evaluator.ts";
import { digitsEvaluator } from "../../scripts/executors/evaluator.ts";
import { tailMs } from "../../actors/training/training_setup.ts";
import type { CloseReason } from "../../transport/port.ts";
import { type FakeWorld, identityOf } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { configIn, tensors, trained } from "../support/kept_training.ts";
import { startScheduler, training } from "../support/scheduler_world.ts";
import { revoked } from "../support/worker_world.ts";

const test = suite("end of a training");
const lost: CloseReason = { type: "lost", detail: "gone" };

/** A training of two trainers whose only round is counted, and whose result is being sent. */
function ending() {
  const started = training(["a", "b"], 1);
  for (const peer of ["a", "b"]) started.progress(peer, "update");
  assert.is(started.progress("aggregator", "updated"), "Done");
  started.live(1_000);
  const names = () => started.world.reports.map(({ event }) => event);
  return { ...started, names, unconfirmed: () => started.world.reported("training.unconfirmed") };
}

test("seed 18,000,492: an aggregator that was gone after the last round was waited for 330 s", () => {
  for (const how of ["absent", "its lease ended", "revoked", "denied"] as const) {
    const { actor, close, live, progress, unconfirmed } = ending();
    const lease = Object.keys(actor.getSnapshot().children).filter((id) => id.startsWith("lease/"));
    assert.is(lease.length, 3);
    const { aggregator } = actor.getSnapshot().context.training;
    if (how === "absent") close("aggregator", lost);
    if (how === "its lease ended") {
      actor.send({
        type: "held.lost",
        id: aggregator?.leaseId ?? "",
        giver: "aggregator",
        reason: "its giver ended it",
      });
    }
    if (how === "revoked") close("aggregator", revoked);
    const identity = identityOf("aggregator");
    if (how === "denied") {
      actor.send({ type: "authorization.changed", peer: "aggregator", identity, denied: ["job.status"] });
    }
    if (how === "absent") live(10_000);
    progress("a", "update-received");
    live(tailMs - 1_000);
    assert.equal(unconfirmed(), [], "the other's receipt may still come");
    live(1_500);
    assert.equal(unconfirmed().map(({ missing }) => missing), [["b"]], how);
    live(2_500);
    assert.equal(actor.getSnapshot().output, { type: "finished" });
  }
});

test("an aggregator that is back in time goes on sending the last result", () => {
  const { actor, close, live, progress, unconfirmed } = ending();
  close("aggregator", lost);
  live(9_000);
  actor.send({ type: "peer.established", peer: "aggregator", identity: identityOf("aggregator") });
  live(3 * tailMs);
  assert.equal(unconfirmed(), []);
  for (const peer of ["a", "b"]) progress(peer, "update-received");
  live(2_500);
  assert.equal(unconfirmed(), []);
  assert.equal(actor.getSnapshot().output, { type: "finished" });
});

/** A training of one round, which is on disk; a program measures it, until `end`. */
async function measuring() {
  const folder = temporary();
  const { job, ...config } = configIn(folder.path, 1);
  const evaluation = { heldOut: join(folder.path, "rows.csv"), executor: "slow" };
  let end: (metrics: Effect.Effect<Metrics>) => void = () => {};
  let [runs, begin] = [0, () => {}];
  const evaluator: Evaluator = {
    ...digitsEvaluator,
    programs: ["slow"],
    measureMs: 600_000,
    measure: (_, began) => {
      begin = began;
      return Effect.callback<Metrics>((resume) => {
        [runs, end] = [runs + 1, resume];
      });
    },
  };
  const evaluated = { ...config, job: { ...present(job, "the job"), evaluation } };
  const started = await trained(evaluated, ["a"], evaluator);
  started.progress("a", "update");
  started.progress("s", "updated");
  assert.ok(await started.push(tensors(1, 1), "r1"));
  started.progress("a", "update-received");
  const doneIn = (world: FakeWorld) =>
    world.reported("training.done").map(({ accuracy, accuracyRound }) => [accuracy, accuracyRound]);
  return {
    ...started,
    done: () => doneIn(started.world),
    begin: () => begin(),
    end: (metrics: Metrics) => end(Effect.succeed(metrics)),
    /** It stops, and starts again in the same folder. */
    restart: () => {
      started.actor.send({ type: "role.drain" });
      const { world, actor } = startScheduler(evaluated, evaluator);
      return { done: () => doneIn(world), actor };
    },
    runs: () => runs,
    remove: folder.remove,
  };
}

test("bug: the last round was not measured where that took longer than half a minute; no member is held for it", async () => {
  const { actor, done, end, live, remove } = await measuring();
  live(10 * tailMs);
  actor.send({ type: "role.retire", withinMs: 600_000 });
  assert.equal([actor.getSnapshot().value, done()], ["measuring", []]);
  assert.equal(Object.keys(actor.getSnapshot().children).filter((id) => id.startsWith("lease/")), []);
  end({ accuracy: 0.75 });
  await eventually("it is measured", () => done().length === 1);
  assert.equal([done(), actor.getSnapshot().output], [[[0.75, 1]], { type: "finished" }]);
  remove();
});

test("bug: the last round was not measured where the scheduler started again meanwhile", async () => {
  const { runs, end, restart, remove } = await measuring();
  await eventually("it is being measured", () => runs() === 1);
  const { actor, done } = restart();
  await eventually("it is measured again", () => runs() === 2 || done().length > 0);
  assert.equal([actor.getSnapshot().value, done()], ["measuring", []]);
  end({ accuracy: 0.75 });
  await eventually("it is measured", () => done().length === 1);
  assert.equal([done(), actor.getSnapshot().output], [[[0.75, 1]], { type: "finished" }]);
  remove();
});

test("bug: the last round was not measured where evaluations of other trainings ran before; a run of its own is waited for as long as it may take", async () => {
  const { actor, done, begin, live, remove } = await measuring();
  live(3 * 600_000);
  assert.equal([actor.getSnapshot().value, done()], ["measuring", []]);
  begin();
  live(300_000 + 600_000 - 1_000);
  assert.equal(done(), []);
  live(2_000);
  assert.equal([done(), actor.getSnapshot().output], [[[null, null]], { type: "finished" }]);
  remove();
});

test.run();
