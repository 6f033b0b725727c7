/** A worker: offers, leases, jobs, and what it does when peers go. */
import type { Act } from "../../transport/authorization/acts.ts";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fetchDefault } from "../../actors/config/cell_config.ts";
import type { Cell } from "../../actors/job/cell/cell.ts";
import { sweepMs } from "../../actors/worker/worker_setup.ts";
import type { CloseReason } from "../../transport/port.ts";
import type { JobSpec } from "../../transport/protocols/messages.ts";
import { failedWith, identityOf, requestFrom } from "../support/fake_transport.ts";
import { runOf, temporary } from "../support/job_world.ts";
import { aggregateSpec, revoked, small, startWorker, trainSpec } from "../support/worker_world.ts";

const test = suite("worker");

test("sweeps first, then serves: requests of a window are answered together after 200 ms", () => {
  const { world, ask, offers } = startWorker();
  assert.equal(world.reported("worker.swept")[0]?.["removed"], ["/old"]);
  assert.is(world.takeOne("subscribe").topic, "hypha/worker");
  ask("s");
  world.pass(190);
  assert.equal(offers(), []);
  world.pass(10);
  const [offer] = offers();
  assert.equal([offer?.to, offer?.price, offer?.resources], ["s", 20, small]);
});

test("bug: a directory without a readable record stayed at each start, and no line named it", () => {
  const { world } = startWorker("flexible", identityOf("s"), { prepared: { unowned: ["/w/hypha-1", "/w/hypha-2"] } });
  assert.equal(world.reported("worker.unowned"), [{ unowned: ["/w/hypha-1", "/w/hypha-2"] }]);
  assert.match(world.reports.find(({ event }) => event === "worker.unowned")?.message ?? "", /\.owner\b/);
  assert.equal(startWorker().world.reported("worker.unowned"), []);
});

test("nothing is promised twice: what is offered is not offered again until the offer lapses", () => {
  const { world, ask, offers } = startWorker();
  ask("a", { bid: 30 });
  ask("b", { bid: 20 });
  ask("c", { bid: 10 });
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["a", "b"], "four cores, two each");
  ask("c", { bid: 50 });
  world.pass(200);
  assert.equal(offers(), []);
  world.pass(310);
  assert.equal(offers().map(({ to }) => to), ["c"], "its last request waited");
  ask("d");
  world.pass(200);
  ask("e");
  world.pass(90);
  assert.equal(offers().map(({ to }) => to), ["d"]);
  world.pass(110);
  assert.equal(offers(), [], "windows after one another promise no more than one");
});

test("bug: leases of nothing were given without bound, and the job of each gets 512 MiB", () => {
  const nothing = { cpu: 0, memory: 0, storage: 0 };
  for (const [memory, most] of [[8, 14], [1, 1], [0, 1]] as const) {
    const { world, ask, offers, say, isRenewed, actor } = startWorker("flexible", identityOf("s"), {
      more: { resources: { cpu: 4, gpu: 0, memory, storage: 10 } },
    });
    const leases = () => Object.keys(actor.getSnapshot().context.book.leases).length;
    const accept = () => offers().filter(({ id }) => isRenewed(say("s", { RenewLease: { id } }))).length;
    for (let request = 0; request < 40; request++) ask("s", nothing);
    world.pass(200);
    assert.is(offers().length, most, "open offers that reserve count");
    world.pass(800);
    for (let request = 0; request < 40; request++) ask("s", nothing);
    world.pass(200);
    assert.is(accept(), most, "the scheduler left offers unaccepted: these reserve nothing");
    ask("b", nothing);
    world.pass(200);
    assert.equal(offers(), []);
    world.pass(9_800);
    assert.is(leases(), 0);
    ask("b", nothing);
    world.pass(200);
    assert.equal(offers().map(({ to }) => to), ["b"]);
  }
});

test("an offer that could not be delivered frees its resources at once", () => {
  const { world, ask, offers } = startWorker("whole");
  ask("a");
  world.pass(200);
  const [offer] = offers();
  offer?.sent.replyTo.send({ type: "request.failed", id: offer.sent.id, error: failedWith("not-connected") });
  ask("b");
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["b"]);
});

