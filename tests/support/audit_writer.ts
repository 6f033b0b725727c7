/**
 * A process that records as fast as its first argument says, records a millisecond, into the folder of its second. A file next to it has
 * the number of records taken: what a killed process wrote into a file stays.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { openSync, writeSync } from "node:fs";
import process from "node:process";
import { setImmediate } from "node:timers";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { keepAudit } from "../../scripts/program/audit.ts";

const [perMs = "1", dir = ""] = process.argv.slice(2);
const audit = keepAudit({ dir, keepMs: 86_400_000, now: Date.now });
const ports = makePorts(({ event, message }) => process.stdout.write(`${event} ${message}\n`));
await audit.begin(() => "spiffe://acme.example/gateway/gateway-01", ports);
const file = openSync(`${dir}.taken`, "w");
const count = Buffer.alloc(16);
let taken = 0;
let before = performance.now();
/** Records at once: more than one turn of a busy machine is not caught up with. */
const burst = 256;
const tick = () => {
  const now = performance.now();
  const until = taken + Math.min(burst, Math.round((now - before) * Number(perMs)));
  before = now;
  for (; taken < until; taken++) {
    audit.inbox.record({ type: "refusal", outcome: "unknown-issuer", detail: { n: taken, t: Date.now() } });
  }
  count.writeDoubleLE(taken, 0);
  count.writeDoubleLE(Date.now(), 8);
  writeSync(file, count, 0, 16, 0);
  setImmediate(tick);
};
tick();
process.stdout.write("writing\n");
