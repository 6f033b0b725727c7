/** A worker: offers, leases, jobs, and what it does when peers go. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assign, setup } from "xstate";
import type { WorkerConfig } from "../../actors/config/config.ts";
import type { PreparedWorker } from "../../actors/job/cell/prepare.ts";
import type { jobMachine } from "../../actors/job/job.ts";
import type { JobCommand, JobInput, JobOutcome } from "../../actors/job/messages.ts";
import { type EffectDone, fromSource } from "../../actors/runtime/effect_actor.ts";
import { workerMachine } from "../../actors/worker/worker.ts";
import { CertificateRevoked } from "../../pki/refusal.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import type { ApiRequest, JobSpec } from "../../transport/protocols/messages.ts";
import type { CloseReason } from "../../transport/port.ts";
import { failedWith, identityOf, makeFakeWorld, requestFrom, startIn } from "../support/fake_transport.ts";

const test = suite("worker");
const api = "/hypha-api/0.0.1" as const;
const total = { cpu: 4, gpu: 0, memory: 8, storage: 10 };
const small = { cpu: 2, gpu: 0, memory: 1, storage: 1 };

const revoked: CloseReason = {
  type: "trust.changed",
  refusal: new CertificateRevoked({
    certificate: { subject: "CN=x", serial: "01" },
    issuer: "CN=ca",
    revokedAt: new Date(0),
    reason: "keyCompromise",
  } as never),
};

/** Stands for `job.ts`: ends when it is cancelled or told to, keeps what it hears. */
function fakeJobs() {
  const inputs: JobInput[] = [];
  const heard: [task: string, command: JobCommand | { type: "end" | "crash" }][] = [];
  const logic = setup({
    types: {
      input: {} as JobInput,
      context: {} as { input: JobInput; outcome: object },
      events: {} as JobCommand | { type: "end"; outcome: object } | { type: "crash" },
    },
  }).createMachine({
    context: ({ input }) => {
      inputs.push(input);
      return { input, outcome: {} };
    },
    initial: "running",
    on: { "*": { actions: ({ context, event }) => void heard.push([context.input.taskId, event]) } },
    states: {
      running: {
        on: {
          "job.cancel": {
            target: "over",
            actions: [
              ({ context, event }) => void heard.push([context.input.taskId, event]),
              assign({ outcome: ({ event }) => ({ type: "cancelled", reason: event.reason }) }),
            ],
          },
          end: { target: "over", actions: assign({ outcome: ({ event }) => event.outcome }) },
          crash: {
            actions: () => {
              throw new Error("a defect");
            },
          },
        },
      },
      over: {
        type: "final",
        entry: ({ context }) => {
          const { taskId: task_id, spec: { job_id } } = context.input;
          context.input.parent?.send({ type: "job.ended", task_id, job_id, outcome: context.outcome as JobOutcome });
        },
      },
    },
  });
  return { inputs, heard, logic };
}

function start(strategy: "whole" | "flexible" = "flexible") {
  const world = makeFakeWorld();
  const jobs = fakeJobs();
  const sweep = fromSource((_: unknown, send: (event: EffectDone<"sweep", PreparedWorker>) => void) => {
    send({ type: "effect.done.sweep", value: { removed: ["/old"], failed: [] } });
    return () => {};
  });
  const machine = workerMachine.provide({ actors: { sweep, job: jobs.logic as unknown as typeof jobMachine } });
  const config = {
    role: "worker",
    workDir: "/nowhere",
    resources: total,
    offer: { price: 10, floor: 5, strategy },
    executors: [
      { class: "train", name: "diloco-transformer", runtime: "process", cmd: "true", args: [] },
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server", cmd: undefined, args: [] },
    ],
  } as unknown as WorkerConfig;
  const actor = startIn(world, machine, {
    config,
    ports: world.ports,
    transport: world.transport,
    self: "worker",
    peers: ["s"],
  });
  let requests = 0;
  const ask = (from: string, { bid = 20, cpu = 2, of = "train" as "train" | "aggregate" } = {}) => {
    const name = of === "train" ? "diloco-transformer" : "parameter-server";
    const id = `request-${++requests}`;
    actor.send({
      type: "published",
      topic: "hypha/worker",
      from,
      via: "g",
      message: {
        id,
        spec: { resources: { ...small, cpu }, executor: [{ class: of, name }] },
        timeout: instantFromMs(0),
        bid,
      },
    });
    return id;
  };
  /** The offers that went out since the last look. */
  const offers = () =>
    world.take("request").flatMap((sent) =>
      "WorkerOffer" in sent.message
        ? [{
          to: sent.peer,
          sent,
          ...(sent.message.WorkerOffer as { id: string; price: number; resources: typeof total }),
        }]
        : []
    );
  /** Sends a request and gives the response; `declined` for none. */
  const say = (from: string, message: ApiRequest, role?: "scheduler" | "worker") => {
    world.take("respond");
    world.take("decline");
    actor.send(requestFrom(from, api, message, role));
    const [response] = world.take("respond");
    return response?.message as Record<string, unknown> | undefined ?? "declined";
  };
  const lease = (from = "s", of: "train" | "aggregate" = "train") => {
    ask(from, { of });
    world.pass(200);
    const [offer] = offers();
    if (offer === undefined) throw new Error("Cannot lease: no offer");
    assert.ok("RenewLease" in (say(from, { RenewLease: { id: offer.id } }) as object));
    return offer.id;
  };
  const isRenewed = (answer: unknown) => typeof (answer as { RenewLease?: unknown }).RenewLease === "object";
  return { world, jobs, actor, ask, offers, say, lease, isRenewed };
}

