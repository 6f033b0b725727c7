/**
 * `npm run bench [-- PART…] [--runtime node|deno] [--nodes N] [--json] [--quick]`: our figures and those of comparable software, in the same run.
 *
 * Without a part it runs all, without a runtime both. Exits with 0 when every target is met, 1 when one is not, 2 on wrong
 * usage. `--quick` prints the same rows after a moment; its figures have no meaning.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type PartName, parts } from "./bench/parts.ts";
import type { BenchRow } from "./bench/row.ts";
import { runCommand } from "./check/command.ts";
import { findRuntime, type Runtime, startable } from "./check/runtimes.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const timeoutMs = 30 * 60_000;
const names = Object.keys(parts) as PartName[];

function usage(reason: string): never {
  const form = "npm run bench [-- PART…] [--runtime node|deno] [--nodes N] [--json] [--quick]";
  console.error(`Cannot run: ${reason}\nUsage: ${form}\nParts: ${names.join(", ")}`);
  process.exit(2);
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        runtime: { type: "string" },
        json: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        nodes: { type: "string" },
      },
    });
    const { runtime, json, quick, nodes } = values;
    if (runtime !== undefined && runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
    const unknown = positionals.find((name) => !names.some((known) => known === name));
    if (unknown !== undefined) usage(`part ${unknown} is not known`);
    const isCount = nodes === undefined || (/^[1-9]\d{0,3}$/.test(nodes) && Number(nodes) >= 2);
    if (!isCount) usage(`--nodes ${nodes} is not a number from 2 to 9999`);
    const chosen = positionals.length === 0 ? names : positionals as PartName[];
    return {
      runtimes: runtime === undefined ? ["node", "deno"] as const : [runtime] as const,
      json,
      quick,
      nodes,
      chosen,
    };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

async function measure(part: PartName, runtime: Runtime): Promise<readonly BenchRow[]> {
  const flags = runtime === "deno"
    ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"]
    : ["--no-warnings", "--expose-gc"];
  const script = join(root, "scripts/bench/run_part.ts");
  const args = [
    ...flags,
    script,
    part,
    ...(quick ? ["--quick"] : []),
    ...(nodes === undefined ? [] : ["--nodes", nodes]),
  ];
  // Each row goes to standard error after its measurement, so an interrupted run has printed its results.
  const onStderr = (text: string) => void process.stderr.write(text);
  const { code, stdout } = await runCommand(startable(findRuntime(runtime) ?? runtime), args, { timeoutMs, onStderr });
  if (code === 0) return JSON.parse(stdout) as readonly BenchRow[];
  throw new Error(`part ${part} failed on ${runtime} with ${code}`);
}

function print(rows: readonly BenchRow[]): void {
  const table = rows.map(({ id, runtime, what, unit, value, peer, peerValue, ratio, op, target, met }) => [
    met ? "met" : "NOT MET",
    id,
    runtime,
    ratio === null ? `${value} ${unit}` : `${ratio} ×`,
    `${op} ${target}`,
    peer === null ? what : `${what}: ${value} ${unit}, ${peer}: ${peerValue}`,
  ]);
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...table.map((row) => row[column]!.length)));
  for (const row of table) console.log(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
}

const { runtimes, json, quick, nodes, chosen } = options();
const rows: BenchRow[] = [];
for (const part of chosen) for (const runtime of runtimes) rows.push(...await measure(part, runtime));
if (json) process.stdout.write(`${JSON.stringify(rows)}\n`);
else print(rows);
process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
