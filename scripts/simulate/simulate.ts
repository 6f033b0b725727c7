/**
 * The first family of scenarios: networks with a job, wide ones, and those about trainings.
 *
 * @module
 */
import {
  type FaultKind,
  runScenario,
  type Scenario,
  scenarioOf,
  shrinkScenario,
  trainingScenarioOf,
  wideScenarioOf,
} from "../../actors/simulation/mod.ts";
import { type BatchOptions, runBatch, type SimulateReport } from "./batch.ts";

/** What to run. */
export interface SimulateOptions extends BatchOptions {
  readonly nodes: number | undefined;
  readonly faults: readonly FaultKind[] | undefined;
  /** A wide network for an hour in place of a small one with a job. */
  readonly wide?: boolean;
  /** The family of scenarios about trainings. */
  readonly trainings?: boolean;
}

/** The scenario of a seed under these options. */
export function chooseScenario(
  seed: number,
  { nodes, faults, wide = false, trainings = false }: Pick<SimulateOptions, "nodes" | "faults" | "wide" | "trainings">,
): Scenario {
  if (wide) return wideScenarioOf(seed, { nodes });
  return trainings ? trainingScenarioOf(seed, { nodes, faults }) : scenarioOf(seed, { nodes, faults });
}

/** Runs a batch. */
export function simulate(options: SimulateOptions): Promise<SimulateReport> {
  const family = {
    scenarioOf: (seed: number) => chooseScenario(seed, options),
    run: runScenario,
    shrink: shrinkScenario,
    replay: (seed: number) => replayCommand(seed, options),
  };
  return runBatch(family, options);
}

function replayCommand(seed: number, { nodes, faults, wide, trainings }: SimulateOptions): string {
  const of = (name: string, value: string | number | undefined) => value === undefined ? "" : ` --${name} ${value}`;
  const kinds = faults === undefined ? undefined : faults.length === 0 ? "none" : faults.join(",");
  return `npm run simulate -- --replay ${seed}${of("nodes", nodes)}${of("faults", kinds)}${
    wide === true ? " --wide" : trainings === true ? " --trainings" : ""
  }`;
}

/** The report for people. */
export function textOf(report: SimulateReport): string {
  const { runs, virtualSeconds, cpuSeconds, faults, bit, coverage, failures } = report;
  const lines = [
    `${runs} runs, ${Math.round(virtualSeconds)} virtual seconds in ${cpuSeconds.toFixed(1)} of the CPU ` +
    `(${Math.round(virtualSeconds / cpuSeconds)} a second)`,
    `faults: ${Object.entries(faults).map(([kind, count]) => `${kind} ${count}`).join(", ")}`,
    `seeds in which they bit: ${Object.entries(bit).map(([kind, count]) => `${kind} ${count}`).join(", ")}`,
    `that never bit: ${Object.keys(faults).filter((kind) => bit[kind] === undefined).join(", ") || "none"}`,
    "transitions reached:",
    ...Object.entries(coverage).map(([machine, { reached, total }]) => `  ${machine} ${reached} of ${total}`),
    ...failures.map(({ seed, invariant, events, shrunkEvents, replay }) =>
      `FAILED seed ${seed}: ${invariant}; events ${events}, shrunk to ${shrunkEvents}; ${replay}`
    ),
    failures.length === 0 ? "no invariant was violated" : `${failures.length} seeds failed`,
  ];
  return `${lines.join("\n")}\n`;
}