test("an offer becomes a lease for whom it was made, once, and not after it lapsed", () => {
  const { world, ask, offers, say, isRenewed } = startWorker();
  ask("s");
  world.pass(200);
  const [offer] = offers();
  const id = offer?.id ?? "";
  assert.equal(say("stranger", { RenewLease: { id } }), { RenewLease: "Failed" });
  assert.equal(say("s", { RenewLease: { id } }, "worker"), { RenewLease: "Failed" }, "its certificate is a worker's");
  assert.ok(isRenewed(say("s", { RenewLease: { id } }, "scheduler")));
  assert.is(world.reported("lease.granted")[0]?.["peer"], "s");
  world.pass(700);
  assert.ok(isRenewed(say("s", { RenewLease: { id } }, "scheduler")), "a lease doesn't lapse with its offer");
  ask("s");
  world.pass(200);
  const [late] = offers();
  world.pass(510);
  assert.equal(say("s", { RenewLease: { id: late?.id ?? "" } }), { RenewLease: "Failed" });
  assert.equal(say("s", { RenewLease: { id: "unknown" } }), { RenewLease: "Failed" });
});

test("only its holder renews a lease", () => {
  const { say, lease, isRenewed } = startWorker();
  const id = lease();
  assert.equal(say("stranger", { RenewLease: { id } }), { RenewLease: "Failed" });
  assert.ok(isRenewed(say("s", { RenewLease: { id } })));
});

test("a renewal tells a scheduler of ours how long the job's executor has not used its bridge", () => {
  const training = { id: "t-1", run: 1 };
  for (const [named, told] of [[{ training }, 7], [{}, undefined]] as const) {
    const { say, ask, world, offers } = startWorker();
    ask("s");
    world.pass(200);
    const id = offers()[0]?.id ?? "";
    const idle = () => {
      const { RenewLease: { Renewed } } = say("s", { RenewLease: { id, ...named } }) as never as {
        readonly RenewLease: { readonly Renewed: { readonly idle?: number } };
      };
      return Renewed.idle;
    };
    assert.is(idle(), undefined);
    assert.is(idle(), undefined, "no job yet");
    say("s", { DispatchJob: { id: "task-1", spec: trainSpec(), ...named } });
    assert.is(idle(), told);
  }
});

test("a job is taken from whoever holds a lease for one, with an executor that is here; from others not", () => {
  const { say, lease, jobs } = startWorker();
  const dispatch = (from: string, spec: JobSpec, id = "task-1") => say(from, { DispatchJob: { id, spec } });
  assert.equal(dispatch("s", trainSpec()), { DispatchJob: "Failed" }, "no lease");
  lease();
  assert.equal(dispatch("stranger", trainSpec()), { DispatchJob: "Failed" });
  assert.equal(dispatch("s", aggregateSpec(["a"])), { DispatchJob: "Failed" }, "leased for training");
  const other = { ...trainSpec(), executor: { ...trainSpec().executor, descriptor: { name: "other" } } } as JobSpec;
  assert.equal(dispatch("s", other), { DispatchJob: "Failed" });
  const taken = dispatch("s", trainSpec()) as { DispatchJob: { Dispatched: { id: string } } };
  assert.is(taken.DispatchJob.Dispatched.id, "task-1");
  assert.equal(jobs.inputs.map(({ taskId, scheduler }) => [taskId, scheduler]), [["task-1", "s"]]);
  assert.equal(dispatch("s", trainSpec("job-9"), "task-2"), { DispatchJob: "Failed" }, "one job a lease");
});

