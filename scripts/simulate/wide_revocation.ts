/**
 * `npm run simulate -- --wide --revocation`: how fast a revocation reaches a wide network.
 *
 * @module
 */
import process from "node:process";
import { cutMs, cutShare, reachMs, runWideRevocation, type WideRevocationReport } from "../../actors/simulation/mod.ts";
import type { BatchOptions } from "./batch.ts";

/** Runs it once for each seed, and prints what was measured; the exit code. */
export async function simulateWideRevocation(
  { seed: first, runs, nodes }: Pick<BatchOptions, "seed" | "runs"> & { readonly nodes: number | undefined },
  json: boolean,
): Promise<number> {
  let failed = 0;
  for (let seed = first; seed < first + runs; seed++) {
    const report = await runWideRevocation(seed, { nodes });
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : textOf(report));
    if (report.problems.length > 0) failed += 1;
  }
  return failed === 0 ? 0 : 1;
}

function textOf(report: WideRevocationReport): string {
  const { seed, nodes, links, cut, reachedMs, closedMs, connections, dialled, refused, problems } = report;
  const when = (ms: number | undefined) =>
    ms === undefined ? "never" : ms < 0 ? `${-ms} ms before the links returned` : `${ms} ms after the links returned`;
  const lines = [
    `seed ${seed}: ${nodes} nodes, ${links} links, ${cut} (${100 * cutShare} %) of them down for the first ${cutMs} ms`,
    `${report.waiting} nodes had no list when the links returned`,
    `the last node had the list ${when(reachedMs)}`,
    `the last of ${connections} connections with revoked peers was closed ${when(closedMs)}`,
    `${refused} of ${dialled} dials of revoked members were refused`,
    `${report.cpuSeconds.toFixed(1)} s of processor time, ${report.rssMb.toFixed(0)} MB`,
    problems.length === 0 ? `met: within ${reachMs} ms` : problems.map((problem) => `FAILED: ${problem}`).join("\n"),
  ];
  return `${lines.join("\n")}\n`;
}
