/** A trainer has a result only when the scheduler has the round on its medium; a file that was not synced does not count. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JobInput } from "../../actors/job/messages.ts";
import { CheckpointChecks } from "../../actors/simulation/check_checkpoints.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { nodePaths, simulatedJob, Simulation } from "../../actors/simulation/mod.ts";
import { parametersPath, recordPath, trainingFolder, velocityPath } from "../../actors/training/checkpoints.ts";

const test = suite("CheckpointChecks");

test("results of rounds that are on disk are right; one whose record is not synced, or is missing, is found", async () => {
  const sim = await Simulation.create({ seed: "checkpoints" });
  const findings = new Findings(sim);
  const checks = new CheckpointChecks({ sim, findings });
  const job = simulatedJob({ workers: 1, rounds: 4, keeps: true });
  const scheduler = await sim.addNode({ name: "scheduler", role: "scheduler", job });
  sim.run(1_000);
  const input = { scheduler: scheduler.peer, spec: { training: { id: "t-1", rounds: 4 } } } as unknown as JobInput;
  const found = (round: number) => {
    checks.resultTaken(input, round);
    return findings.violations.splice(0).map(({ invariant }) => invariant);
  };
  const folder = trainingFolder(nodePaths.state, "t-1");
  assert.equal(found(2), ["checkpoint-first"]);
  for (const path of [parametersPath(folder, 2), velocityPath(folder, 2)]) scheduler.disk.put(path, "bytes");
  assert.equal(found(2), ["checkpoint-first"]);
  const { service } = scheduler.disk;
  await Effect.runPromise(Effect.scoped(Effect.flatMap(
    service.open(recordPath(folder, 2), { flag: "wx" }),
    (file) => file.writeAll(new TextEncoder().encode("{}")),
  )));
  assert.equal(found(2), ["checkpoint-first"]);
  scheduler.disk.put(recordPath(folder, 2), "{}");
  assert.equal(found(2), []);
  // One that is late has the result of an earlier round.
  assert.equal(found(1), []);
  assert.equal(found(3), ["checkpoint-first"]);
});

test.run();
