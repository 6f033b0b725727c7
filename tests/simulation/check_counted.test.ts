/** Who is counted: members of an honest training are; a stranger's update, and a report of others, are found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CountedChecks } from "../../actors/simulation/check_counted.ts";
import type { CollectedRound } from "../../actors/simulation/executor_watch.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { simulatedJob, Simulation } from "../../actors/simulation/mod.ts";
import type { TransportFact } from "../../transport/port.ts";

const test = suite("CountedChecks");

type Received = Extract<TransportFact, { type: "request.received" }>;

async function training() {
  const sim = await Simulation.create({ seed: "counted" });
  const findings = new Findings(sim);
  const checks = new CountedChecks({ sim, findings });
  const collected: CollectedRound[] = [];
  const reports: Received[] = [];
  sim.watches.push({
    collected: (round) => {
      collected.push(round);
      checks.collected(round);
    },
    averaged: ({ spec, updates }) => checks.averaged(spec.job_id, updates.keys()),
    fact: (node, fact) => {
      checks.fact(node, fact);
      if (fact.type === "request.received" && "report" in fact.message) reports.push(fact);
    },
  });
  await sim.addNode({ name: "gateway", role: "gateway" });
  const gateways = ["gateway"];
  await sim.addNode({ name: "data", role: "data", slices: 4, gateways });
  await sim.addNode({ name: "aggregator", role: "worker", executors: ["aggregate"], gateways });
  for (const name of ["one", "two"]) await sim.addNode({ name, role: "worker", executors: ["train"], gateways });
  sim.run(5_000);
  const job = simulatedJob({ workers: 2, rounds: 100 });
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job, gateways });
  sim.run(60_000);
  const [round] = collected;
  const report = reports.at(-1);
  assert.ok(round !== undefined && report !== undefined && collected.length > 2);
  assert.is(round.peers.length, 2);
  assert.equal(findings.violations, []);
  return { sim, findings, checks, scheduler, round, report };
}

test("an update of a peer that the aggregator's job does not name is found", async () => {
  const { sim, findings, checks, round } = await training();
  checks.collected(round);
  assert.equal(findings.violations, []);
  const stranger = sim.nodes.get("data")?.peer ?? "";
  checks.collected({ ...round, peers: [...round.peers, stranger] });
  assert.equal(findings.violations.map(({ invariant }) => invariant), ["counted-everywhere"]);
  assert.match(findings.violations[0]?.detail ?? "", /which its job does not name$/);
});

test("an update of a peer that the scheduler lost long ago is found, and of one lost a moment ago is not", async () => {
  const { sim, findings, checks, round, scheduler } = await training();
  scheduler.crash(true);
  sim.run(20_000);
  // The aggregator's job is over, so nobody names peers any more.
  checks.collected(round);
  assert.equal(findings.violations, []);
  sim.run(30_000);
  checks.collected(round);
  assert.match(findings.violations[0]?.detail ?? "", /which .* does not train with$/);
});

test("a report of other members than those that counted is found", async () => {
  const { findings, checks, scheduler, report } = await training();
  checks.fact(scheduler, report);
  assert.equal(findings.violations, []);
  const { message } = report;
  assert.ok("report" in message && message.report !== undefined);
  const { round, members } = message.report;
  checks.fact(scheduler, { ...report, message: { ...message, report: { round, members: members.slice(1) } } });
  assert.match(findings.violations[0]?.detail ?? "", /^scheduler is told that /);
});

test.run();
