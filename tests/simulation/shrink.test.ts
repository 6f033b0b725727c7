/** Shrinking leaves out what a failure does not need: kinds, events, knobs, nodes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runScenario, type Scenario, scenarioOf, shrinkScenario } from "../../actors/simulation/mod.ts";

const test = suite("shrinkScenario()");

test("a scenario that fails by a knob keeps this knob, and loses the others, its events and its spare nodes", async () => {
  // With batches like these a training of four rounds does not end in 24 seconds.
  const knobs = { batchMs: 1_800, drainTimeoutMs: 3_000, pendingMax: 40 };
  const drawn = scenarioOf(3, { faults: ["reset", "slow-link"], nodes: 9 });
  const scenario: Scenario = {
    ...drawn,
    job: { workers: 2, rounds: 4 },
    knobs,
    weights: { reset: 2, partition: 0 },
    troubleMs: 23_000,
    quietMs: 1_000,
  };
  assert.equal(
    (await runScenario({ ...scenario, events: [], knobs: {} })).violations,
    [],
    "it ends in time by default",
  );
  const { violations: [violation] } = await runScenario({ ...scenario, events: [] });
  assert.is(violation?.invariant, "live-job");
  const { scenario: shrunk, runs } = await shrinkScenario(scenario, "live-job");
  assert.equal(shrunk.knobs, { batchMs: 1_800 });
  assert.equal(shrunk.events, []);
  assert.equal(shrunk.weights, {});
  assert.ok(shrunk.nodes.length < scenario.nodes.length);
  assert.ok(runs > 3);
});

test.run();
