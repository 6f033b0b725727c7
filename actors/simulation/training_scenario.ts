/**
 * The third family of scenarios, about trainings: those of the first family, with a model that the scheduler keeps and that has an
 * integer tensor beside floats; in some, rounds close with a part of the updates. No seed of the first family changes by it.
 *
 * @module
 */
import { randomOf } from "../runtime/random.ts";
import { scenarioOf, type ScenarioTerms } from "./draw_scenario.ts";
import type { Scenario } from "./scenario.ts";

/** Half of the updates are enough at a round's deadline in this part of the seeds. */
const quorumShare = 0.5;

/** The scenario of a seed. */
export function trainingScenarioOf(seed: number, terms: ScenarioTerms = {}): Scenario {
  const { job, ...scenario } = scenarioOf(seed, terms);
  const quorum = randomOf(seed, "trainings/quorum").chance(quorumShare) ? { quorum: 0.5 } : {};
  return { ...scenario, job: { ...job, keeps: true, integers: true, ...quorum } };
}
