/**
 * P10: how much faster than real time the simulation runs ten nodes, and the cost of an hour with a thousand nodes.
 *
 * All invariants check every run, as in `npm run simulate`. A violation ends the measurement.
 *
 * @module
 */
import process from "node:process";
import { runScenario, type Scenario, scenarioOf, wideScenarioOf } from "../../../actors/simulation/mod.ts";
import { type BenchRow, makeRow } from "../row.ts";

/** Seeds that warm the runtime and the memory of certificates, and seeds that count. */
const warmSeeds = 16;
const countedSeeds = 48;
const tenNodes = 10;

/** Measures this part. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  return [await measureTen(quick), ...await measureWide(quick)];
}

async function measureTen(quick: boolean): Promise<BenchRow> {
  const [warm, counted] = quick ? [0, 1] : [warmSeeds, countedSeeds];
  const play = async (first: number, count: number) => {
    let virtualSeconds = 0;
    for (let seed = first; seed < first + count; seed++) {
      virtualSeconds += await playClean(scenarioOf(seed, { nodes: tenNodes }));
    }
    return virtualSeconds;
  };
  await play(1, warm);
  const before = process.cpuUsage();
  const virtualSeconds = await play(1 + warm, counted);
  const { user, system } = process.cpuUsage(before);
  return makeRow({
    id: "P10",
    what: "ten nodes with a job, faults and all invariants",
    unit: "simulated s/core-s",
    value: virtualSeconds / ((user + system) / 1_000_000),
    op: ">=",
    target: 900,
  });
}

async function measureWide(quick: boolean): Promise<readonly BenchRow[]> {
  const scenario = quick ? wideScenarioOf(1, { nodes: 24, forMs: 60_000 }) : wideScenarioOf(1);
  const what = `${scenario.nodes.length} nodes for an hour, with revocations and new keys for all`;
  const startedAt = performance.now();
  await playClean(scenario);
  const minutes = (performance.now() - startedAt) / 60_000;
  const gibibytes = process.resourceUsage().maxRSS / 1_024 / 1_024;
  return [
    makeRow({ id: "P10.wide", what, unit: "min", value: minutes, op: "<=", target: 10 }),
    makeRow({ id: "P10.wide-memory", what: `${what}: memory`, unit: "GiB", value: gibibytes, op: "<=", target: 4 }),
  ];
}

async function playClean(scenario: Scenario): Promise<number> {
  const { virtualSeconds, violations: [violation] } = await runScenario(scenario);
  if (violation === undefined) return virtualSeconds;
  throw new Error(`Cannot measure: seed ${scenario.seed} violates ${violation.invariant}: ${violation.detail}`);
}
