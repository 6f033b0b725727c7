/**
 * The fourth family of scenarios, about witnesses of audit logs.
 *
 * @module
 */
import {
  type InvariantName,
  type RunResult,
  runWitnessScenario,
  witnessMachines,
  type WitnessScenario,
  witnessScenarioOf,
} from "../../actors/simulation/mod.ts";
import { type BatchOptions, runBatch, type SimulateReport } from "./batch.ts";

/** Plays one seed again, with its whole trace. */
export function replayWitnesses(seed: number): Promise<RunResult> {
  return runWitnessScenario(witnessScenarioOf(seed), { keepTrace: true });
}

/** Leaves out troubles while the same invariant fails. */
export async function shrinkWitnessScenario(
  scenario: WitnessScenario,
  invariant: InvariantName,
): Promise<{ readonly scenario: WitnessScenario; readonly runs: number }> {
  let [smallest, runs] = [scenario, 0];
  for (const event of scenario.events) {
    const smaller = { ...smallest, events: smallest.events.filter((each) => each !== event) };
    runs += 1;
    const { violations } = await runWitnessScenario(smaller);
    if (violations.some((each) => each.invariant === invariant)) smallest = smaller;
  }
  return { scenario: smallest, runs };
}

/** Runs a batch. */
export function simulateWitnesses(options: BatchOptions): Promise<SimulateReport> {
  const family = {
    scenarioOf: (seed: number) => witnessScenarioOf(seed),
    run: runWitnessScenario,
    shrink: shrinkWitnessScenario,
    replay: (seed: number) => `npm run simulate -- --witnesses --replay ${seed}`,
    machines: witnessMachines,
  };
  return runBatch(family, options);
}
