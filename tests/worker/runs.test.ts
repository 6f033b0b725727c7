/** Runs of trainings at a worker: what is left of lower ones ends, and leases end by message. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isStale, noteRun, schedulersRememberedMax, trainingsRememberedMax } from "../../actors/worker/runs.ts";
import type { Member } from "../../pki/member.ts";
import type { TrainingRequest } from "../../transport/protocols/messages.ts";
import { requestFrom } from "../support/fake_transport.ts";
import { aggregateSpec, startWorker, trainSpec } from "../support/worker_world.ts";

const test = suite("runs at a worker");
const training = (run: number, id = "t-1") => ({ id, run });

/** A worker, and what schedulers tell it about their trainings. */
function world() {
  const started = startWorker();
  const tell = (from: string, message: TrainingRequest) => {
    started.world.take("respond");
    started.actor.send(requestFrom(from, "/hypha-training/1", message));
    return (started.world.take("respond")[0]?.message as { answer?: string } | undefined)?.answer;
  };
  const accept = (run: number, of: "train" | "aggregate" = "train", from = "s") => {
    started.ask(from, { of });
    started.world.pass(200);
    const offer = started.offers()[0];
    if (offer === undefined) throw new Error("Cannot accept: no offer");
    return { id: offer.id, answer: started.say(from, { RenewLease: { id: offer.id, training: training(run) } }) };
  };
  const dispatch = (taskId: string, run: number | undefined, spec = trainSpec(`job-${taskId}`), from = "s") =>
    started.say(from, {
      DispatchJob: { id: taskId, spec, ...(run === undefined ? {} : { training: training(run) }) },
    });
  const leases = () => Object.keys(started.actor.getSnapshot().context.book.leases);
  return { ...started, tell, accept, dispatch, leases };
}
const isDispatched = (answer: unknown) => typeof (answer as { DispatchJob?: unknown }).DispatchJob === "object";

test("bug: a scheduler that came back after kill -9 met its own leftovers; a higher run ends them", () => {
  const { accept, dispatch, jobs, leases } = world();
  const before = accept(1);
  assert.ok(isDispatched(dispatch("a", 1)));
  const after = accept(2);
  assert.ok(isDispatched(dispatch("b", 2)));
  assert.equal(jobs.heard.map(([task, { type }]) => [task, type]), [["a", "job.cancel"]]);
  assert.equal(leases(), [after.id]);
  assert.is.not(before.id, after.id);
  assert.equal(accept(1).answer, { RenewLease: "Failed" }, "a lower run gets no lease");
  assert.equal(dispatch("c", 1), { DispatchJob: "Failed" }, "and no job");
});

test("bug: a job ran under the oldest free lease, which nobody renewed; it is the newest", () => {
  const { lease, say, actor } = startWorker();
  const old = lease(), fresh = lease();
  assert.ok(isDispatched(say("s", { DispatchJob: { id: "a", spec: trainSpec() } })));
  const { book } = actor.getSnapshot().context;
  assert.is.not(old, fresh);
  assert.is(book.jobs["a"]?.leaseId, fresh);
});

test("a dispatch of a higher run is answered after the jobs of lower ones have ended", () => {
  const { accept, world: { take }, actor, dispatch, leases, jobs } = world();
  accept(1);
  dispatch("a", 1);
  const lease = leases()[0] ?? "";
  accept(2);
  assert.is(jobs.heard.length, 1, "it is told to end at once");
  assert.not(leases().includes(lease));
  assert.ok(isDispatched(dispatch("b", 2)));
  assert.equal(Object.keys(actor.getSnapshot().context.book.jobs), ["b"]);
  assert.is(take("decline").length, 0);
});

test("the holder releases a lease; no other member does", () => {
  const { accept, tell, dispatch, leases, jobs } = world();
  const { id } = accept(1);
  dispatch("a", 1);
  assert.is(tell("stranger", { Release: { lease: id } }), "Refused");
  assert.equal(leases(), [id]);
  assert.is(tell("s", { Release: { lease: id } }), "Ok");
  assert.equal(leases(), []);
  assert.equal(jobs.heard.map(([, { type }]) => type), ["job.cancel"]);
  assert.is(tell("s", { Release: { lease: id } }), "Refused", "it is over");
});

test("End ends one job, or all of a run and of lower ones; another member's are left alone", () => {
  const { accept, tell, dispatch, leases } = world();
  const ending = (run: number, job: string | null = null) => ({
    End: { training: "t-1", run, job, reason: "cancelled" },
  });
  accept(3);
  dispatch("a", 3);
  assert.is(tell("stranger", ending(9)), "Ok");
  assert.is(tell("s", ending(3, "job-of-nobody")), "Ok");
  assert.is(leases().length, 1);
  assert.is(tell("s", ending(3, "job-a")), "Ok");
  assert.is(leases().length, 0);
  accept(3);
  assert.is(tell("s", ending(3)), "Ok");
  assert.is(leases().length, 0);
  assert.is(tell("s", ending(2)), "Refused", "a lower run says nothing any more");
});

