/** Trainings that are submitted to one scheduler and share its workers: each ends with the model of a run alone. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CountedChecks } from "../../actors/simulation/check_counted.ts";
import { SubmittedChecks } from "../../actors/simulation/check_submitted.ts";
import { TrainingChecks } from "../../actors/simulation/check_training.ts";
import type { UpdateOf } from "../../actors/simulation/executor.ts";
import { contextsOf, Findings } from "../../actors/simulation/findings.ts";
import { nodePaths, type PlannedTraining, Simulation } from "../../actors/simulation/mod.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import { Operator } from "../../actors/simulation/submitting.ts";
import { updateSizeOf } from "../../actors/simulation/trainer_model.ts";
import type { SchedulerContext } from "../../actors/scheduler/scheduler_setup.ts";
import { eventsPath, statePath } from "../../actors/scheduler/training_record.ts";
import { parametersPath, trainingFolder } from "../../actors/training/checkpoints.ts";

const test = suite("several trainings of one scheduler");

/** A function of the member, the training, the round and the parameters. */
const updateOf = (member: string): UpdateOf => ({ training = "", round, parameters = [] }) =>
  Array.from(
    { length: updateSizeOf(training) },
    (_, at) => (member.length + at) / 8 + round / 16 + training.length / 32 + (parameters[at] ?? 0) / 4,
  );

const room = { gpu: 0, cpu: 4, storage: 10, memory: 20 };

/** Plays trainings that all take the same three trainers and one aggregator. */
async function play(plans: readonly PlannedTraining[], forMs: number) {
  const sim = await Simulation.create({ seed: "several" });
  const findings = new Findings(sim);
  const submitted = new SubmittedChecks({ sim, findings, oracle: new Oracle() });
  const checks = new TrainingChecks({ sim, findings, submitted });
  const counted = new CountedChecks({ sim, findings });
  const runs = new Set<string>();
  sim.watches.push({
    answer: (...answered) => checks.answer(...answered),
    pushed: (...pushed) => checks.pushed(...pushed),
    fact: (node, fact) => counted.fact(node, fact),
    collected: (round) => {
      counted.collected(round);
      checks.collected(round);
    },
    averaged: (round) => {
      runs.add(`${round.training} ${round.run}`);
      checks.averaged(round);
      counted.averaged(round.spec.job_id, round.updates.keys());
    },
  });
  await sim.addNode({ name: "gateway", role: "gateway" });
  const gateways = ["gateway"];
  await sim.addNode({ name: "data", role: "data", slices: 4, gateways });
  await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], resources: room, gateways });
  for (const name of ["a", "bb", "ccc"]) {
    await sim.addNode({
      name,
      role: "worker",
      executors: ["train"],
      resources: room,
      updateOf: updateOf(name),
      gateways,
    });
  }
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", waitsForJobs: true, gateways });
  const operator = new Operator(sim, scheduler);
  submitted.operated(operator);
  for (const plan of plans) operator.schedule(plan);
  const states = () => {
    const [context] = contextsOf<SchedulerContext>(scheduler);
    return Object.values(context?.trainings ?? {}).map(({ id, state }) => `${id} ${state}`).toSorted();
  };
  const pass = (ms: number) => {
    for (let left = ms; left > 0; left -= 250) {
      sim.run(250);
      submitted.look();
      for (const node of sim.nodes.values()) counted.look(node);
    }
  };
  pass(forMs);
  const modelOf = (id: string, round: number) =>
    scheduler.disk.read(parametersPath(trainingFolder(nodePaths.state, id), round));
  return { sim, findings, submitted, scheduler, states, pass, modelOf, runs };
}

const one: PlannedTraining = { id: "t-1", at: 500, workers: 3, rounds: 3 };
const other: PlannedTraining = { id: "t-22", at: 4_000, workers: 3, rounds: 2 };

test("two trainings that share all workers end with the models of runs alone, bit for bit", async () => {
  const together = await play([one, other], 60_000);
  assert.equal(together.findings.violations, []);
  assert.equal(together.states(), ["t-1 done", "t-22 done"]);
  assert.is(together.submitted.isBusy("scheduler"), false);
  for (const plan of [one, other]) {
    const alone = await play([plan], 45_000);
    assert.equal(alone.states(), [`${plan.id} done`]);
    const [model, expected] = [together, alone].map(({ modelOf }) => modelOf(plan.id, plan.rounds));
    assert.ok(expected !== undefined && expected.length > 0);
    assert.equal(model, expected);
    assert.is(together.modelOf(plan.id, plan.rounds + 1), undefined);
  }
});

test("bug: a simulated training left no log", async () => {
  const { scheduler } = await play([other], 45_000);
  const log = scheduler.disk.read(eventsPath(trainingFolder(nodePaths.state, other.id)));
  const events = new TextDecoder().decode(log).split("\n").filter((line) => line !== "").map((line) =>
    (JSON.parse(line) as { readonly event: string }).event
  );
  assert.is(events.filter((event) => event === "round.finished").length, other.rounds, events.join());
  assert.is(scheduler.disk.read(statePath(trainingFolder(nodePaths.state, other.id))) === undefined, false);
});

test("one is cancelled and resumed in another run while the other trains; a loss of power makes the scheduler forget neither", async () => {
  const cancelled = { ...one, rounds: 5, cancelAt: 14_000, resumeAt: 18_000 };
  const { findings, scheduler, states, pass, runs } = await play([cancelled, other], 17_000);
  assert.ok(states().includes("t-1 cancelled"), states().join());
  pass(13_000);
  scheduler.losePower();
  scheduler.start();
  pass(100_000);
  assert.equal(findings.violations, []);
  assert.equal(states(), ["t-1 done", "t-22 done"]);
  assert.ok([...runs].filter((run) => run.startsWith("t-1 ")).length >= 2, [...runs].join());
});

test.run();
