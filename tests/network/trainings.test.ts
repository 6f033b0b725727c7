/**
 * Trainings kept apart, with the production machines in virtual time: two schedulers share workers, and a scheduler is killed and comes
 * back a second later.
 *
 * Method: each trainer's update is a function of the trainer, the scheduler and the round, so that a lone run tells the bits that a shared
 * run must have. The trainings differ in shape: an update that got to the other would be noticed by that alone.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { simulatedJob, Simulation } from "../../actors/simulation/mod.ts";

const test = suite("trainings kept apart");
const rounds = 3;
const room = { gpu: 4, cpu: 8, storage: 8, memory: 8 };

/** A network with these schedulers; the results of each one's rounds, as they were written. */
async function network(schedulers: readonly string[]) {
  const sim = await Simulation.create({ seed: "trainings" });
  const nameOf = (peer: string) => [...sim.nodes.values()].find((node) => node.peer === peer)?.name ?? "";
  const results: Record<string, number[][]> = {};
  const events: [node: string, event: string][] = [];
  sim.watches.push({
    averaged: ({ scheduler, out }) => void (results[nameOf(scheduler)] ??= []).push([...out]),
    report: (node, { event }) => void events.push([node.name, event]),
  });
  await sim.addNode({ name: "gateway", role: "gateway" });
  await sim.addNode({ name: "data", role: "data", gateways: ["gateway"], slices: 4 });
  for (const [at, name] of ["trainer-1", "trainer-2"].entries()) {
    const updateOf = ({ scheduler, round }: { readonly scheduler: string; readonly round: number }) => {
      const of = nameOf(scheduler) === "scheduler-1" ? 1 : 2;
      return Array.from({ length: 2 + of }, (_, i) => of * (at + 1) / (round + i + 0.7));
    };
    const executors = ["train"] as const;
    await sim.addNode({ name, role: "worker", gateways: ["gateway"], executors, resources: room, updateOf });
  }
  const executors = ["aggregate"] as const;
  await sim.addNode({ name: "aggregator", role: "worker", gateways: ["gateway"], executors, resources: room });
  sim.run(3_000);
  for (const name of schedulers) {
    await sim.addNode({ name, role: "scheduler", gateways: ["gateway"], job: simulatedJob({ workers: 2, rounds }) });
  }
  const happened = (node: string, event: string) =>
    events.filter(([name, what]) => name === node && what === event).length;
  const until = (holds: () => boolean, forMs = 120_000) => {
    for (let passed = 0; passed < forMs && !holds(); passed += 100) sim.run(100);
    return holds();
  };
  return { sim, results, happened, until };
}

/** The results of a lone run. */
async function lone(scheduler: string): Promise<number[][]> {
  const { results, happened, until } = await network([scheduler]);
  assert.ok(until(() => happened(scheduler, "training.done") > 0), `${scheduler} alone`);
  return results[scheduler] ?? [];
}

test("bug: two schedulers that share workers got each other's updates; each has bit for bit what it has alone", async () => {
  const both = ["scheduler-1", "scheduler-2"];
  const { results, happened, until } = await network(both);
  assert.ok(until(() => both.every((name) => happened(name, "training.done") > 0)), "both come to their end");
  for (const name of both) {
    assert.is(results[name]?.length, rounds);
    assert.equal(results[name], await lone(name));
  }
  for (const node of ["trainer-1", "trainer-2", "aggregator"]) assert.is(happened(node, "push.refused"), 0);
});

test("bug: a scheduler that was killed and came back after a second dispatched all jobs and had no round ever", async () => {
  for (const moment of ["job.dispatched", "round.finished"]) {
    const { sim, happened, until } = await network(["scheduler-1"]);
    assert.ok(until(() => happened("scheduler-1", moment) > 0));
    sim.nodes.get("scheduler-1")?.crash(true);
    sim.run(1_000);
    sim.nodes.get("scheduler-1")?.start();
    assert.ok(until(() => happened("scheduler-1", "training.done") > 0), `killed after ${moment}`);
    assert.is(happened("scheduler-1", "run.began"), 2);
  }
});

test("bug: a run right after a successful one died of a stale lease", async () => {
  const { sim, happened, until } = await network(["scheduler-1"]);
  for (let run = 1; run <= 3; run++) {
    assert.ok(until(() => happened("scheduler-1", "training.done") === run), `run ${run}`);
    assert.ok(until(() => sim.nodes.get("scheduler-1")?.isRunning !== true));
    sim.nodes.get("scheduler-1")?.start();
  }
  assert.is(happened("scheduler-1", "trainer.lost") + happened("scheduler-1", "aggregator.lost"), 0);
});

test.run();