test("a verdict about a job is logged; a request that is not known is answered all the same", () => {
  const { accept, tell, dispatch, world: { reported } } = world();
  accept(1);
  dispatch("a", 1);
  const notice = (job: string) => ({ Notice: { job, code: "norm", detail: "14 times\u001b[2J" } });
  assert.is(tell("stranger", notice("job-a")), "Refused");
  assert.is(tell("s", notice("job-a")), "Ok");
  assert.equal(reported("job.notice").map(({ code, detail }) => [code, detail]), [["norm", "14 times [2J"]]);
  assert.is(tell("s", { Unknown: {} }), "Unsupported");
});

test("a trainer's job gets another aggregator from the member that dispatched it, in its run", () => {
  const { accept, tell, dispatch, jobs } = world();
  accept(1);
  dispatch("a", 1);
  const change = (run: number, job: string) => ({
    Change: { training: "t-1", run, job, aggregator: "other", results: ["other"] },
  });
  assert.is(tell("stranger", change(1, "job-a")), "Refused");
  assert.is(tell("s", change(2, "job-a")), "Refused", "another run");
  assert.is(tell("s", change(1, "job-b")), "Refused");
  assert.equal(jobs.heard, []);
  assert.is(tell("s", change(1, "job-a")), "Ok");
  assert.equal(jobs.heard, [["a", { type: "job.changed", roles: { aggregator: "other", results: ["other"] } }]]);
});

test("bug: a change of the aggregator that arrived after the next one took its place", () => {
  const { accept, tell, dispatch, jobs } = world();
  accept(1);
  dispatch("a", 1);
  const change = (aggregator: string, number: number) =>
    tell("s", {
      Change: { training: "t-1", run: 1, job: "job-a", aggregator, results: [aggregator], dispatch: number },
    });
  assert.equal([change("third", 5), change("second", 4)], ["Ok", "Ok"]);
  assert.equal(jobs.heard, [["a", { type: "job.changed", roles: { aggregator: "third", results: ["third"] } }]]);
});

test("bug: a job that arrived after the one that replaced it took its place, and dropped a trainer", () => {
  const { accept, say, jobs, actor } = world();
  accept(1, "aggregate");
  const dispatch = (trainers: readonly string[], number: number) =>
    say("s", {
      DispatchJob: { id: "a", spec: aggregateSpec(trainers, "job-a", "s"), training: training(1), dispatch: number },
    });
  assert.ok(isDispatched(dispatch(["a"], 1)));
  assert.ok(isDispatched(dispatch(["a", "b"], 3)));
  assert.ok(isDispatched(dispatch([], 2)), "it is not lost either: nothing is to be sent again");
  const now = () => {
    const executor = actor.getSnapshot().context.book.jobs["a"]?.spec.executor;
    return executor?.class === "aggregate" ? executor.config.updates.peers : undefined;
  };
  assert.equal(now(), ["a", "b"]);
  assert.equal(jobs.heard.map(([, { type }]) => type), ["job.updated"]);
  assert.ok(isDispatched(dispatch(["b"], 3)), "the same number is the same job, sent again");
  assert.equal(now(), ["b"]);
});

test("bug: two schedulers' aggregations that wait for one sender mixed its updates", () => {
  const { lease, say, world: { reported } } = startWorker("flexible");
  const dispatch = (from: string, id: string, run?: number) =>
    say(from, {
      DispatchJob: {
        id,
        spec: aggregateSpec(["a", "b"], `job-${id}`, from),
        ...(run === undefined ? {} : { training: training(run) }),
      },
    });
  lease("s", "aggregate");
  assert.ok(isDispatched(dispatch("s", "one", 1)));
  lease("other", "aggregate");
  assert.equal(dispatch("other", "two"), { DispatchJob: "Failed" });
  assert.match(String(reported("job.refused")[0]?.["reason"]), "sender-ambiguous");
  assert.ok(isDispatched(dispatch("other", "two", 1)), "where both name their training they are told apart");
});

test("what is remembered of runs is bounded, for each scheduler and in all", () => {
  const holder = "s" as Member;
  let runs = noteRun({}, holder, training(5));
  assert.equal([isStale(runs, holder, training(4)), isStale(runs, holder, training(5))], [true, false]);
  assert.is(isStale(runs, "x" as Member, training(4)), false);
  for (let at = 0; at < 2 * trainingsRememberedMax; at++) runs = noteRun(runs, "x" as Member, training(1, `t-${at}-`));
  assert.is(Object.keys(runs["x" as Member] ?? {}).length, trainingsRememberedMax);
  assert.is(isStale(runs, holder, training(4)), true, "a scheduler with many names evicts its own only");
  for (let at = 0; at < schedulersRememberedMax; at++) runs = noteRun(runs, `y${at}` as Member, training(1));
  assert.is(Object.keys(runs).length, schedulersRememberedMax);
  assert.is(isStale({}, "constructor" as Member, training(1, "constructor")), false);
});

test.run();
