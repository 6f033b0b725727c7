/**
 * Runs a batch of seeds, counts what happened, and shrinks failures.
 *
 * @module
 */
import process from "node:process";
import {
  Coverage,
  type FaultKind,
  type MachineCoverage,
  runScenario,
  type Scenario,
  scenarioOf,
  shrinkScenario,
  trainingScenarioOf,
  wideScenarioOf,
} from "../../actors/simulation/mod.ts";
import { runtimeOf } from "./runtime.ts";

/** Failures that are shrunk; further ones are only reported. */
const shrunkMax = 5;
const progressEveryMs = 5_000;
/** Seeds whose transitions are counted: the first ones, then one in so many. Inspecting every event takes time. */
const coveredFirst = 100;
const coveredEach = 10;

/** What to run. */
export interface SimulateOptions {
  /** The first seed. */
  readonly seed: number;
  readonly runs: number;
  /** Wall time; no seed begins later. */
  readonly minutes: number | undefined;
  readonly nodes: number | undefined;
  readonly faults: readonly FaultKind[] | undefined;
  /** A wide network for an hour in place of a small one with a job. */
  readonly wide?: boolean;
  /** The family of scenarios about trainings. */
  readonly trainings?: boolean;
  readonly onProgress: (line: string) => void;
}

/** The result of a batch. */
export interface SimulateReport {
  readonly runtime: "node" | "deno";
  readonly runs: number;
  /** Nodes of the smallest run. */
  readonly nodes: number;
  readonly virtualSeconds: number;
  readonly cpuSeconds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly coverage: Readonly<Record<string, MachineCoverage>>;
  readonly seeds: readonly { readonly seed: number; readonly traceHash: string }[];
  readonly failures: readonly SimulateFailure[];
  /** Seeds in which the effect of a kind of trouble was observed. */
  readonly bit: Readonly<Record<string, number>>;
}

/** A seed that failed. */
export interface SimulateFailure {
  readonly seed: number;
  readonly invariant: string;
  /** Events of the scenario, and of the shrunk one. */
  readonly events: number;
  readonly shrunkEvents: number;
  /** The whole command. */
  readonly replay: string;
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
export async function simulate(options: SimulateOptions): Promise<SimulateReport> {
  const { seed: first, runs, minutes, onProgress } = options;
  const startedAt = performance.now();
  const until = startedAt + (minutes ?? Infinity) * 60_000;
  const cpuBefore = process.cpuUsage();
  const coverage = new Coverage();
  const seeds: { seed: number; traceHash: string }[] = [];
  const failures: SimulateFailure[] = [];
  const counts: Record<string, number> = {};
  const bit: Record<string, number> = {};
  let virtualSeconds = 0;
  let smallest = Infinity;
  let toldAt = startedAt;
  for (let seed = first; seed < first + runs && performance.now() < until; seed++) {
    const scenario = chooseScenario(seed, options);
    const isCovered = seeds.length < coveredFirst || seeds.length % coveredEach === 0;
    const result = await runScenario(scenario, isCovered ? { inspect: coverage.inspect } : {});
    seeds.push({ seed, traceHash: result.traceHash });
    virtualSeconds += result.virtualSeconds;
    smallest = Math.min(smallest, scenario.nodes.length);
    for (const [kind, count] of Object.entries(result.faults)) counts[kind] = (counts[kind] ?? 0) + count;
    for (const kind of result.bit) bit[kind] = (bit[kind] ?? 0) + 1;
    const [violation] = result.violations;
    if (violation !== undefined) {
      onProgress(
        `seed ${seed}: ${violation.invariant} at ${violation.at.toFixed(0)} ms, ${violation.node}: ${violation.detail}`,
      );
      const shrunk = failures.length < shrunkMax ? await shrinkScenario(scenario, violation.invariant) : { scenario };
      failures.push({
        seed,
        invariant: violation.invariant,
        events: scenario.events.length,
        shrunkEvents: shrunk.scenario.events.length,
        replay: replayCommand(seed, options),
      });
      onProgress(`seed ${seed}: shrunk to ${JSON.stringify(shrunk.scenario)}`);
    }
    if (performance.now() - toldAt > progressEveryMs) {
      toldAt = performance.now();
      const perSecond = (seeds.length / (toldAt - startedAt)) * 1_000;
      onProgress(`${seeds.length} seeds, ${perSecond.toFixed(1)} a second, ${failures.length} failed`);
    }
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    runtime: runtimeOf(),
    runs: seeds.length,
    nodes: Number.isFinite(smallest) ? smallest : 0,
    virtualSeconds,
    cpuSeconds: (user + system) / 1_000_000,
    faults: sorted(counts),
    coverage: coverage.of(),
    seeds,
    failures,
    bit: sorted(bit),
  };
}

const sorted = (counts: Readonly<Record<string, number>>) => Object.fromEntries(Object.entries(counts).toSorted());

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
