import process from "node:process";
import { makeTestPki } from "../support/pki.ts";
import { flooded, startFlooder } from "../support/flood.ts";
const pki = await makeTestPki();
const { transport, costs } = await flooded({ pki, name: "gateway", role: "gateway", relay: "server" });
transport.send({ type: "serve", protocol: "/hypha-tensor-stream/push" });
transport.send({ type: "subscribe", topic: "hypha/worker" });
console.log("started");
const f = await startFlooder(pki, "flood", transport.addresses.find((a) => a.includes("127.0.0.1"))!);
console.log("flooder");
await f.flood("kad", 5);
await f.flood("request", 20);
await new Promise((r) => setTimeout(r, 300));
let idle = process.cpuUsage();
await new Promise((r) => setTimeout(r, 300));
idle = process.cpuUsage(idle);
console.log("idle per s", (idle.user + idle.system) / 0.3e6);
for (
  const [kind, n] of [
    ["request", 200],
    ["kad", 200],
    ["gossip", 200],
    ["push", 100],
    ["identify", 100],
    ["ping", 200],
    ["relay", 100],
    ["bytes", 16],
  ] as const
) {
  for (let round = 0; round < 3; round++) {
    const [cpu, charged, at] = [process.cpuUsage(), costs.work.chargedUs(f.peer), performance.now()];
    await f.flood(kind, n);
    await new Promise((r) => setTimeout(r, 30));
    const used = process.cpuUsage(cpu);
    const us = (used.user + used.system) / n;
    console.log(
      kind,
      "cpu",
      us.toFixed(0),
      "charged",
      ((costs.work.chargedUs(f.peer) - charged) / n).toFixed(0),
      "ratio",
      ((costs.work.chargedUs(f.peer) - charged) / n / us).toFixed(2),
      "ms",
      (performance.now() - at).toFixed(0),
    );
  }
}
f.stop();
await transport.stop();
process.exit(0);
