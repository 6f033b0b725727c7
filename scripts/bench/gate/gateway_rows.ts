/**
 * Row P11: what idle members cost the real gateway, and how fast it answers meanwhile.
 *
 * @module
 */
import { type BenchRow, makeRow } from "../row.ts";
import { startGateway } from "./gateway_program.ts";
import { EndProcess } from "./pair.ts";
import type { BenchWorld } from "./world.ts";

/** After the last join, before the measurement, in milliseconds: what a join causes is over. */
const settleMs = 10_000;

/** How much is measured. */
export interface GatewaySizes {
  readonly members: number;
  /** How long they are idle, in milliseconds: both ends of each connection ping every 30 s. */
  readonly idleMs: number;
  readonly questions: number;
}

/** Measures it: the program with its default limits and all of its services. */
export async function measureGateway(world: BenchWorld, sizes: GatewaySizes): Promise<BenchRow[]> {
  const { members, idleMs, questions } = sizes;
  const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const gateway = await startGateway(world.listener);
  const process = new EndProcess();
  try {
    await process.tell({ do: "join", address: gateway.address, members: await world.members(members) });
    await wait(Math.min(settleMs, idleMs));
    const before = gateway.cpuUs();
    const begun = performance.now();
    await wait(idleMs);
    const share = (gateway.cpuUs() - before) / 1_000 / (performance.now() - begun) * 100;
    const { latencies, open } = await process.tell({ do: "ask", count: questions });
    if (open < members) throw new Error(`${members - open} of ${members} members were disconnected`);
    const what = `the gateway's program with ${members} idle members`;
    const common = { op: "<=" as const };
    return [
      makeRow({
        ...common,
        id: "P11.cpu",
        what: `processor time of ${what}`,
        unit: "% of a core",
        value: share,
        target: 5,
      }),
      makeRow({
        ...common,
        id: "P11",
        what: `health p99 of ${what}`,
        unit: "ms",
        value: latencies[Math.floor(latencies.length * 0.99)]!,
        target: 20,
      }),
    ];
  } finally {
    process.stop();
    gateway.stop();
  }
}
