/**
 * One seed again, with its whole trace.
 *
 * @module
 */
import { type RunResult, runScenario } from "../../actors/simulation/mod.ts";
import { chooseScenario, type SimulateOptions } from "./simulate.ts";

/** Plays a seed with its trace kept. */
export function replay(seed: number, terms: Pick<SimulateOptions, "nodes" | "faults" | "wide">): Promise<RunResult> {
  return runScenario(chooseScenario(seed, terms), { keepTrace: true });
}
