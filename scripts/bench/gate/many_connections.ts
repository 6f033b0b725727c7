/**
 * A listener with very many idle connections: how fast it answers, and how fast it parts from one that was revoked.
 *
 * @module
 */
import { type BenchRow, makeRow } from "../row.ts";
import { EndProcess, Pair } from "./pair.ts";
import type { BenchWorld } from "./world.ts";

/** How long a revoked connection is waited for, in milliseconds. */
const closeMaxMs = 10_000;
const questions = 400;

/** Measures P11 and the closing of R5 with so many connections. */
export async function measureManyConnections(world: BenchWorld, count: number): Promise<BenchRow[]> {
  const pair = new Pair("ours");
  const revoked = new EndProcess();
  try {
    await pair.begin(world.listener, world.dialler);
    await revoked.tell({ do: "setup", setup: { ...world.revoked, way: "ours", listens: false } });
    const { address, listener, dialler } = pair;
    await dialler.tell({ do: "connect", address, count, parallel: 16, keep: true });
    await revoked.tell({ do: "connect", address, count: 8, parallel: 4, keep: true });
    const { latencies } = await dialler.tell({ do: "health", count: questions });
    await listener.tell({ do: "watch" });
    const begun = performance.now();
    await listener.tell({ do: "trust", crlsPath: world.revokingPath });
    let open = 8;
    while (open > 0 && performance.now() - begun < closeMaxMs) open = (await revoked.tell({ do: "open" })).open;
    const closedMs = performance.now() - begun;
    // A second pass, with nobody to close, is only the re-verification.
    await listener.tell({ do: "lag" });
    const { latencies: [lagMs = 0] } = await listener.tell({ do: "lag" });
    const bystanders = await dialler.tell({ do: "open" });
    const name = `with ${count} connections open`;
    return [
      makeRow({
        id: "P11",
        what: `health p99 ${name}`,
        unit: "ms",
        value: latencies[Math.floor(latencies.length * 0.99)]!,
        op: "<=",
        target: 50,
      }),
      makeRow({
        id: "R5.close",
        what: `a revoked peer's connections closed, ${name}`,
        unit: "ms",
        value: closedMs,
        op: "<=",
        target: 1_000,
      }),
      makeRow({
        id: "R5.stall",
        what: `longest stall of the loop meanwhile`,
        unit: "ms",
        value: lagMs,
        op: "<=",
        target: 20,
      }),
      makeRow({
        id: "R5.bystanders",
        what: "bystanders dropped",
        unit: "connections",
        value: count - bystanders.open,
        op: "<=",
        target: 0,
      }),
    ];
  } finally {
    pair.stop();
    revoked.stop();
  }
}
