/**
 * Runs one test file in this process and prints its counts: `node scripts/test_file.ts tests/pki/path.test.ts`.
 *
 * uvu by itself exits 0 when a hook throws, when something other than an Error is thrown, and when it finds no test.
 * Its queue is read directly here: every test that did not pass has failed, and a file without a test fails.
 *
 * @module
 */
import { resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { lacking } from "./check/coverage.ts";

type Suite = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;

const queue: Suite[][] = [[]];
Object.assign(globalThis, { UVU_DEFER: 1, UVU_QUEUE: queue });

let passed = 0;
let failed = 0;
let skipped = 0;

function fail(what: string, error: unknown): void {
  failed += 1;
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  console.log(`\n  FAIL ${what}\n    ${text}`);
}

process.on("uncaughtException", (error) => fail("uncaught exception", error));
process.on("unhandledRejection", (error) => fail("unhandled rejection", error));

const file = process.argv[2];
if (file === undefined) {
  console.error("Cannot run: usage: test_file.ts FILE");
  process.exit(2);
}

try {
  await import(pathToFileURL(resolve(file)).href);
} catch (error) {
  fail(`loading ${file}`, error);
}

for (const suite of queue.flat()) {
  try {
    const [errors, ran, skips, total] = await suite();
    passed += ran;
    failed += total - ran;
    skipped += skips;
    if (typeof errors === "string") console.log(`\n${errors}`);
    else if (total !== ran) console.log("\n  FAIL a before hook of this suite threw");
  } catch (error) {
    fail("a hook", error);
  }
}
if (passed + failed + skipped === 0) fail(file, "no test ran: does the suite end with test.run()?");

// Output that a busy reader has not read yet waits in this process. An immediate exit would lose its end, including the counts.
const missed = Object.keys(lacking()).length === 0 ? {} : { lacking: lacking() };
const counts = `@counts ${JSON.stringify({ passed, failed, skipped, ...missed })}\n`;
process.stdout.write(counts, () => process.exit(failed === 0 ? 0 : 1));
