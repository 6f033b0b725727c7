/** The end of a training: what its scheduler waits for after the last round. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tailMs } from "../../actors/training/training_setup.ts";
import type { CloseReason } from "../../transport/port.ts";
import { identityOf } from "../support/fake_transport.ts";
import { training } from "../support/scheduler_world.ts";
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

test.run();
