/**
 * Runs test files in this process, one after the other, and prints the counts of each: `node scripts/test_file.ts tests/pki/path.test.ts`.
 *
 * uvu by itself exits 0 when a hook throws, when something other than an Error is thrown, and when it finds no test.
 * Its queue is read directly here: every test that did not pass has failed, and a file without a test fails.
 *
 * @module
 */
import { resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { takeLacking } from "./check/coverage.ts";

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

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("Cannot run: usage: test_file.ts FILE…");
  process.exit(2);
}

async function runSuites(): Promise<void> {
  for (const suite of queue.flatMap((group) => group.splice(0))) {
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
}

/** Runs a file and gives its line of counts. */
async function runFile(file: string): Promise<string> {
  [passed, failed, skipped] = [0, 0, 0];
  const start = performance.now();
  try {
    await import(pathToFileURL(resolve(file)).href);
  } catch (error) {
    fail(`loading ${file}`, error);
  }
  await runSuites();
  if (passed + failed + skipped === 0) fail(file, "no test ran: does the suite end with test.run()?");
  const missed = takeLacking();
  const lacking = Object.keys(missed).length === 0 ? {} : { lacking: missed };
  const ms = files.length === 1 ? {} : { ms: Math.round(performance.now() - start) };
  return `@counts ${JSON.stringify({ passed, failed, skipped, ...lacking, ...ms })}\n`;
}

// Output that a busy reader has not read yet waits in this process. An immediate exit would lose its end, including the counts.
const print = (text: string) => new Promise<void>((done) => void process.stdout.write(text, () => done()));
let isFailed = false;
for (const file of files) {
  await print(await runFile(file));
  isFailed ||= failed > 0;
}
process.exit(isFailed ? 1 : 0);
