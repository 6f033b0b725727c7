/** Nodes that are reached through a gateway's relay only: a whole job runs over circuits. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { simulatedJob, Simulation, type SimulationWatch } from "../../actors/simulation/mod.ts";
import { SimulatedConnection } from "../../transport/simulated/connection.ts";

const test = suite("simulated nodes behind a relay");

test("a job is trained by workers that nobody can dial", async () => {
  const sim = await Simulation.create({ seed: "relayed" });
  const reports: string[] = [];
  const carried = new Set<string>();
  const watch: SimulationWatch = {
    report: (node, { event }) => void reports.push(`${node.name} ${event}`),
    bytes: (node, from, protocol) => {
      if (from instanceof SimulatedConnection && from.relay !== undefined) carried.add(`${node.name} ${protocol}`);
    },
  };
  sim.watches.push(watch);
  await sim.addNode({ name: "gateway", role: "gateway" });
  const behind = { gateways: ["gateway"], isDialable: false } as const;
  await sim.addNode({ name: "data", role: "data", slices: 4, ...behind });
  await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], ...behind });
  const workers = [
    await sim.addNode({ name: "worker-1", role: "worker", ...behind }),
    await sim.addNode({ name: "worker-2", role: "worker", ...behind }),
  ];
  sim.run(5_000);
  const job = simulatedJob({ workers: 2, rounds: 2 });
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job, ...behind });
  sim.run(120_000);
  assert.ok(reports.includes("scheduler training.done"), reports.filter((line) => line.startsWith("scheduler")).join());
  for (const worker of workers) {
    assert.ok(carried.has(`${worker.name} /hypha-api/0.0.1`), [...carried].join());
    assert.ok(sim.areConnected(scheduler, worker) || !scheduler.isRunning);
  }
  assert.ok([...carried].some((line) => line.startsWith("aggregator /hypha-tensor-stream/push")));
});

test.run();
