/**
 * `npm run simulate`: runs networks from seeds in virtual time, and says which invariant did not hold.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { type FaultKind, faultKinds } from "../actors/simulation/mod.ts";
import { replay } from "./simulate/replay.ts";
import { simulate, type SimulateOptions, textOf } from "./simulate/simulate.ts";
import { runtimeOf, startUnder } from "./simulate/runtime.ts";
import { tracePage } from "./simulate/trace_page.ts";

const usage = `usage: npm run simulate -- [--seed N] [--runs M] [--minutes T] [--nodes K] [--faults a,b|none|all]
  [--wide] [--replay SEED] [--trace FILE.html] [--runtime node|deno] [--json]
--wide: one run of 1,000 nodes (or K) for an hour, each joined by two gateways, with revocations and new keys
kinds of fault: ${faultKinds.join(", ")}
`;

class Usage extends Error {}

function numberOf(name: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) throw new Usage(`--${name} wants a number from ${least} on`);
  return value;
}

function faultsOf(text: string | undefined): readonly FaultKind[] | undefined {
  if (text === undefined || text === "all") return undefined;
  if (text === "none") return [];
  return text.split(",").map((kind) => {
    if (!(faultKinds as readonly string[]).includes(kind)) throw new Usage(`there is no kind of fault ${kind}`);
    return kind as FaultKind;
  });
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      runs: { type: "string" },
      minutes: { type: "string" },
      nodes: { type: "string" },
      faults: { type: "string" },
      wide: { type: "boolean", default: false },
      replay: { type: "string" },
      trace: { type: "string" },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const minutes = numberOf("minutes", values.minutes, 0);
  const options: SimulateOptions = {
    seed: numberOf("seed", values.seed, 0) ?? 1,
    runs: numberOf("runs", values.runs, 1) ?? (minutes !== undefined ? Infinity : values.wide ? 1 : 100),
    minutes,
    nodes: numberOf("nodes", values.nodes, 8),
    faults: faultsOf(values.faults),
    wide: values.wide,
    onProgress: values.json ? () => {} : (line) => process.stderr.write(`${line}\n`),
  };
  return { options, json: values.json, trace: values.trace, runtime: values.runtime, replay: values.replay };
}

async function main(args: readonly string[]): Promise<number> {
  const { options, json, trace, runtime, replay: seed } = readOptions(args);
  if (runtime !== undefined && runtime !== "node" && runtime !== "deno") throw new Usage("--runtime is node or deno");
  if (runtime !== undefined && runtime !== runtimeOf()) return await startUnder(runtime, args);
  if (seed !== undefined || trace !== undefined) {
    const result = await replay(numberOf("replay", seed, 0) ?? options.seed, options);
    if (trace !== undefined) writeFileSync(trace, tracePage(result));
    const { lines: _, ...said } = result;
    process.stdout.write(json ? `${JSON.stringify(said)}\n` : `${JSON.stringify(said, undefined, 2)}\n`);
    return result.violations.length === 0 ? 0 : 1;
  }
  const report = await simulate(options);
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : textOf(report));
  return report.failures.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof Usage || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS") === true;
  if (!isUsage) throw error;
  process.stderr.write(`${(error as Error).message}\n${usage}`);
  process.exitCode = 2;
}