test("bug: each job had the whole of [fetch] cache_bytes for files in the making, and two fetched one file into the cache", async () => {
  const place = temporary();
  const fetch = { ...fetchDefault, cacheBytes: 100 };
  const { say, lease, jobs } = startWorker("flexible", identityOf("s"), { more: { fetch, workDir: place.path } });
  for (const id of ["task-1", "task-2"]) {
    lease();
    say("s", { DispatchJob: { id, spec: trainSpec(id) } });
  }
  const [first, second] = jobs.inputs.map(({ web }) => web?.cache);
  const isBegun = (cache: typeof first, digit: string, sizeBytes: number) =>
    Effect.map(cache?.begin(digit.repeat(64), sizeBytes) ?? Effect.undefined, (writer) => writer !== undefined);
  const begun = Effect.all([
    isBegun(first, "a", 60),
    isBegun(second, "a", 60),
    isBegun(second, "b", 60),
    isBegun(second, "c", 40),
  ]);
  assert.equal(await runOf(Effect.scoped(begun)), [true, false, false, true]);
  place.remove();
});

test("a lease that lapses cancels its jobs, and its resources come back with the last of them", () => {
  const { world, say, lease, jobs, ask, offers } = startWorker("whole");
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  world.pass(9_990);
  assert.equal(jobs.heard, []);
  world.pass(10);
  assert.equal(jobs.heard.map(([task, { type }]) => [task, type]), [["task-1", "job.cancel"]]);
  assert.is(world.reported("lease.lapsed").length, 1);
  assert.is(world.reported("job.ended")[0]?.["outcome"], "cancelled");
  ask("b");
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["b"]);
});

test("a holder whose certificate is revoked loses its lease and its jobs at once", () => {
  const { world, say, lease, jobs, actor } = startWorker();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: { type: "lost", detail: "x" } });
  assert.equal(jobs.heard, [], "a connection that is lost may come back");
  actor.send({ type: "peer.established", peer: "s", identity: identityOf("s") });
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
  assert.equal(jobs.heard.map(([, { type }]) => type), ["job.cancel"]);
  assert.match(String(world.reported("lease.ended")[0]?.["reason"]), "certificate-revoked");
});

test("a holder to whom changed rules deny leases or jobs loses both at once, and no other does", () => {
  for (const act of ["lease.renew", "job.dispatch"] as const) {
    const { world, say, lease, jobs, actor } = startWorker();
    lease();
    say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
    const deny = (peer: string, denied: readonly Act[]) =>
      actor.send({ type: "authorization.changed", peer, identity: identityOf(peer), denied });
    deny("b", [act]);
    deny("s", ["worker.request", "file.push"]);
    assert.equal(jobs.heard, []);
    deny("s", ["gossip", act]);
    assert.equal(jobs.heard.map(([, { type }]) => type), ["job.cancel"]);
    assert.match(String(world.reported("lease.ended")[0]?.["reason"]), act);
  }
});

test("an aggregation waits no longer for a peer to which changed rules deny its updates", () => {
  const { say, lease, jobs, actor } = startWorker();
  lease(undefined, "aggregate");
  say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a", "b"]) } });
  const deny = (denied: readonly Act[]) =>
    actor.send({ type: "authorization.changed", peer: "a", identity: identityOf("a"), denied });
  deny(["progress"]);
  assert.equal(jobs.heard, []);
  deny(["file.push"]);
  assert.equal(jobs.heard.map(([, { type }]) => type), ["job.updated"]);
});

test("the scheduler is told how a job ended; one that failed frees its lease", () => {
  const { world, say, lease, actor } = startWorker("whole");
  const id = lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "end", outcome: { type: "failed", reason: "executor exited with code 3" } });
  const status = world.takeOne("request");
  assert.equal(status.message, {
    JobStatus: { task_id: "task-1", status: { type: "Failed", reason: "executor exited with code 3" } },
  });
  assert.equal(say("s", { RenewLease: { id } }), { RenewLease: "Failed" });
  assert.is(Object.keys(actor.getSnapshot().context.book.leases).length, 0);
});

test("a job that finished leaves the lease to its holder", () => {
  const { world, say, lease, actor, isRenewed } = startWorker();
  const id = lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "end", outcome: { type: "finished" } });
  assert.equal(world.takeOne("request").message, { JobStatus: { task_id: "task-1", status: { type: "Finished" } } });
  assert.ok(isRenewed(say("s", { RenewLease: { id } })));
  assert.ok(typeof say("s", { DispatchJob: { id: "task-2", spec: trainSpec("job-2") } }) === "object");
});

