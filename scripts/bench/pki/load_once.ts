/**
 * Loads one file of revocation lists as a node does, in a separate process, and prints the cost: the longest stall of
 * the event loop, the wall time, the memory that stays, and the peak of the process over its idle state.
 *
 * Arguments: the bundle, the file, a small file to warm up with.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Effect, Result } from "effect";
import { readCrls } from "../../../actors/files/read_crls.ts";
import { realServices } from "../../../actors/runtime/real_ports.ts";
import type { SerialIndex } from "../../../pki/serial_index.ts";
import { defaultPolicy, makeTrustSnapshot, readAuthorities } from "../../../pki/trust.ts";

/** The output of {@linkcode load_once}, as JSON. */
export interface Loaded {
  readonly stallMs: number;
  /** The same of a loop with nothing to do. */
  readonly idleStallMs: number;
  readonly wallMs: number;
  readonly keptBytes: number;
  readonly peakBytes: number;
  readonly entries: number;
}

const sampleEveryMs = 2;
/** How long the loop does nothing, for comparison, in milliseconds. */
const idleMs = 200;
const [bundle, file, small] = process.argv.slice(2) as [string, string, string];
const trustPem = readFileSync(bundle, "utf8");
const cas = Result.getOrThrow(readAuthorities(trustPem));
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

function load(path: string) {
  const options = { path, what: "file of revocation lists", bytesMax: 256 * 1024 * 1024, key: "crls_pem" };
  const source = readCrls(options, { cas, policy: defaultPolicy });
  const made = Effect.map(source, (crlsPem) => {
    if (typeof crlsPem === "string" || crlsPem instanceof Uint8Array) throw new Error("it was not read apart");
    const at = new Date();
    return Result.getOrThrow(makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at }));
  });
  return Effect.runPromise(Effect.provide(made, realServices));
}

const residentBytes = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? 0) * 1_024;
const sizeOf = ({ serials, dates, reasons, buckets }: SerialIndex) =>
  serials.byteLength + dates.byteLength + reasons.byteLength + buckets.byteLength;

await load(small);
for (let round = 0; round < 3; round++) {
  collect();
  await sleep(100);
}
const idle = residentBytes();
const heap = process.memoryUsage().heapUsed;
let peak = idle;
let stall = 0;
let last = performance.now();
const timer = setInterval(() => {
  const now = performance.now();
  stall = Math.max(stall, now - last - sampleEveryMs);
  peak = Math.max(peak, residentBytes());
  last = performance.now();
}, sampleEveryMs);
await sleep(idleMs);
const idleStallMs = stall;
stall = 0;
last = performance.now();
const start = last;
const { snapshot } = await load(file);
const wallMs = performance.now() - start;
await sleep(20);
clearInterval(timer);
collect();
const [list] = snapshot.revocation?.lists ?? [];
if (list === undefined) throw new Error("no list was read");
const loaded: Loaded = {
  stallMs: stall,
  idleStallMs,
  wallMs,
  keptBytes: sizeOf(list.index) + Math.max(0, process.memoryUsage().heapUsed - heap),
  peakBytes: peak - idle,
  entries: list.entryCount,
};
process.stdout.write(JSON.stringify(loaded));
