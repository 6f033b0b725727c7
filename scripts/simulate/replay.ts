/**
 * Plays one scenario again, with its whole trace.
 *
 * @module
 */
import { type RunResult, runScenario, type Scenario } from "../../actors/simulation/mod.ts";

/** A run, and what was drawn for it. */
export interface Replay extends RunResult {
  readonly scenario: Pick<Scenario, "knobs" | "weights" | "events">;
}

/** Plays a scenario with its trace kept. */
export async function replay(scenario: Scenario): Promise<Replay> {
  const { knobs = {}, weights = {}, events } = scenario;
  return { ...await runScenario(scenario, { keepTrace: true }), scenario: { knobs, weights, events } };
}
