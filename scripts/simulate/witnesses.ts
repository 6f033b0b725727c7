/**
 * The fourth family of scenarios, about witnesses of audit logs.
 *
 * @module
 */
import process from "node:process";
import {
  Coverage,
  type InvariantName,
  type RunResult,
  runWitnessScenario,
  witnessMachines,
  type WitnessScenario,
  witnessScenarioOf,
} from "../../actors/simulation/mod.ts";
import { runtimeOf } from "./runtime.ts";
import type { SimulateFailure, SimulateOptions, SimulateReport } from "./simulate.ts";

/** Seeds whose transitions are counted. */
const coveredMax = 50;

/** What to run. */
export type WitnessesOptions = Pick<SimulateOptions, "seed" | "runs" | "minutes" | "onProgress">;

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
export async function simulateWitnesses(options: WitnessesOptions): Promise<SimulateReport> {
  const { seed: first, runs, minutes, onProgress } = options;
  const until = performance.now() + (minutes ?? Infinity) * 60_000;
  const cpuBefore = process.cpuUsage();
  const coverage = new Coverage();
  const seeds: { seed: number; traceHash: string }[] = [];
  const failures: SimulateFailure[] = [];
  const counts: Record<string, number> = {};
  const bit: Record<string, number> = {};
  let [virtualSeconds, nodes] = [0, Infinity];
  for (let seed = first; seed < first + runs && performance.now() < until; seed++) {
    const scenario = witnessScenarioOf(seed);
    const result = await runWitnessScenario(scenario, seeds.length < coveredMax ? { inspect: coverage.inspect } : {});
    seeds.push({ seed, traceHash: result.traceHash });
    virtualSeconds += result.virtualSeconds;
    nodes = Math.min(nodes, scenario.nodes.length);
    for (const [kind, count] of Object.entries(result.faults)) counts[kind] = (counts[kind] ?? 0) + count;
    for (const kind of result.bit) bit[kind] = (bit[kind] ?? 0) + 1;
    const [violation] = result.violations;
    if (violation === undefined) continue;
    const { invariant, at, node, detail } = violation;
    onProgress(`seed ${seed}: ${invariant} at ${at.toFixed(0)} ms, ${node}: ${detail}`);
    const shrunk = await shrinkWitnessScenario(scenario, invariant);
    onProgress(`seed ${seed}: shrunk to ${JSON.stringify(shrunk.scenario)}`);
    failures.push({
      ...{ seed, invariant, events: scenario.events.length, shrunkEvents: shrunk.scenario.events.length },
      replay: `npm run simulate -- --witnesses --replay ${seed}`,
    });
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    ...{ runtime: runtimeOf(), runs: seeds.length, nodes: Number.isFinite(nodes) ? nodes : 0, virtualSeconds },
    cpuSeconds: (user + system) / 1_000_000,
    ...{ faults: counts, coverage: coverage.of(witnessMachines), seeds, failures, bit },
  };
}
