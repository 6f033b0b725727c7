/**
 * One seed again, with its whole trace.
 *
 * @module
 */
import { type RunResult, runScenario, scenarioOf, type ScenarioTerms } from "../../actors/simulation/mod.ts";

/** Plays a seed with its trace kept. */
export function replay(seed: number, terms: ScenarioTerms): Promise<RunResult> {
  return runScenario(scenarioOf(seed, terms), { keepTrace: true });
}
