/** A worker keeps its promises to members: one PeerID may show several certificates, and each is a member of its own. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../pki/path.ts";
import type { CloseReason } from "../../transport/port.ts";
import type { JobSpec } from "../../transport/protocols/messages.ts";
import { makeTestPki } from "../support/pki.ts";
import { provenOf } from "../support/transports.ts";
import { aggregateSpec, expired, revoked, startWorker, trainSpec } from "../support/worker_world.ts";

const test = suite("worker and members");
const lost: CloseReason = { type: "lost", detail: "gone" };

const pki = await makeTestPki();
const first = await pki.node("one", { role: "scheduler" });
const { keyPem } = first;
const scheduler = provenOf(pki, first);
/** The same key and role, another certificate. */
const renewed = provenOf(pki, await pki.node("one", { role: "scheduler", keyPem }));
/** The same key in another role. */
const other = provenOf(pki, await pki.node("one", { role: "worker", keyPem }));
/** The same key and role under another name. */
const namesake = provenOf(pki, await pki.node("two", { role: "scheduler", keyPem }));
/** The same key in another role under another name. */
const second = provenOf(pki, await pki.node("second", { role: "worker", keyPem }));
assert.is(new Set([scheduler, renewed, other, namesake, second].map(({ peer }) => peer)).size, 1);
assert.is.not(scheduler.serial, renewed.serial);

/** A worker that runs a training for `scheduler`, under a lease of its. */
function busy() {
  const started = startWorker("flexible", scheduler);
  const { actor, say, jobs, world } = started;
  const id = started.lease(scheduler);
  const dispatch = (from: PeerIdentity, spec: JobSpec, task = "task-1") =>
    say(from, { DispatchJob: { id: task, spec } }) as { DispatchJob: "Failed" | object };
  assert.is(typeof dispatch(scheduler, trainSpec()).DispatchJob, "object");
  const close = (identity: PeerIdentity, reason: CloseReason) =>
    actor.send({ type: "peer.closed", peer: identity.peer, identity, reason });
  const open = (identity: PeerIdentity) => actor.send({ type: "peer.established", peer: identity.peer, identity });
  const cancelled = () => jobs.heard.filter(([, { type }]) => type === "job.cancel").length;
  /** Ends the job: the statuses that its scheduler is sent. */
  const end = () => {
    const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
    child.send({ type: "end", outcome: { type: "finished" } });
    return world.take("request").filter(({ message }) => "JobStatus" in message).map(({ peer }) => peer);
  };
  return { ...started, id, dispatch, close, open, cancelled, end };
}

test("a renewal with the same key disturbs nothing: lease, job and status go on", () => {
  const { id, say, isRenewed, dispatch, open, close, cancelled, end, lease } = busy();
  open(renewed);
  assert.ok(isRenewed(say(renewed, { RenewLease: { id } })));
  assert.is(typeof dispatch(renewed, trainSpec()).DispatchJob, "object", "the same job, told again");
  // The transport tells of a member's last connection only. Even its end leaves the lease to lapse by itself.
  close(scheduler, lost);
  open(renewed);
  assert.ok(isRenewed(say(renewed, { RenewLease: { id } })));
  assert.is(cancelled(), 0);
  assert.equal(end(), [scheduler.peer]);
  lease(renewed);
});

test("a role that is revoked loses its lease and jobs at once, though another member of its PeerID stays", () => {
  for (const stays of [other, namesake]) {
    const { world, id, say, dispatch, open, close, cancelled } = busy();
    open(stays);
    close(scheduler, revoked);
    assert.is(cancelled(), 1);
    assert.match(String(world.reported("lease.ended")[0]?.["reason"]), "certificate-revoked");
    assert.is(world.take("request").filter(({ message }) => "JobStatus" in message).length, 0, "nobody to tell");
    assert.equal(say(stays, { RenewLease: { id } }), { RenewLease: "Failed" });
    assert.equal(dispatch(stays, trainSpec("job-2"), "task-2"), { DispatchJob: "Failed" });
  }
});

test("bug: a lease ended at once with its holder's certificate, though the holder was back with a renewed one", () => {
  const { world, id, say, isRenewed, open, close, cancelled } = busy();
  close(scheduler, expired);
  world.pass(9_000);
  assert.is(cancelled(), 0);
  open(renewed);
  assert.ok(isRenewed(say(renewed, { RenewLease: { id } })));
  close(renewed, expired);
  world.pass(11_000);
  assert.is(cancelled(), 1, "it did not come back");
  assert.is(world.reported("lease.lapsed").length, 1);
});

