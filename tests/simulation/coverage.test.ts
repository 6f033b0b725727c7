/**
 * Which transitions of which machine simulated networks take.
 *
 * Goal: each is taken in a simulation, or listed with the reason why none takes it. Method: fixed seeds that together take
 * all that are known to be taken; what is neither taken nor listed fails, and so does what is listed and taken, or listed and
 * not there. The seeds violate no invariant either.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Coverage, type FaultKind, runScenario, scenarioOf } from "../../actors/simulation/mod.ts";
import { findRuntime, ownRuntime } from "../../scripts/check/runtimes.ts";
import { troubles } from "../support/simulated_troubles.ts";

const test = suite("transitions of simulated machines");

/** With all kinds of trouble that the seed draws, or with one. */
type Run = readonly [seed: number, kind?: FaultKind];

const read = <A>(name: string): A =>
  JSON.parse(readFileSync(new URL(`../fixtures/simulation/${name}`, import.meta.url), "utf8"));
const listed = read<Readonly<Record<string, string>>>("unreached_transitions.json");
/** Found by running many seeds and leaving out those whose transitions others take too. */
const runs = read<readonly Run[]>("transition_seeds.json");

/** Which transitions a seed takes is the same on both runtimes, as its trace is (`simulation.test.ts`): Deno reads the lists, Node runs them. */
const half = ownRuntime === "deno" && findRuntime("node") !== undefined;

test("the seeds and the list name what is there", () => {
  const there = namesIn(new Coverage());
  assert.equal(Object.keys(listed).filter((name) => !there.has(name)), [], "listed, and not there");
  assert.ok(Object.values(listed).every((reason) => reason.length > 20));
  for (const [seed, kind] of runs) {
    assert.ok(scenarioOf(seed, kind === undefined ? {} : { faults: [kind] }).events.length);
  }
});

(half ? () => {} : test)("each transition is taken in a simulation, or listed with a reason", async () => {
  const coverage = new Coverage();
  const untouched = namesIn(coverage);
  for (const [seed, kind] of runs) {
    const scenario = scenarioOf(seed, kind === undefined ? {} : { faults: [kind] });
    const { violations } = await runScenario(scenario, { inspect: coverage.inspect });
    assert.equal(violations, [], `seed ${seed} ${kind ?? ""}`);
  }
  // Cut short, they leave a job unfinished: what is looked at here are transitions alone.
  for (const scenario of troubles) await runScenario(scenario, { inspect: coverage.inspect, stopAtFirst: false });
  const missing = namesIn(coverage);
  assert.equal([...missing].filter((name) => listed[name] === undefined), [], "neither taken nor listed");
  assert.equal(Object.keys(listed).filter((name) => !missing.has(name)), [], "listed, and taken or not there");
  assert.ok(untouched.size - missing.size > untouched.size / 2, `${missing.size} of ${untouched.size} missing`);
});

function namesIn(coverage: Coverage): ReadonlySet<string> {
  return new Set(Object.values(coverage.of()).flatMap(({ missing }) => missing));
}

test.run();
