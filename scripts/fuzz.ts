/**
 * Mutates valid chains and revocation lists, and evaluates them with our verifier and with OpenSSL.
 *
 * `npm run fuzz -- --seed N --count M [--runtime node|deno] [--json]`. Exits with 0 when we accept
 * nothing that OpenSSL refuses without a row of `scripts/fuzz/explained.json`, and nothing throws; else 1; 2 on wrong usage.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import process from "node:process";
import { parseArgs } from "node:util";
import { explained } from "./fuzz/explained.ts";
import { fuzz, type FuzzReport } from "./fuzz/run.ts";

/** Most mutations of a run: numbers of mutations are 32 bits in the generator. */
const countMax = 100_000_000;

function usage(reason: string): never {
  console.error(
    `Cannot fuzz: ${reason}\nUsage: npm run fuzz -- [--seed N] [--count M] [--runtime node|deno] [--json]`,
  );
  process.exit(2);
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= max)) usage(`--${name} ${text} is no whole number up to ${max}`);
  return value;
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        seed: { type: "string", default: "1" },
        count: { type: "string", default: "10000" },
        runtime: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const { json } = values;
    const runtime: "node" | "deno" | undefined = values.runtime === "node" || values.runtime === "deno"
      ? values.runtime
      : undefined;
    if (values.runtime !== runtime) usage(`--runtime ${values.runtime} is not known`);
    const count = wholeNumber("count", values.count, countMax);
    if (count === 0) usage("--count 0 leaves nothing to do");
    return { seed: wholeNumber("seed", values.seed, 0xffff_ffff), count, runtime, json };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

/** Hands over to the other runtime where that is asked for. */
function elsewhere(runtime: "node" | "deno" | undefined): void {
  const here = "Deno" in globalThis ? "deno" : "node";
  if (runtime === undefined || runtime === here) return;
  const before = runtime === "deno" ? ["run", "--quiet", "--no-check", "-A"] : ["--no-warnings"];
  const args = [...before, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const { status, error } = spawnSync(runtime, args, { stdio: "inherit" });
  if (error !== undefined) usage(`${runtime} cannot be started: ${error.message}`);
  process.exit(status ?? 1);
}

function print(report: FuzzReport): void {
  const { seed, count, runtime, accepted, asked, agreed, unexplained, crashes, seconds, verdicts } = report;
  const rows = (title: string, counts: Readonly<Record<string, number>>) => {
    console.log(title);
    for (const [name, number] of Object.entries(counts)) console.log(`  ${String(number).padStart(8)}  ${name}`);
  };
  console.log(`${count} mutations of seed ${seed} on ${runtime} in ${seconds} s`);
  console.log(`accepted ${accepted}; OpenSSL was asked about ${asked}, both agreed on ${agreed}`);
  rows("refused here, by code:", report.refused);
  rows("refused here, accepted by OpenSSL:", report.stricter);
  rows("accepted here, refused by OpenSSL, for a reason:", report.explained);
  for (const [id, { rule, rfc }] of explained.map((row) => [row.id, row] as const)) {
    if (report.explained[id] !== undefined) console.log(`    ${id}: ${rule} (${rfc})`);
  }
  console.log(`slowest verdict ${report.slowestMs} ms; verdicts ${verdicts}`);
  for (const { index, world, target, kind, openssl } of unexplained) {
    console.log(`UNEXPLAINED ${index} (${world}, ${target} ${kind}):\n${openssl.replace(/^/gm, "    ")}`);
  }
  for (const { index, error } of crashes) console.log(`CRASH ${index}: ${error}`);
  console.log(`${unexplained.length} unexplained, ${crashes.length} crashes`);
}

const { runtime, json, seed, count } = options();
elsewhere(runtime);
const onProgress = (done: number) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${count}${done === count ? "\n" : ""}`);
};
const report = await fuzz({ seed, count, onProgress });
if (json) console.log(JSON.stringify(report, undefined, 2));
else print(report);
process.exit(report.unexplained.length + report.crashes.length === 0 ? 0 : 1);
