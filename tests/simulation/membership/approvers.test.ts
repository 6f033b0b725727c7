/** Persons who approve operations of a simulated CA; some leave in the middle of a ceremony, and sign on. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type MemberScenario, memberScenarioOf, runMemberScenario } from "../../../actors/simulation/mod.ts";

const test = suite("approvals in the simulation");

/** The ceremonies of a seed on a network of one gateway, without other troubles. */
function ceremoniesOf(seed: number): MemberScenario {
  const scenario = memberScenarioOf(seed, { approvals: true });
  return { ...scenario, nodes: scenario.nodes.slice(0, 1), events: [], entries: 0, quietMs: 1_000 };
}

test("a scenario of membership is the same with and without them", () => {
  for (let seed = 0; seed < 20; seed++) {
    const { ceremonies, ...scenario } = memberScenarioOf(seed, { approvals: true });
    assert.equal(scenario, memberScenarioOf(seed));
    assert.ok(ceremonies !== undefined && ceremonies.length > 0);
  }
});

test("schedulers are enrolled, approvers change and leave, and nothing is done without two who are listed", async () => {
  const { violations, lines } = await runMemberScenario(ceremoniesOf(1), { keepTrace: true });
  assert.equal(violations, []);
  const enrolled = lines.filter(({ node, text }) => node.startsWith("thief-") && text === "was answered 200");
  assert.is(enrolled.length, 2);
  const kinds = ["enrol", "change", "enrol", "change"];
  assert.equal(ceremoniesOf(1).ceremonies?.map(({ kind }) => kind), kinds);
});

test.run();
