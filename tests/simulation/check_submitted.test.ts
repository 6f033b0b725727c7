/** Turns and memory of a scheduler that waits for jobs: each violation is found, and what keeps to the rules is none. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SubmittedChecks } from "../../actors/simulation/check_submitted.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import type { SimulatedNode, Simulation } from "../../actors/simulation/mod.ts";
import type { Operator } from "../../actors/simulation/submitting.ts";
import { emptyTraining } from "../../actors/training/training.ts";

const test = suite("SubmittedChecks");

type Phase = "queueing" | "trainers" | "aggregator" | "running";

/** A scheduler whose trainings are in these phases; `a` is the oldest. */
function scheduler() {
  const sim = { now: 0, note: () => {} };
  const findings = new Findings(sim as unknown as Simulation);
  const oracle = new Oracle();
  const phases: Record<string, Phase> = {};
  const trainings: Record<string, { readonly queuedAt: number }> = { a: { queuedAt: 1 }, b: { queuedAt: 2 } };
  let held = 0;
  const childOf = (id: string, phase: Phase) => ({
    getSnapshot: () => ({
      status: "active",
      value: phase === "running" ? { running: "rounds" } : { allocating: phase },
      context: {
        id,
        run: { id, run: 1 },
        training: { ...emptyTraining, trainers: Object.fromEntries(Array.from({ length: held }, (_, at) => [at, {}])) },
      },
    }),
  });
  const role = {
    getSnapshot: () => ({
      status: "active",
      value: "serving",
      context: { trainings, running: Object.keys(phases) },
      children: Object.fromEntries(Object.entries(phases).map(([id, phase]) => [`training/${id}`, childOf(id, phase)])),
    }),
  };
  const node = { name: "s", incarnation: 1, roleActor: role, roleActors: [role] } as unknown as SimulatedNode;
  const operator = { node, accepted: [{ type: "submit", id: "a" }], isDone: true } as unknown as Operator;
  const checks = new SubmittedChecks({ sim: sim as unknown as Simulation, findings, oracle });
  checks.operated(operator);
  /** The violations of some looks, a quarter of a second apart. */
  const look = (now: Record<string, Phase>, { holding = 0, looks = 1 } = {}) => {
    for (const id of Object.keys(phases)) delete phases[id];
    Object.assign(phases, now);
    held = holding;
    for (let left = looks; left > 0; left--) {
      sim.now += 250;
      checks.look();
    }
    return findings.violations.splice(0).map(({ invariant, detail }) => `${invariant}: ${detail}`).join();
  };
  return { look, checks, trainings, oracle, node };
}

/** Found by a seed of --trainings: 29,100,165. */
test("bug: a training whose turn began and ended between two looks counted as one that still waits", () => {
  const { look } = scheduler();
  assert.is(look({ a: "queueing", b: "queueing" }), "");
  assert.is(look({ a: "running", b: "trainers" }), "");
});

test("trainings that take turns violate nothing; two that look at once do, and one that holds workers for longer than its turn", () => {
  const { look, checks } = scheduler();
  assert.is(look({ a: "trainers", b: "queueing" }, { holding: 2, looks: 22 }), "");
  assert.is(look({ a: "queueing", b: "trainers" }, { holding: 2, looks: 22 }), "");
  assert.is(checks.isBusy("s"), true);
  assert.is(look({ a: "running", b: "running" }, { holding: 2, looks: 60 }), "");
  assert.match(look({ a: "trainers", b: "aggregator" }), /queue-turns: a and b look for workers at the same time/);
  assert.match(look({ a: "trainers" }, { holding: 1, looks: 30 }), /a holds 1 workers for longer than its turn/);
  assert.is(look({ a: "trainers" }, { holding: 0, looks: 30 }), "", "it holds none");
  assert.is(look({}), "");
  assert.is(checks.isBusy("s"), false);
  assert.is(checks.isBusy("another"), undefined);
});

test("a younger training that passes one that waits is found, except where the scheduler's clock was set", () => {
  const { look, oracle, node } = scheduler();
  look({ a: "queueing", b: "queueing" });
  assert.match(look({ a: "queueing", b: "trainers" }), /b looks for workers before a, which is older/);
  look({ a: "queueing", b: "queueing" });
  assert.is(look({ a: "aggregator", b: "queueing" }), "");
  oracle.clockJumped(node, 0);
  look({ a: "queueing", b: "queueing" });
  assert.is(look({ a: "queueing", b: "trainers" }), "");
});

test("a training that was accepted and is not known any more is found", () => {
  const { look, trainings } = scheduler();
  assert.is(look({}), "");
  delete trainings["a"];
  assert.is(look({}), "submitted-kept: it forgot training a");
});

test.run();
