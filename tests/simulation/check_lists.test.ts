/** A list that one node is given reaches the others in virtual time; where it has not, the check says so. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ListChecks } from "../../actors/simulation/check_lists.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { Simulation, startsAt } from "../../actors/simulation/mod.ts";
import { nodePaths } from "../../actors/simulation/node_config.ts";
import type { SimulatedNode } from "../../actors/simulation/node.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";

const test = suite("ListChecks");

/** The highest number of a list in force. */
function numberAt(node: SimulatedNode): number {
  const { snapshot } = node.actor?.getSnapshot().context as { snapshot: TrustSnapshot | undefined };
  return Math.max(0, ...(snapshot?.revocation?.lists ?? []).map(({ number }) => Number(number)));
}

test("a list goes from node to node, over a gateway that was given it or not", async () => {
  for (const first of ["gateway", "worker-0"]) {
    const sim = await Simulation.create({ seed: 7 });
    const findings = new Findings(sim);
    await sim.addNode({ name: "gateway", role: "gateway" });
    for (const name of ["worker-0", "worker-1", "worker-2"]) {
      await sim.addNode({ name, role: "worker", gateways: ["gateway"] });
    }
    const nodes = [...sim.nodes.values()];
    sim.run(5_000);
    const dates = { thisUpdate: new Date(startsAt), nextUpdate: new Date(startsAt + 86_400_000) };
    const given = sim.nodes.get(first) as SimulatedNode;
    given.disk.put(nodePaths.crls, await sim.authority.crls({ number: 2, ...dates, revoked: [] }), 0o644);
    const concluded = () => {
      const checks = new ListChecks({ sim, findings, oracle: new Oracle() });
      checks.begin();
      checks.look();
      checks.conclude();
      return findings.violations.map(({ invariant }) => invariant);
    };
    const until = sim.now + 2_000;
    // The bundle has the root alone: of the three lists its own travels.
    while (numberAt(given) < 2 && sim.now < until) sim.run(5);
    assert.is(numberAt(given), 2);
    assert.equal(concluded(), ["lists-travel"], "it is in force there, and nowhere else yet");
    findings.violations.splice(0);
    sim.run(2_000);
    assert.equal(nodes.map(numberAt), [2, 2, 2, 2], `given to ${first}`);
    assert.equal(concluded(), []);
  }
});

test.run();
