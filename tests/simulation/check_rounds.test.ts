/** Rounds and runs: an honest training violates nothing; one that stands still, or takes a run again, is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AnyActorRef } from "xstate";
import { RoundChecks } from "../../actors/simulation/check_rounds.ts";
import { contextsOf, Findings, trainingContextsOf, trainingsOf } from "../../actors/simulation/findings.ts";
import { simulatedJob, type SimulatedNode, Simulation } from "../../actors/simulation/mod.ts";
import type { WorkerContext } from "../../actors/worker/worker_setup.ts";
import { Untouched } from "../../actors/simulation/untouched.ts";

const test = suite("RoundChecks");

async function training(rounds = 100, keeps = false) {
  const sim = await Simulation.create({ seed: "rounds" });
  const findings = new Findings(sim);
  const untouched = new Untouched(sim);
  const checks = new RoundChecks({ sim, findings, untouched });
  await sim.addNode({ name: "gateway", role: "gateway" });
  const gateways = ["gateway"];
  await sim.addNode({ name: "data", role: "data", slices: 4, gateways });
  const aggregator = await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], gateways });
  const trainer = await sim.addNode({ name: "trainer", role: "worker", executors: ["train"], gateways });
  sim.run(5_000);
  const job = simulatedJob({ workers: 1, rounds, keeps });
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job, gateways });
  const pass = (forMs: number) => {
    for (let left = forMs; left > 0; left -= 250) {
      sim.run(250);
      for (const node of sim.nodes.values()) checks.look(node);
    }
  };
  return { sim, findings, checks, untouched, aggregator, trainer, scheduler, pass };
}

const kinds = ({ violations }: Findings) => violations.map(({ invariant }) => invariant);
const contextOf = (node: SimulatedNode) => trainingContextsOf(node)[0];
const roundsOf = (node: SimulatedNode): number => contextOf(node)?.training.roundsDone ?? 0;

test("a training that makes rounds violates nothing, and one whose trainer stands still is found", async () => {
  const { sim, findings, trainer, scheduler, pass } = await training();
  pass(90_000);
  assert.equal(kinds(findings), []);
  assert.ok(roundsOf(scheduler) > 3);
  trainer.habit = "hanging";
  pass(90_000);
  assert.equal(kinds(findings), ["live-rounds"]);
  assert.match(findings.violations[0]?.detail ?? "", /for 40 s with trainer, aggregator$/);
  assert.ok(sim.areConnected(scheduler, trainer));
});

test("a trainer that is sent its job before its aggregator knows it is found", async () => {
  const { sim, findings, untouched, checks, aggregator, scheduler, pass } = await training();
  pass(30_000);
  const [trainer] = Object.values(contextOf(scheduler)?.training.trainers ?? {});
  const [job] = contextsOf<WorkerContext>(aggregator).flatMap(({ book }) => Object.values(book.jobs));
  assert.ok(trainer !== undefined && job?.spec.executor.class === "aggregate");
  const send = (to: RoundChecks) => {
    to.dispatched(scheduler, { peer: trainer.peer, job: trainer.jobId });
    to.stepped();
  };
  send(checks);
  assert.equal(kinds(findings), []);
  // The newest job does not name it.
  (job.spec.executor.config.results as { peers: readonly string[] }).peers = [];
  send(checks);
  assert.equal(kinds(findings), [], "it was known before");
  send(new RoundChecks({ sim, findings, untouched }));
  assert.equal(kinds(findings), ["known-first"]);
  assert.match(findings.violations[0]?.detail ?? "", /^trainer was sent its job/);
});

test("bug: a training that a supervisor began again a minute before the end was to be over, though it makes rounds", async () => {
  const { checks, scheduler, pass } = await training();
  pass(60_000);
  assert.not(checks.isUnderWayLate(scheduler), "it began once");
  scheduler.crash(true);
  assert.not(checks.isUnderWayLate(scheduler), "it has no training");
  scheduler.start();
  pass(500);
  assert.not(checks.isUnderWayLate(scheduler), "no round is done");
  pass(60_000);
  assert.ok(checks.isUnderWayLate(scheduler));
  pass(60_000);
  assert.not(checks.isUnderWayLate(scheduler), "it had the time");
});

test("seed 34,002,194: a training whose aggregator gave a trainer up after a minute was to be over, though it makes rounds", async () => {
  const { checks, scheduler, pass } = await training();
  checks.gaveUp();
  assert.not(checks.isUnderWayLate(scheduler), "no round is done");
  pass(30_000);
  assert.ok(checks.isUnderWayLate(scheduler));
  pass(30_000);
  assert.not(checks.isUnderWayLate(scheduler), "it had the time");
});

test("seed 47,009,021: a training that had waited for members was to be over, though it had no time for its rounds", async () => {
  const { checks, trainer, scheduler, pass } = await training(40, true);
  pass(30_000);
  assert.not(checks.isUnderWayLate(scheduler), "it waited for nothing");
  trainer.crash(true);
  pass(40_000);
  assert.not(checks.isUnderWayLate(scheduler), "it waits");
  const before = roundsOf(scheduler);
  trainer.start();
  pass(30_000);
  assert.ok(roundsOf(scheduler) > before);
  assert.ok(checks.isUnderWayLate(scheduler));
});

test("a training that a trouble touches may stand still for as long as the trouble lasts", async () => {
  const { sim, findings, untouched, trainer, pass } = await training();
  pass(30_000);
  trainer.habit = "hanging";
  untouched.struck({ kind: "executor-hang", target: "trainer", at: sim.now, forMs: 1_000, amount: 0 });
  pass(90_000);
  assert.equal(kinds(findings), []);
});

test("a scheduler that begins anew takes a higher run, and its leases of the earlier one are over", async () => {
  const { findings, scheduler, pass } = await training();
  pass(20_000);
  const before = contextOf(scheduler)?.run?.run ?? 0;
  scheduler.crash(true);
  pass(500);
  scheduler.start();
  pass(60_000);
  assert.equal(kinds(findings), []);
  assert.ok(before < (contextOf(scheduler)?.run?.run ?? 0));
  assert.ok(roundsOf(scheduler) > 1, "the new training makes rounds");
});

test("a scheduler that loses its power goes on after its last finished round, and one that does not is found", async () => {
  const { sim, findings, checks, scheduler, pass } = await training(100, true);
  sim.watches.push({
    report: (node, { event, fields }) => {
      if (event === "round.finished") checks.finished(node, String(fields?.["training"]), Number(fields?.["round"]));
    },
  });
  for (let renames = 1; renames <= 6; renames++) {
    pass(20_000);
    let left = renames;
    scheduler.disk.moved = () => {
      if (--left > 0) return;
      scheduler.disk.moved = () => {};
      scheduler.losePower();
      throw new Error("the power is lost");
    };
    pass(20_000);
    assert.not.ok(scheduler.isRunning, `rename ${renames}`);
    scheduler.start();
  }
  pass(40_000);
  assert.equal(kinds(findings), []);
  assert.ok(roundsOf(scheduler) > 6, `${roundsOf(scheduler)} rounds`);
  checks.finished(scheduler, contextOf(scheduler)?.run?.id ?? "", roundsOf(scheduler) + 3);
  pass(250);
  assert.equal(kinds(findings), ["rounds-kept"]);
});

test("a training whose only aggregator is gone may wait for another one, for as long as its job says", async () => {
  const { findings, aggregator, scheduler, pass } = await training(100, true);
  pass(20_000);
  aggregator.crash(true);
  pass(55_000);
  assert.equal(kinds(findings), []);
  assert.match(JSON.stringify(trainingsOf(scheduler)[0]?.snapshot.value), /"strength":"waiting"/);
  pass(20_000);
  assert.equal(trainingsOf(scheduler), [], "it failed: wait_s is 60 s");
  assert.equal(kinds(findings), []);
});

test("a run that is taken again is found", async () => {
  const { findings, checks, scheduler, pass } = await training();
  pass(20_000);
  const [taken] = trainingsOf(scheduler);
  assert.ok(taken !== undefined);
  const copy = { getSnapshot: () => taken.ref.getSnapshot() };
  const again = { getSnapshot: () => ({ children: { [taken.ref.id]: copy } }) } as unknown as AnyActorRef;
  checks.look({ name: "scheduler", role: "scheduler", roleActors: [again], sessions: [] } as unknown as SimulatedNode);
  assert.equal(kinds(findings), ["run-rises"]);
});

test.run();