function trainSpec(jobId = "job-1"): JobSpec {
  return {
    job_id: jobId,
    executor: { class: "train", descriptor: { name: "diloco-transformer" }, config: {} as never },
  };
}

function aggregateSpec(updates: readonly string[], jobId = "job-2"): JobSpec {
  const peers = (list: readonly string[]) => ({
    type: "peers" as const,
    peers: list,
    strategy: { type: "All" as const },
    resource: null,
  });
  return {
    job_id: jobId,
    executor: {
      class: "aggregate",
      descriptor: { name: "parameter-server" },
      config: {
        updates: peers(updates),
        results: peers([...updates, "s"]),
        optimizer: { "learning-rate": 0.7, momentum: 0.9 },
      },
    },
  };
}

test("sweeps first, then serves: requests of a window are answered together after 200 ms", () => {
  const { world, ask, offers } = start();
  assert.equal(world.reported("worker.swept")[0]?.["removed"], ["/old"]);
  assert.is(world.takeOne("subscribe").topic, "hypha/worker");
  ask("s");
  world.pass(190);
  assert.equal(offers(), []);
  world.pass(10);
  const [offer] = offers();
  assert.equal([offer?.to, offer?.price, offer?.resources], ["s", 20, small]);
});

test("nothing is promised twice: what is offered is not offered again until the offer lapses", () => {
  const { world, ask, offers } = start();
  ask("a", { bid: 30 });
  ask("b", { bid: 20 });
  ask("c", { bid: 10 });
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["a", "b"], "four cores, two each");
  ask("c", { bid: 50 });
  world.pass(200);
  assert.equal(offers(), []);
  world.pass(310);
  ask("c", { bid: 50 });
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["c"]);
  ask("d");
  world.pass(200);
  ask("e");
  world.pass(90);
  assert.equal(offers().map(({ to }) => to), ["d"]);
  world.pass(110);
  assert.equal(offers(), [], "windows after one another promise no more than one");
});

test("an offer that could not be delivered frees its resources at once", () => {
  const { world, ask, offers } = start("whole");
  ask("a");
  world.pass(200);
  const [offer] = offers();
  offer?.sent.replyTo.send({ type: "request.failed", id: offer.sent.id, error: failedWith("not-connected") });
  ask("b");
  world.pass(200);
  assert.equal(offers().map(({ to }) => to), ["b"]);
});

test("an offer becomes a lease for whom it was made, once, and not after it lapsed", () => {
  const { world, ask, offers, say, isRenewed } = start();
  ask("s");
  world.pass(200);
  const [offer] = offers();
  const id = offer?.id ?? "";
  assert.equal(say("stranger", { RenewLease: { id } }), { RenewLease: "Failed" });
  assert.equal(say("s", { RenewLease: { id } }, "worker"), { RenewLease: "Failed" }, "its certificate is a worker's");
  assert.ok(isRenewed(say("s", { RenewLease: { id } }, "scheduler")));
  assert.is(world.reported("lease.granted")[0]?.["peer"], "s");
  world.pass(700);
  assert.ok(isRenewed(say("s", { RenewLease: { id } })), "a lease doesn't lapse with its offer");
  ask("s");
  world.pass(200);
  const [late] = offers();
  world.pass(510);
  assert.equal(say("s", { RenewLease: { id: late?.id ?? "" } }), { RenewLease: "Failed" });
  assert.equal(say("s", { RenewLease: { id: "unknown" } }), { RenewLease: "Failed" });
});

