/**
 * Connections opened and closed leave nothing behind: gates, sockets and memory are as before. 500 of them here; 2,000 with
 * `HYPHA_CYCLES=2000`, which `.ci/run` does, and as little memory for each.
 *
 * A child does it, as a collection can be asked for only where the program was started so.
 */
import { execFile } from "node:child_process";
import { basename, dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const cycles = Number(process.env["HYPHA_CYCLES"] ?? 500);
/** What a connection may leave behind, in bytes: 5 MB after 2,000. Below {@linkcode noiseMb} in all it is a collection's chance. */
const leftMax = 5 * 1_048_576 / 2_000;
const noiseMb = 1.5;
/** Connections before the first measurement: on Deno caches and code fill until about the 500th (2.7 MB; 0.3 MB after it). */
const warmUp = Math.max(600, Math.ceil(cycles * 0.4));

const test = suite(`${cycles} connect/close cycles`);
const deno = "Deno" in globalThis;

test("gates and descriptors equal, heap at most 2.6 kB a connection more", async () => {
  const script = fileURLToPath(new URL("../support/cycles.ts", import.meta.url));
  const counts = [String(cycles), String(warmUp)];
  const args = deno ? ["run", "-A", "--v8-flags=--expose-gc", script, ...counts] : ["--expose-gc", script, ...counts];
  // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
  const { execPath } = process;
  const program = deno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
  const { stdout } = await promisify(execFile)(program, args, { timeout: 240_000 });
  const { cycles: made, before, after } = JSON.parse(stdout.trim().split("\n").at(-1) as string);
  assert.is(made, cycles);
  assert.equal(after.gates, before.gates);
  assert.ok(after.sockets <= before.sockets, `${after.sockets} sockets, before ${before.sockets}`);
  const grownMb = (after.heapBytes - before.heapBytes) / 1_048_576;
  console.log(`  heap ${grownMb.toFixed(2)} MB more, ${after.seconds.toFixed(1)} s`);
  assert.ok(grownMb <= Math.max(noiseMb, cycles * leftMax / 1_048_576), `${grownMb} MB more`);
});

test.run();
