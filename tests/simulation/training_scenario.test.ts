/** The family of scenarios about trainings: integer tensors, and rounds that close with a part of the updates. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TrainingChecks } from "../../actors/simulation/check_training.ts";
import type { AveragedRound, CollectedRound } from "../../actors/simulation/executor_watch.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { scenarioOf, simulatedJob, Simulation, trainingScenarioOf } from "../../actors/simulation/mod.ts";

const test = suite("trainingScenarioOf()");

test("it is the scenario of the first family, with a model that is kept; clocks that are set, and losses of power at a write", () => {
  const seeds = Array.from({ length: 40 }, (_, seed) => seed);
  const more = seeds.flatMap((seed) => {
    const { job, events, knobs: turned, submitted: _, ...rest } = trainingScenarioOf(seed);
    const { job: first, events: known, knobs, ...others } = scenarioOf(seed);
    assert.equal(rest, others);
    const isStepped = events.some(({ kind }) => kind === "clock-step");
    assert.equal({ ...turned, leaseLifeMs: 0 }, { ...knobs, leaseLifeMs: 0 });
    assert.is(turned?.leaseLifeMs, isStepped ? undefined : knobs?.leaseLifeMs);
    assert.equal([job.rounds, job.workers, job.keeps, job.integers], [first.rounds, first.workers, true, true]);
    const isKnown = (event: unknown) => known.some((one) => JSON.stringify(one) === JSON.stringify(event));
    assert.is(events.filter(isKnown).length, known.length);
    return events.filter((event) => !isKnown(event));
  });
  assert.ok(more.some(({ kind, target }) => kind === "clock-step" && target.startsWith("worker")));
  assert.ok(more.some(({ kind, atWrite = 0 }) => kind === "power-cut" && atWrite > 10));
  assert.equal([...new Set(more.map(({ kind }) => kind))].toSorted(), [
    "clock-step",
    "crash",
    "disk-full",
    "power-cut",
    "reset",
  ]);
  // The aggregator is lost when its scheduler has kept a round.
  const lost = more.filter(({ kind }) => kind === "crash");
  assert.equal(
    lost.filter(({ target, when, seenAt }) =>
      target !== "worker-1" || when !== "round.finished" || seenAt !== "scheduler-1"
    ),
    [],
  );
  // Connections of an aggregator are reset when an update arrives.
  const resets = more.filter(({ kind }) => kind === "reset");
  assert.ok(resets.every(({ when, target }) => when === "push" && target.startsWith("worker")));
  const onFirst = resets.filter(({ target }) => target === "worker-1").length;
  assert.ok(onFirst > resets.length / 2, `${onFirst} of ${resets.length}`);
  const closing = seeds.filter((seed) => trainingScenarioOf(seed).job.quorum !== undefined).length;
  assert.ok(closing > 10 && closing < 30, `${closing}`);
  const submitted = seeds.map((seed) => trainingScenarioOf(seed).submitted);
  assert.ok(submitted.some((plans) => plans === undefined) && submitted.some((plans) => plans?.length === 3));
  const plans = submitted.flatMap((each) => each ?? []);
  assert.ok(plans.some(({ cancelAt = 0, resumeAt = 0 }) => cancelAt > 0 && resumeAt > cancelAt));
  assert.equal(trainingScenarioOf(1, { faults: ["reload"] }).events, scenarioOf(1, { faults: ["reload"] }).events);
});

/** The rounds of a short training without troubles. */
async function averagedRounds() {
  const sim = await Simulation.create({ seed: "integers" });
  const findings = new Findings(sim);
  const checks = new TrainingChecks({ sim, findings });
  const rounds: AveragedRound[] = [];
  const collected: CollectedRound[] = [];
  sim.watches.push({
    collected: (round) => {
      collected.push(round);
      checks.collected(round);
    },
    averaged: (round) => {
      rounds.push(round);
      checks.averaged(round);
    },
  });
  await sim.addNode({ name: "gateway", role: "gateway" });
  const gateways = ["gateway"];
  await sim.addNode({ name: "data", role: "data", slices: 4, gateways });
  await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], gateways });
  for (const name of ["one", "other", "third"]) {
    await sim.addNode({ name, role: "worker", executors: ["train"], gateways });
  }
  const job = simulatedJob({ workers: 3, rounds: 2, keeps: true });
  await sim.addNode({ name: "scheduler", role: "scheduler", job, hasIntegers: true, gateways });
  sim.run(60_000);
  return { findings, checks, rounds };
}

test("integers of a round are the lower median of its updates; any other number is found, and a round with too few updates", async () => {
  const { findings, checks, rounds } = await averagedRounds();
  assert.is(rounds.length, 2);
  assert.equal(findings.violations, []);
  const [round] = rounds;
  assert.ok(round?.integers.out !== undefined && round.integers.updates.every((each) => each?.length === 2));
  const violated = (wrong: Partial<AveragedRound>) => {
    findings.violations.length = 0;
    checks.averaged({ ...round, ...wrong });
    return findings.violations.map(({ invariant }) => invariant);
  };
  const { updates, out } = round.integers;
  assert.equal(violated({}), []);
  assert.equal(violated({ integers: { updates, out: out.map((value) => value + 1) } }), ["mean-right"]);
  assert.equal(violated({ integers: { updates, out: undefined } }), ["mean-right"]);
  const [first, ...others] = [...round.updates];
  assert.ok(first !== undefined);
  const without = new Map(others);
  const quorum = (part: number) => ({ ...round.spec, aggregation: { ...round.spec.aggregation, quorum: part } });
  assert.ok(violated({ updates: without }).includes("waits-for-all"));
  assert.ok(violated({ updates: without, spec: quorum(1) }).includes("waits-for-all"));
  assert.not(violated({ updates: without, spec: quorum(0.5) }).includes("waits-for-all"));
});

test.run();