test("a job whose actor dies of a defect has failed; the worker lives on", () => {
  const { world, say, lease, actor } = startWorker();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "crash" });
  assert.is(actor.getSnapshot().status, "active");
  assert.match(String(world.reported("job.ended")[0]?.["reason"]), "a defect");
  assert.ok("JobStatus" in world.takeOne("request").message);
});

test("an aggregation dispatched again goes to the running job", () => {
  const { say, lease, jobs } = startWorker();
  lease("s", "aggregate");
  say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a", "b"]) } });
  const again = say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a"]) } });
  assert.ok(typeof (again as { DispatchJob: unknown }).DispatchJob === "object");
  assert.is(jobs.inputs.length, 1);
  assert.equal(jobs.heard.map(([, command]) => command), [{ type: "job.updated", spec: aggregateSpec(["a"]) }]);
});

test("bug: a job that was dispatched again after its end ran a second time", () => {
  const { say, lease, jobs, world, actor } = startWorker();
  lease("s", "aggregate");
  const dispatch = (id: string) => say("s", { DispatchJob: { id, spec: aggregateSpec(["a", "b"]) } });
  dispatch("task-1");
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "end", outcome: { type: "finished" } });
  assert.equal(dispatch("task-1"), { DispatchJob: "Failed" });
  assert.match(String(world.reported("job.refused")[0]?.["reason"]), "a task of that id ended");
  assert.is(jobs.inputs.length, 1);
  assert.not.equal(dispatch("task-2"), { DispatchJob: "Failed" }, "another task under the same lease is taken");
});

test("seed 34,001,817: a peer's absence from before an aggregation named it put it out of that one", () => {
  const { world, say, lease, jobs, actor } = startWorker();
  const id = lease("s", "aggregate");
  const dispatch = (task: string, peers: readonly string[]) =>
    say("s", { DispatchJob: { id: task, spec: aggregateSpec(peers, `job-of-${task}`) } });
  const close = (peer: string) =>
    actor.send({ type: "peer.closed", peer, identity: identityOf(peer), reason: { type: "by-them" } });
  const pass = () => {
    world.pass(9_000);
    say("s", { RenewLease: { id } });
    world.pass(2_000);
    say("s", { RenewLease: { id } });
  };
  const updated = () => jobs.heard.filter(([, { type }]) => type === "job.updated").length;
  dispatch("task-1", ["a", "b"]);
  close("a");
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "end", outcome: { type: "finished" } });
  dispatch("task-2", ["a", "b"]);
  pass();
  assert.is(updated(), 0);
  // The scheduler takes it out, and in again when its worker was started again.
  close("b");
  dispatch("task-2", ["a"]);
  dispatch("task-2", ["a", "b"]);
  pass();
  assert.is(updated(), 2, "the scheduler's own");
});

test("an aggregation no longer waits for a peer that stays away for ten seconds, or is revoked", () => {
  const { world, say, lease, jobs, actor } = startWorker();
  lease("s", "aggregate");
  say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a", "b", "c"]) } });
  const close = (peer: string, reason: CloseReason) =>
    actor.send({ type: "peer.closed", peer, identity: identityOf(peer), reason });
  const updates = () =>
    jobs.heard.map(([, command]) =>
      command.type === "job.updated" && command.spec.executor.class === "aggregate"
        ? command.spec.executor.config.updates.peers
        : undefined
    );
  close("a", { type: "by-them" });
  world.pass(9_000);
  say("s", { RenewLease: { id: Object.keys(actor.getSnapshot().context.book.leases)[0] ?? "" } });
  actor.send({ type: "peer.established", peer: "a", identity: identityOf("a") });
  world.pass(2_000);
  assert.equal(updates(), [], "it came back in time");
  close("a", { type: "by-them" });
  close("stranger", { type: "by-them" });
  close("b", revoked);
  world.pass(0);
  world.clock.increment(0);
  assert.equal(updates(), [["a", "c"]], "the revoked one at once");
  world.pass(7_000);
  say("s", { RenewLease: { id: Object.keys(actor.getSnapshot().context.book.leases)[0] ?? "" } });
  world.pass(3_000);
  assert.equal(updates(), [["a", "c"], ["c"]]);
});

