/**
 * A listener with very many idle connections: how fast it parts from one that was revoked.
 *
 * @module
 */
import { type BenchRow, makeRow } from "../row.ts";
import { EndProcess, Pair } from "./pair.ts";
import type { BenchWorld } from "./world.ts";

/** How long a revoked connection is waited for, in milliseconds. */
const closeMaxMs = 10_000;

/** Connections of the peer that is revoked, and of the one whose certificate ends. */
const partingCount = 8;
/** Until the certificate ends that is made for it: time to start the end and to connect, in milliseconds. */
const expiresInMs = 10_000;

/** Milliseconds until all connections of an end are closed, from a time in milliseconds since the epoch on. */
async function closedAfter(end: EndProcess, since: number): Promise<number> {
  let open = partingCount;
  while (open > 0 && Date.now() - since < closeMaxMs) open = (await end.tell({ do: "open" })).open;
  return open > 0 ? Infinity : Date.now() - since;
}

/** Closing at the end of a certificate's time: how late, in milliseconds. */
async function measureExpiry(world: BenchWorld, address: string): Promise<number> {
  const expiring = new EndProcess();
  try {
    const { end, at } = await world.expiring(expiresInMs);
    await expiring.tell({ do: "setup", setup: { ...end, way: "ours", listens: false } });
    await expiring.tell({ do: "connect", address, count: partingCount, parallel: 4, keep: true });
    const { open } = await expiring.tell({ do: "open" });
    if (open < partingCount || Date.now() >= at) throw new Error("connections closed before the certificate's end");
    return await closedAfter(expiring, at);
  } finally {
    expiring.stop();
  }
}

/** Measures how soon revoked peers are closed, with so many connections. */
export async function measureManyConnections(world: BenchWorld, count: number): Promise<BenchRow[]> {
  const pair = new Pair("ours");
  const revoked = new EndProcess();
  try {
    await pair.begin(world.listener, world.dialler);
    await revoked.tell({ do: "setup", setup: { ...world.revoked, way: "ours", listens: false } });
    const { address, listener, dialler } = pair;
    await dialler.tell({ do: "connect", address, count, parallel: 16, keep: true });
    await revoked.tell({ do: "connect", address, count: partingCount, parallel: 4, keep: true });
    await listener.tell({ do: "watch" });
    const changedAt = Date.now();
    await listener.tell({ do: "trust", crlsPath: world.revokingPath });
    const closedMs = await closedAfter(revoked, changedAt);
    // A second pass, with no connection to close, is only the re-verification.
    await listener.tell({ do: "lag" });
    const { latencies: [lagMs = 0] } = await listener.tell({ do: "lag" });
    const expiredMs = await measureExpiry(world, address);
    const bystanders = await dialler.tell({ do: "open" });
    const name = `with ${count} connections open`;
    return [
      makeRow({
        id: "R5.close",
        what: `a revoked peer's connections closed, ${name}`,
        unit: "ms",
        value: closedMs,
        op: "<=",
        target: 1_000,
      }),
      makeRow({
        id: "R5.expiry",
        what: `connections closed after the end of a peer's certificate, ${name}`,
        unit: "ms",
        value: expiredMs,
        op: "<=",
        target: 1_000,
      }),
      ...["R5.stall", "P14.trust"].map((id) =>
        makeRow({
          id,
          what: `longest stall of the event loop at a trust change, ${name}`,
          unit: "ms",
          value: lagMs,
          op: "<=",
          target: 20,
        })
      ),
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