test("bug: an aggregation went on at once without a trainer whose certificate ended", () => {
  const { world, actor, jobs, say, lease } = startWorker("flexible", scheduler);
  const id = lease(scheduler, "aggregate");
  say(scheduler, { DispatchJob: { id: "task-1", spec: aggregateSpec([other.peer, "b"]) } });
  const close = () => actor.send({ type: "peer.closed", peer: other.peer, identity: other, reason: expired });
  const pass = (ms: number) => {
    world.pass(ms);
    say(scheduler, { RenewLease: { id } });
  };
  const updates = () => jobs.heard.filter(([, { type }]) => type === "job.updated").length;
  close();
  pass(9_000);
  actor.send({ type: "peer.established", peer: other.peer, identity: other });
  pass(2_000);
  assert.is(updates(), 0, "it came back in time");
  close();
  pass(9_000);
  pass(2_000);
  assert.is(updates(), 1, "it did not come back");
});

test("another member of the PeerID that is revoked takes nothing with it", () => {
  for (const goes of [other, namesake]) {
    const { id, say, isRenewed, open, close, cancelled, end } = busy();
    open(goes);
    close(goes, revoked);
    assert.is(cancelled(), 0);
    assert.ok(isRenewed(say(scheduler, { RenewLease: { id } })));
    assert.equal(end(), [scheduler.peer], "its scheduler is still connected");
  }
});

test("another member of the PeerID neither renews nor dispatches under a lease, nor changes its job", () => {
  for (const stranger of [other, namesake]) {
    const { world, actor, id, say, dispatch, open, lease, jobs } = busy();
    open(stranger);
    assert.equal(say(stranger, { RenewLease: { id } }), { RenewLease: "Failed" });
    assert.is(world.reported("lease.refused").length, 1);
    assert.equal(dispatch(stranger, trainSpec()), { DispatchJob: "Failed" });
    assert.equal(jobs.heard, [], "the running job is not told");
    world.pass(100);
    lease(scheduler, "aggregate");
    assert.equal(dispatch(stranger, aggregateSpec(["a"]), "task-2"), { DispatchJob: "Failed" });
    assert.is(typeof dispatch(scheduler, aggregateSpec(["a"]), "task-2").DispatchJob, "object");
    assert.is(Object.keys(actor.getSnapshot().context.book.jobs).length, 2);
  }
});

test("the status of a job goes out only while the member that dispatched it is connected", () => {
  const { open, close, end } = busy();
  open(other);
  close(scheduler, lost);
  assert.equal(end(), []);
});

test("an aggregation waits on while another worker of the PeerID is connected, and does not count its scheduler", () => {
  const trainer = other.peer;
  for (const reason of [lost, revoked]) {
    const { world, actor, jobs, say, lease } = startWorker("flexible", scheduler);
    const open = (identity: PeerIdentity) => actor.send({ type: "peer.established", peer: identity.peer, identity });
    const close = (identity: PeerIdentity, why: CloseReason) =>
      actor.send({ type: "peer.closed", peer: identity.peer, identity, reason: why });
    const id = lease(scheduler, "aggregate");
    say(scheduler, { DispatchJob: { id: "task-1", spec: aggregateSpec([trainer, "b"]) } });
    /** Lets time pass while the lease is renewed. */
    const live = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 1_000) {
        world.pass(1_000);
        say(scheduler, { RenewLease: { id } });
      }
    };
    const updates = () => jobs.heard.filter(([, { type }]) => type === "job.updated").length;
    open(namesake);
    close(namesake, reason);
    live(12_000);
    assert.is(updates(), 0, "its scheduler has nothing to do with it");
    for (const each of [other, second, namesake]) open(each);
    close(namesake, reason);
    close(other, reason);
    live(12_000);
    assert.is(updates(), 0, "a worker of that PeerID is still here");
    close(second, reason);
    open(namesake);
    live(12_000);
    assert.is(updates(), 1, "its scheduler trains nothing");
    assert.is(world.reported("trainer.gone")[0]?.["peer"], trainer);
  }
});

test.run();