test("a push is rejected while no job receives", () => {
  const { world, actor } = startWorker();
  const push = {
    type: "stream.received" as const,
    exchange: "x",
    peer: "a",
    identity: identityOf("a"),
    protocol: "/hypha-tensor-stream/push" as const,
  };
  actor.send(push);
  assert.is(world.takeOne("stream.reject").exchange, "x");
});

test("requests that are not a worker's are declined", () => {
  const { world, actor, say } = startWorker();
  assert.is(say("s", { Data: { dataset: "x" } }), "declined");
  actor.send(requestFrom("s", "/hypha-progress/0.0.1", { job_id: "x", progress: "update" }));
  assert.is(world.take("decline").length, 2, "each of them");
});

test("draining ends leases, waits for jobs and for their last word, and takes nothing new", () => {
  const { world, say, lease, actor, ask, offers } = startWorker();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  actor.send({ type: "role.drain" });
  assert.is(actor.getSnapshot().value, "draining");
  const status = world.takeOne("request");
  ask("b");
  world.pass(200);
  assert.equal(offers(), []);
  assert.is(say("s", { RenewLease: { id: "x" } }), "declined");
  status.replyTo.send({ type: "response", id: status.id, message: { JobStatus: {} } });
  assert.equal(actor.getSnapshot().output, { type: "drained" });
});

test("a retiring worker offers nothing new, lets its leases go on, and ends when the last is over", () => {
  const { world, say, lease, actor, ask, offers } = startWorker();
  const id = lease();
  actor.send({ type: "role.retire", withinMs: 60_000 });
  assert.is(actor.getSnapshot().value, "retiring");
  assert.is(world.takeOne("unsubscribe").topic, "hypha/worker");
  ask("b");
  world.pass(200);
  assert.equal(offers(), []);
  assert.match(JSON.stringify(say("s", { RenewLease: { id } })), "Renewed");
  assert.match(JSON.stringify(say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } })), "Dispatched");
  world.pass(5_000);
  assert.is(actor.getSnapshot().status, "active");
  // The holder lets it lapse: its job ends, the holder is told, and nothing is left.
  world.pass(6_000);
  const status = world.takeOne("request");
  assert.ok("JobStatus" in status.message);
  status.replyTo.send({ type: "response", id: status.id, message: { JobStatus: {} } });
  assert.equal(actor.getSnapshot().output, { type: "drained" });
});

test("a worker whose time to retire is over ends its leases with that reason; one without any retires at once", () => {
  const { world, say, lease, actor, jobs } = startWorker();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  actor.send({ type: "role.retire", withinMs: 1_000 });
  actor.send({ type: "role.drain", reason: "the node's key was replaced" });
  assert.ok(jobs.heard.some(([, command]) => "reason" in command && /key was replaced/.test(String(command.reason))));
  const { message } = world.takeOne("request");
  const { status } = (message as { JobStatus: { status: { type: string; reason: string } } }).JobStatus;
  assert.is(status.type, "Failed");
  assert.match(status.reason, "key was replaced");
  const idle = startWorker();
  idle.actor.send({ type: "role.retire", withinMs: 1_000 });
  assert.equal(idle.actor.getSnapshot().output, { type: "drained" });
});

test("events that no state waits for change nothing", () => {
  const { actor } = startWorker();
  actor.send({ type: "reachable", addresses: [] });
  actor.send({ type: "dht.ready" });
  actor.send({ type: "rejoined" });
  actor.send({ type: "absence.over", peer: "x" });
  actor.send({ type: "lease.over", id: "x", how: "lapsed", reason: "" });
  actor.send({ type: "offer.lapsed", id: "x" });
  actor.send({ type: "status.answered" });
  assert.is(actor.getSnapshot().status, "active");
});

