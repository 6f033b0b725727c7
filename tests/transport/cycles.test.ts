/**
 * 2,000 connections opened and closed leave nothing behind: gates, sockets and memory are as before.
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

const test = suite("2,000 connect/close cycles");
const deno = "Deno" in globalThis;

test("gates and descriptors equal, heap at most 5 MB more", async () => {
  const script = fileURLToPath(new URL("../support/cycles.ts", import.meta.url));
  const args = deno ? ["run", "-A", "--v8-flags=--expose-gc", script, "2000"] : ["--expose-gc", script, "2000"];
  // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
  const { execPath } = process;
  const program = deno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
  const { stdout } = await promisify(execFile)(program, args, { timeout: 240_000 });
  const { cycles, before, after } = JSON.parse(stdout.trim().split("\n").at(-1) as string);
  assert.is(cycles, 2_000);
  assert.equal(after.gates, before.gates);
  assert.ok(after.sockets <= before.sockets, `${after.sockets} sockets, before ${before.sockets}`);
  const grownMb = (after.heapBytes - before.heapBytes) / 1_048_576;
  console.log(`  heap ${grownMb.toFixed(2)} MB more, ${after.seconds.toFixed(1)} s`);
  assert.ok(grownMb <= 5, `${grownMb} MB more`);
});

test.run();
