/** Leases: clocks that are set violate nothing; a lease that lapses, is given up, or lives on against the rules is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LeaseChecks } from "../../actors/simulation/check_leases.ts";
import { stepMs } from "../../actors/simulation/faults.ts";
import { contextsOf, Findings } from "../../actors/simulation/findings.ts";
import { simulatedJob, type SimulatedNode, Simulation } from "../../actors/simulation/mod.ts";
import { Untouched } from "../../actors/simulation/untouched.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import type { WorkerContext } from "../../actors/worker/worker_setup.ts";

const test = suite("LeaseChecks");

const sim = await Simulation.create({ seed: "leases" });
const findings = new Findings(sim);
const untouched = new Untouched(sim);
const checks = new LeaseChecks({ sim, findings, untouched });
/** Another one, which hears of no renewal. */
const deaf = new LeaseChecks({ sim, findings, untouched });
sim.watches.push({
  report: (node: SimulatedNode, { event, fields = {} }: Report) => {
    if (node.role === "worker" && (event === "lease.granted" || event === "lease.renewed")) {
      checks.granted(node, fields);
    }
    if (node.role === "worker" && event === "lease.granted") deaf.granted(node, fields);
    if (event === "lease.lapsed") checks.lapsed(node, fields);
    if (event.endsWith(".lost")) checks.lost(node, fields);
  },
});
await sim.addNode({ name: "gateway", role: "gateway" });
const gateways = ["gateway"];
await sim.addNode({ name: "data", role: "data", slices: 4, gateways });
const aggregator = await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], gateways });
const trainer = await sim.addNode({ name: "trainer", role: "worker", executors: ["train"], gateways });
sim.run(5_000);
const job = simulatedJob({ workers: 1, rounds: 100, keeps: true });
const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job, gateways });

function pass(forMs: number): void {
  for (let left = forMs; left > 0; left -= 250) {
    sim.run(250);
    for (const node of sim.nodes.values()) checks.look(node);
  }
}

/** The violations since the last time. */
const taken = () => findings.violations.splice(0).map(({ invariant, detail }) => `${invariant}: ${detail}`);
const leases = () => contextsOf<WorkerContext>(trainer).flatMap(({ book }) => Object.keys(book.leases));

test("clocks of scheduler, aggregator and trainer that are set by an hour, and back, cost no lease", () => {
  pass(20_000);
  const before = leases();
  assert.is(before.length, 1);
  for (const node of [scheduler, aggregator, trainer]) {
    for (const skewMs of [stepMs, -stepMs, 0]) {
      node.skewMs = skewMs;
      pass(7_000);
    }
  }
  assert.equal(taken(), []);
  assert.equal(leases(), before);
});

test("a lease that lapses early, or although its holder is connected, is found; so is one that is given up, or lives on", () => {
  const [lease] = leases();
  checks.lapsed(trainer, { lease, peer: scheduler.peer });
  assert.match(taken().join(), /lapsed [0-9]+ ms early/);
  sim.run(100);
  deaf.lapsed(trainer, { lease, peer: scheduler.peer });
  assert.match(taken().join(), /lapsed, and scheduler, which holds it, is connected/);
  deaf.lapsed(trainer, { lease, peer: "a peer that is gone" });
  assert.equal(taken(), []);
  checks.lost(scheduler, { peer: trainer.peer, reason: "its lease is over: its giver ended it" });
  assert.equal(taken(), []);
  checks.lost(scheduler, { peer: trainer.peer, reason: "its lease is over: its renewals got no answer" });
  assert.match(taken().join(), /gave up a lease of trainer/);
  deaf.look(trainer);
  assert.match(taken().join(), /outlives its life/);
});

test("a trouble at the holder excuses what is lost with it", () => {
  untouched.struck({ kind: "reset", target: "scheduler", at: sim.now, forMs: 1_000, amount: 0 });
  checks.lost(scheduler, { peer: trainer.peer, reason: "its lease is over: its renewals got no answer" });
  assert.equal(taken(), []);
});

test.run();
