/**
 * A network in which no certificate names a role, as those that were made before certificates did: every job is done, and no act
 * of a member is refused.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Coverage, runScenario, scenarioOf } from "../../actors/simulation/mod.ts";

const test = suite("networks without roles");

test("without roles in its certificates a network does all of its work, with default settings", async () => {
  const scenario = scenarioOf(5, { faults: ["relayed"] });
  const coverage = new Coverage();
  const nodes = scenario.nodes.map((plan) => ({ ...plan, namesNoRole: true } as const));
  const { violations } = await runScenario({ ...scenario, nodes }, { inspect: coverage.inspect });
  assert.equal(violations, []);
  const taken = [...coverage.reached];
  assert.ok(taken.includes("training.concluding always → training.finished"));
  assert.equal(taken.filter((name) => name.includes("act.refused")), []);
});

test.run();
