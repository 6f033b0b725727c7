/**
 * Runs a batch of seeds of one family of scenarios, counts what happened, and shrinks failures.
 *
 * @module
 */
import process from "node:process";
import {
  Coverage,
  type InvariantName,
  type MachineCoverage,
  type RunOptions,
  type RunResult,
} from "../../actors/simulation/mod.ts";
import { runtimeOf } from "./runtime.ts";

/** Failures that are shrunk; further ones are only reported. */
const shrunkMax = 5;
const progressEveryMs = 5_000;
/** Seeds whose transitions are counted: the first ones, then one in so many. Inspecting every event takes time. */
const coveredFirst = 100;
const coveredEach = 10;

/** Which seeds a batch runs. */
export interface BatchOptions {
  /** The first seed. */
  readonly seed: number;
  readonly runs: number;
  /** Wall time; no seed begins later. */
  readonly minutes: number | undefined;
  readonly onProgress: (line: string) => void;
}

/** A family of scenarios. */
export interface Family<S> {
  readonly scenarioOf: (seed: number) => S;
  readonly run: (scenario: S, options: Pick<RunOptions, "inspect">) => Promise<RunResult>;
  /** Leaves out parts while the same invariant fails. */
  readonly shrink: (scenario: S, invariant: InvariantName) => Promise<{ readonly scenario: S }>;
  /** The command that plays a seed again. */
  readonly replay: (seed: number) => string;
  /** The machines whose transitions are counted; those of a whole network where undefined. */
  readonly machines?: Parameters<Coverage["of"]>[0];
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

/** What a batch needs to know of a scenario. */
interface Sized {
  readonly nodes: readonly unknown[];
  readonly events: readonly unknown[];
}

/** Runs a batch. */
export async function runBatch<S extends Sized>(family: Family<S>, options: BatchOptions): Promise<SimulateReport> {
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
    const scenario = family.scenarioOf(seed);
    const isCovered = seeds.length < coveredFirst || seeds.length % coveredEach === 0;
    const result = await family.run(scenario, isCovered ? { inspect: coverage.inspect } : {});
    seeds.push({ seed, traceHash: result.traceHash });
    virtualSeconds += result.virtualSeconds;
    smallest = Math.min(smallest, scenario.nodes.length);
    for (const [kind, count] of Object.entries(result.faults)) counts[kind] = (counts[kind] ?? 0) + count;
    for (const kind of result.bit) bit[kind] = (bit[kind] ?? 0) + 1;
    const failure = await failureOf(
      { family, seed, scenario, result, shrinks: failures.length < shrunkMax },
      onProgress,
    );
    if (failure !== undefined) failures.push(failure);
    if (performance.now() - toldAt <= progressEveryMs) continue;
    toldAt = performance.now();
    const perSecond = (seeds.length / (toldAt - startedAt)) * 1_000;
    onProgress(`${seeds.length} seeds, ${perSecond.toFixed(1)} a second, ${failures.length} failed`);
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    runtime: runtimeOf(),
    runs: seeds.length,
    nodes: Number.isFinite(smallest) ? smallest : 0,
    virtualSeconds,
    cpuSeconds: (user + system) / 1_000_000,
    faults: sorted(counts),
    coverage: coverage.of(family.machines),
    seeds,
    failures,
    bit: sorted(bit),
  };
}

const sorted = (counts: Readonly<Record<string, number>>) => Object.fromEntries(Object.entries(counts).toSorted());

interface Ran<S> {
  readonly family: Family<S>;
  readonly seed: number;
  readonly scenario: S;
  readonly result: RunResult;
  readonly shrinks: boolean;
}

/** The first violation of a run, shrunk; undefined where there is none. */
async function failureOf<S extends Sized>(
  { family, seed, scenario, result, shrinks }: Ran<S>,
  onProgress: (line: string) => void,
): Promise<SimulateFailure | undefined> {
  const [violation] = result.violations;
  if (violation === undefined) return undefined;
  const { invariant, at, node, detail } = violation;
  onProgress(`seed ${seed}: ${invariant} at ${at.toFixed(0)} ms, ${node}: ${detail}`);
  const shrunk = shrinks ? await family.shrink(scenario, invariant) : { scenario };
  onProgress(`seed ${seed}: shrunk to ${JSON.stringify(shrunk.scenario)}`);
  const [events, shrunkEvents] = [scenario.events.length, shrunk.scenario.events.length];
  return { seed, invariant, events, shrunkEvents, replay: family.replay(seed) };
}
