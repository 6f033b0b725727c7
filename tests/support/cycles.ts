/**
 * Opens and closes connections between two transports and prints what it left behind, as JSON:
 * `node --expose-gc tests/support/cycles.ts CYCLES WARM_UP`.
 *
 * @module
 */
import process from "node:process";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import type { MakeGate, TransportFact } from "../../transport/port.ts";
import { makeTestPki } from "./pki.ts";
import { descriptors, snapshotOf, startTransport, until } from "./transports.ts";

const cycles = Number(process.argv[2] ?? 2_000);
/** Connections before the first measurement: caches, code and address books fill. */
const warmUp = Number(process.argv[3] ?? 800);
const parallel = 8;

let gates = 0;
const factory = makeGateFactory({ ports: { now: Date.now, report: () => {} } });
const makeGate: MakeGate = (input) => {
  const gate = factory(input);
  gates += 1;
  const stop = gate.stop.bind(gate);
  gate.stop = () => {
    gates -= 1;
    stop();
  };
  return gate;
};

const pki = await makeTestPki();
const snapshot = snapshotOf(pki, { crlsPem: await pki.crls() });
// What is left of a handshake goes with its deadline: a long one would count as left behind.
const common = { pki, snapshot, makeGate, keyExchange: "classical", handshakeTimeoutMs: 2_000 } as const;
const server = await startTransport({ ...common, name: "server" });
const clients = await Promise.all(
  Array.from({ length: parallel }, (_, n) => startTransport({ ...common, name: `client-${n}`, listenAddresses: [] })),
);
const nodes = [server, ...clients];

async function cycle(n: number): Promise<void> {
  const client = clients[n] as (typeof clients)[number];
  const dialled = await client.ask({ type: "dial", id: "d", target: { address: server.addresses[0] as string } });
  if (dialled.type !== "dial.done") throw new Error(JSON.stringify(dialled));
  client.send({ type: "close", peer: server.peer, reason: "cycle" });
  await until("the close at both ends", () =>
    client.facts.some(({ type }) => type === "peer.closed") &&
    server.facts.some((fact) => fact.type === "peer.closed" && fact.peer === client.peer));
  client.facts.length = 0;
  forget(server.facts, client.peer);
}

function forget(facts: TransportFact[], peer: string): void {
  const kept = facts.filter((fact) => !("peer" in fact) || fact.peer !== peer);
  facts.splice(0, facts.length, ...kept);
}

async function run(count: number): Promise<void> {
  await Promise.all(clients.map(async (_, n) => {
    for (let done = n; done < count; done += parallel) await cycle(n);
  }));
}

async function measure() {
  await until("gates to end", () => gates === 0);
  await new Promise((resolve) => setTimeout(resolve, 700)); // libp2p's own timers let go of what they hold
  const { gc } = globalThis as unknown as { gc: () => void };
  // What a collection finds depends on when the runtime compiles and on finalizers: the least of several is what is held.
  let heapBytes = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 10; n++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 100));
    heapBytes = Math.min(heapBytes, process.memoryUsage().heapUsed);
  }
  return { gates, sockets: descriptors(), heapBytes };
}

await run(warmUp);
const before = await measure();
const started = performance.now();
await run(cycles);
const seconds = (performance.now() - started) / 1_000;
const after = { ...await measure(), seconds };
console.log(JSON.stringify({ cycles, before, after }));
await Promise.all(nodes.map((node) => node.stop()));
process.exit(0);