test("only its holder renews a lease", () => {
  const { say, lease, isRenewed } = start();
  const id = lease();
  assert.equal(say("stranger", { RenewLease: { id } }), { RenewLease: "Failed" });
  assert.ok(isRenewed(say("s", { RenewLease: { id } })));
});

test("a job is taken from whoever holds a lease for one, with an executor that is here; from others not", () => {
  const { say, lease, jobs } = start();
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

test("a lease that lapses cancels its jobs, and its resources come back with the last of them", () => {
  const { world, say, lease, jobs, ask, offers } = start("whole");
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
  const { world, say, lease, jobs, actor } = start();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: { type: "lost", detail: "x" } });
  assert.equal(jobs.heard, [], "a connection that is lost may come back");
  actor.send({ type: "peer.established", peer: "s", identity: identityOf("s") });
  actor.send({ type: "peer.closed", peer: "s", identity: identityOf("s"), reason: revoked });
  assert.equal(jobs.heard.map(([, { type }]) => type), ["job.cancel"]);
  assert.match(String(world.reported("lease.ended")[0]?.["reason"]), "certificate-revoked");
});

test("the scheduler is told how a job ended; one that failed frees its lease", () => {
  const { world, say, lease, actor } = start("whole");
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
  const { world, say, lease, actor, isRenewed } = start();
  const id = lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "end", outcome: { type: "finished" } });
  assert.equal(world.takeOne("request").message, { JobStatus: { task_id: "task-1", status: { type: "Finished" } } });
  assert.ok(isRenewed(say("s", { RenewLease: { id } })));
  assert.ok(typeof say("s", { DispatchJob: { id: "task-2", spec: trainSpec("job-2") } }) === "object");
});

test("a job whose actor dies of a defect has failed; the worker lives on", () => {
  const { world, say, lease, actor } = start();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  const child = actor.getSnapshot().children["job/task-1" as never] as unknown as { send(event: object): void };
  child.send({ type: "crash" });
  assert.is(actor.getSnapshot().status, "active");
  assert.match(String(world.reported("job.ended")[0]?.["reason"]), "a defect");
  assert.ok("JobStatus" in world.takeOne("request").message);
});

test("an aggregation dispatched again goes to the running job", () => {
  const { say, lease, jobs } = start();
  lease("s", "aggregate");
  say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a", "b"]) } });
  const again = say("s", { DispatchJob: { id: "task-1", spec: aggregateSpec(["a"]) } });
  assert.ok(typeof (again as { DispatchJob: unknown }).DispatchJob === "object");
  assert.is(jobs.inputs.length, 1);
  assert.equal(jobs.heard.map(([, command]) => command), [{ type: "job.updated", spec: aggregateSpec(["a"]) }]);
});

test("an aggregation no longer waits for a peer that stays away for ten seconds, or is revoked", () => {
  const { world, say, lease, jobs, actor } = start();
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
  const { world, actor } = start();
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
  const { world, actor, say } = start();
  assert.is(say("s", { Data: { dataset: "x" } }), "declined");
  actor.send(requestFrom("s", "/hypha-progress/0.0.1", { job_id: "x", progress: "update" }));
  assert.is(world.take("decline").length, 2, "each of them");
});

test("draining ends leases, waits for jobs and for their last word, and takes nothing new", () => {
  const { world, say, lease, actor, ask, offers } = start();
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
  const { world, say, lease, actor, ask, offers } = start();
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
  const { world, say, lease, actor, jobs } = start();
  lease();
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  actor.send({ type: "role.retire", withinMs: 1_000 });
  actor.send({ type: "role.drain", reason: "the node's key was replaced" });
  assert.ok(jobs.heard.some(([, command]) => "reason" in command && /key was replaced/.test(String(command.reason))));
  const { message } = world.takeOne("request");
  const { status } = (message as { JobStatus: { status: { type: string; reason: string } } }).JobStatus;
  assert.is(status.type, "Failed");
  assert.match(status.reason, "key was replaced");
  const idle = start();
  idle.actor.send({ type: "role.retire", withinMs: 1_000 });
  assert.equal(idle.actor.getSnapshot().output, { type: "drained" });
});

test("events that no state waits for change nothing", () => {
  const { actor } = start();
  actor.send({ type: "reachable", addresses: [] });
  actor.send({ type: "dht.ready" });
  actor.send({ type: "rejoined" });
  actor.send({ type: "absence.over", peer: "x" });
  actor.send({ type: "lease.over", id: "x", how: "lapsed", reason: "" });
  actor.send({ type: "offer.lapsed", id: "x" });
  actor.send({ type: "status.answered" });
  assert.is(actor.getSnapshot().status, "active");
});

test.run();
