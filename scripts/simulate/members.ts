/**
 * The second family of scenarios, about membership: a CA, nodes that join by token and renew their certificates, lists that travel.
 *
 * @module
 */
import process from "node:process";
import {
  Coverage,
  type MemberFaultKind,
  memberFaultKinds,
  memberScenarioOf,
  runMemberScenario,
  type RunResult,
  shrinkMemberScenario,
} from "../../actors/simulation/mod.ts";
import { runtimeOf } from "./runtime.ts";
import type { SimulateFailure, SimulateOptions, SimulateReport } from "./simulate.ts";

/** Failures that are shrunk; further ones are only reported. */
const shrunkMax = 5;
/** Seeds whose transitions are counted: inspecting every event takes time. */
const coveredMax = 50;

/** The kinds in a text of the command line; undefined where one of them is no kind of this family. */
export function memberFaultsOf(names: readonly string[]): readonly MemberFaultKind[] | undefined {
  const kinds = memberFaultKinds.filter((kind) => names.includes(kind));
  return kinds.length === names.length ? kinds : undefined;
}

/** What to run. */
export interface MembersOptions extends Pick<SimulateOptions, "seed" | "runs" | "minutes" | "onProgress"> {
  readonly faults: readonly MemberFaultKind[] | undefined;
  /** Persons approve some operations of the CA. */
  readonly approvals: boolean;
}

/** Plays one seed again, with its whole trace. */
export function replayMember(
  seed: number,
  { faults, approvals }: Pick<MembersOptions, "faults" | "approvals">,
): Promise<RunResult> {
  return runMemberScenario(memberScenarioOf(seed, { faults, approvals }), { keepTrace: true });
}

/** Runs a batch. */
export async function simulateMembers(options: MembersOptions): Promise<SimulateReport> {
  const { seed: first, runs, minutes, faults, approvals, onProgress } = options;
  const until = performance.now() + (minutes ?? Infinity) * 60_000;
  const cpuBefore = process.cpuUsage();
  const coverage = new Coverage();
  const seeds: { seed: number; traceHash: string }[] = [];
  const failures: SimulateFailure[] = [];
  const counts: Record<string, number> = {};
  const bit: Record<string, number> = {};
  let virtualSeconds = 0;
  let nodes = Infinity;
  for (let seed = first; seed < first + runs && performance.now() < until; seed++) {
    const scenario = memberScenarioOf(seed, { faults, approvals });
    const result = await runMemberScenario(scenario, seeds.length < coveredMax ? { inspect: coverage.inspect } : {});
    seeds.push({ seed, traceHash: result.traceHash });
    virtualSeconds += result.virtualSeconds;
    nodes = Math.min(nodes, scenario.nodes.length);
    for (const [kind, count] of Object.entries(result.faults)) counts[kind] = (counts[kind] ?? 0) + count;
    for (const kind of result.bit) bit[kind] = (bit[kind] ?? 0) + 1;
    const [violation] = result.violations;
    if (violation === undefined) continue;
    const { invariant, at, node, detail } = violation;
    onProgress(`seed ${seed}: ${invariant} at ${at.toFixed(0)} ms, ${node}: ${detail}`);
    const shrunk = failures.length < shrunkMax ? await shrinkMemberScenario(scenario, invariant) : { scenario };
    onProgress(`seed ${seed}: shrunk to ${JSON.stringify(shrunk.scenario)}`);
    failures.push({
      ...{ seed, invariant, events: scenario.events.length, shrunkEvents: shrunk.scenario.events.length },
      replay: `npm run simulate -- ${approvals ? "--approvals" : "--membership"} --replay ${seed}${
        faults === undefined ? "" : ` --faults ${faults.join(",") || "none"}`
      }`,
    });
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    ...{ runtime: runtimeOf(), runs: seeds.length, nodes: Number.isFinite(nodes) ? nodes : 0, virtualSeconds },
    cpuSeconds: (user + system) / 1_000_000,
    ...{ faults: counts, coverage: coverage.of(), seeds, failures, bit },
  };
}
