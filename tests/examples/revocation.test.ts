/**
 * A simulation in thirty lines: two nodes, one revocation.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Simulation } from "../../actors/simulation/mod.ts";

const test = suite("example: two nodes, one revocation");

test("a revoked worker is cut off within a second", async () => {
  const sim = await Simulation.create({ seed: 1 });
  const gateway = await sim.addNode({ name: "gateway", role: "gateway" });
  const worker = await sim.addNode({ name: "worker", role: "worker", gateways: ["gateway"] });

  sim.run(5_000);
  assert.ok(sim.areConnected(gateway, worker));

  const lists = await sim.revoke(worker.credential);
  sim.publish(lists, [gateway]);
  sim.run(1_000);
  assert.not(sim.areConnected(gateway, worker));

  sim.run(3_600_000);
  assert.not(sim.areConnected(gateway, worker), "however often it dials, for an hour");
});

test.run();