test("bug: a worker offered an executor whose program it did not have", () => {
  const executor = { class: "train", name: "diloco-transformer", runtime: "process", cmd: "gone", args: [] } as never;
  const aggregator = { class: "aggregate", name: "parameter-server", runtime: "parameter-server" } as never;
  const { world, ask, offers } = startWorker("flexible", identityOf("s"), {
    prepared: { executors: { missing: [{ executor, reason: "no such program" }], unread: [] } },
    more: { executors: [executor, aggregator] },
  });
  ask("s");
  world.pass(200);
  assert.equal(offers(), []);
  ask("s", { of: "aggregate" });
  world.pass(200);
  assert.is(offers().length, 1, "the others are offered");
  assert.equal(world.reported("worker.executor").map(({ name }) => name), ["diloco-transformer"]);
});

for (const found of ["bare", "nothing yet"] as const) {
  test(`bug: a worker offered executors that it could not start: the cell that it found is ${found}`, () => {
    const bare: Cell = { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes: [] };
    const { world, ask, offers } = startWorker("flexible", identityOf("s"), {
      prepared: found === "bare" ? { cell: bare } : "never",
    });
    world.pass(sweepMs);
    ask("s");
    world.pass(200);
    assert.equal(offers(), []);
    ask("s", { of: "aggregate" });
    world.pass(200);
    assert.is(offers().length, 1, "the parameter server needs no cell");
  });
}

test("bug: a preparation that failed after the worker had begun to serve was dropped, and its directory was not locked", () => {
  const { world, actor } = startWorker("flexible", identityOf("s"), { prepared: "never" });
  world.pass(sweepMs);
  const error = new Error("no file descriptor is left");
  actor.send({ type: "effect.failed.sweep", error } as never);
  assert.equal(actor.getSnapshot().output, { type: "failed", reason: error.message });
});

test("bug: an executor that crashes at once was leased again and again; after three times it is not offered, longer and longer", () => {
  const started = startWorker();
  const { world, ask, offers, say, actor } = started;
  let tasks = 0;
  const offersTo = (peer: string) => {
    ask(peer);
    world.pass(200);
    return offers().filter(({ to }) => to === peer);
  };
  /** One job, if it is offered: ends after so long. */
  const run = (outcome: object, ms = 1_000, peer = "s") => {
    const [offer] = offersTo(peer);
    if (offer === undefined) return false;
    const id = `task-${++tasks}`;
    say(peer, { RenewLease: { id: offer.id } });
    say(peer, { DispatchJob: { id, spec: trainSpec(`job-${tasks}`) } });
    for (let left = ms; left > 0; left -= 5_000) {
      world.pass(Math.min(left, 5_000));
      say(peer, { RenewLease: { id: offer.id } });
    }
    const child = actor.getSnapshot().children[`job/${id}` as never] as unknown as { send(event: object): void };
    child.send({ type: "end", outcome });
    world.pass(10_600); // Its lease is over then, too.
    return true;
  };
  const crashed = { type: "failed", reason: "executor exited with code 1" };
  const reported = () => world.reported("worker.executor").map(({ seconds }) => seconds);
  assert.ok(run(crashed) && run(crashed) && run({ type: "cancelled", reason: "" }) && run({ type: "finished" }));
  assert.ok(run(crashed) && run(crashed) && run(crashed, 16_000), "one that ran before it failed is no crash at once");
  assert.ok(run(crashed) && run(crashed));
  assert.equal(reported(), []);
  assert.ok(run(crashed));
  assert.not.ok(run(crashed));
  assert.ok(run(crashed, 1_000, "other"), "another scheduler's jobs may run");
  // bug: with a clock that was set an hour back, the pause lasted an hour longer
  world.step(-3_600_000);
  world.pass(60_000);
  assert.ok(run(crashed));
  world.pass(105_000);
  assert.not.ok(run(crashed));
  world.pass(6_000);
  for (let more = 0; more < 6; more++) {
    assert.ok(run(crashed), "every pause ends, after an hour at most");
    world.pass(3_600_000);
  }
  assert.equal(reported(), [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
  assert.match(String(world.reported("worker.executor")[0]?.["reason"]), "code 1");
});

test.run();
