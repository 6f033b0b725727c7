/**
 * A transport in a process of its own, for tests across runtimes: takes its PKI as JSON on standard input, prints its
 * address, answers health, and ends with its input.
 *
 * @module
 */
import process from "node:process";
import type { TransportFact } from "../../transport/port.ts";
import { startTransport } from "./transports.ts";

process.stdin.setEncoding("utf8");
const [line = ""] = await new Promise<string[]>((resolve) => {
  let read = "";
  process.stdin.on("data", (piece) => {
    read += piece;
    if (read.includes("\n")) resolve(read.split("\n"));
  });
});
const { node, trustPem } = JSON.parse(line);
const chain = node.chain.map((hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
const child = await startTransport({
  name: node.name,
  pki: { trustPem } as never,
  node: { ...node, der: chain[0], chain },
});
child.send({ type: "serve", protocol: "/hypha-health/0.0.1" });
console.log(child.addresses[0]);
const answered = new Set<string>();
setInterval(() => {
  for (const fact of child.facts as TransportFact[]) {
    if (fact.type !== "request.received" || answered.has(fact.exchange)) continue;
    answered.add(fact.exchange);
    child.send({ type: "respond", exchange: fact.exchange, message: { healthy: true } });
  }
}, 10);
process.stdin.on("end", () => process.exit(0));
