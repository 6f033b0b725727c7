/**
 * The one gate: format, lint, types, tidy, every test on Node and on Deno, doc examples, the built package.
 *
 * `npm test [-- FILES…] [--runtime node|deno] [--json]`. Given files, it runs only those tests. The last line is
 * `N passed, N failed`; exit 0 means that everything passed, 1 that something failed, 2 wrong usage.
 *
 * @module
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { runCommand } from "./gate/command.ts";
import { smokePackage } from "./gate/package_smoke.ts";
import { runTests, type Runtime, testFiles } from "./gate/test_runner.ts";
import { tidy } from "./tidy.ts";

interface Part {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

const rooms = ["mod.ts", "pki", "transport", "actors", "tests", "scripts"];
const timeoutMs = 240_000;

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}\nUsage: npm test [-- TEST_FILE…] [--runtime node|deno] [--json]`);
  process.exit(2);
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { runtime: { type: "string" }, json: { type: "boolean", default: false } },
    });
    const { runtime, json } = values;
    if (runtime !== undefined && runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
    const runtimes: Runtime[] = runtime === undefined ? ["node", "deno"] : [runtime];
    for (const file of positionals) if (!existsSync(file)) usage(`${file} does not exist`);
    return { runtimes, json, files: positionals };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

const { runtimes, json, files } = options();
const say = json ? (text: string) => console.error(text) : (text: string) => console.log(text);
const parts: Part[] = [];

async function part(name: string, work: () => Promise<Omit<Part, "name" | "seconds">>): Promise<void> {
  const start = performance.now();
  const counts = await work();
  const seconds = (performance.now() - start) / 1_000;
  parts.push({ name, ...counts, seconds });
  say(`${counts.failed === 0 ? "ok  " : "FAIL"} ${name} (${seconds.toFixed(1)} s)`);
}

function commandPart(name: string, command: string, args: readonly string[]): Promise<void> {
  return part(name, async () => {
    const result = await runCommand(command, args, { env: { NO_COLOR: "1" }, timeoutMs });
    if (result.code !== 0) say(`${result.stdout}${result.stderr}`);
    return { passed: result.code === 0 ? 1 : 0, failed: result.code === 0 ? 0 : 1, skipped: 0 };
  });
}

function testPart(runtime: Runtime, chosen: readonly string[]): Promise<void> {
  return part(`tests on ${runtime}`, async () => {
    const results = await runTests(chosen, [runtime], {
      concurrency: 2,
      onResult: ({ file, passed, failed, skipped, ms, output }) => {
        const counts = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
        say(`  ${failed === 0 ? "ok  " : "FAIL"} ${file} [${runtime}] ${counts} (${(ms / 1_000).toFixed(1)} s)`);
        if (output !== "") say(output.replace(/^/gm, "    "));
      },
    });
    const sum = (key: "passed" | "failed" | "skipped") => results.reduce((total, result) => total + result[key], 0);
    return { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
  });
}

if (files.length === 0) {
  await commandPart("format", "deno", ["fmt", "--check", "--quiet"]);
  await commandPart("lint", "deno", ["lint", "--quiet"]);
  await commandPart("types (deno check)", "deno", ["check", "--quiet", ...rooms]);
  // By its path: the TypeScript that `mutate` parses with installs a `tsc` too.
  await commandPart("types (tsc)", "node", ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]);
  await part("tidy", () => {
    const findings = tidy(process.cwd());
    for (const finding of findings) say(`  ${finding}`);
    return Promise.resolve({ passed: findings.length === 0 ? 1 : 0, failed: findings.length, skipped: 0 });
  });
}
for (const runtime of runtimes) await testPart(runtime, files.length === 0 ? testFiles("tests") : files);
if (files.length === 0) {
  const documented = ["pki", "transport", "actors", "mod.ts"];
  await commandPart("doc examples (types)", "deno", ["check", "--quiet", "--doc", ...documented]);
  await commandPart("doc examples", "deno", ["test", "-A", "--no-check", "--quiet", "--doc", ...documented]);
  await part("package", async () => {
    const results = await smokePackage(runtimes);
    for (const { what, error } of results) if (error !== undefined) say(`  FAIL ${what}: ${error}`);
    const failed = results.filter(({ error }) => error !== undefined).length;
    return { passed: results.length - failed, failed, skipped: 0 };
  });
}

const total = (key: "passed" | "failed" | "skipped" | "seconds") => parts.reduce((sum, entry) => sum + entry[key], 0);
if (json) {
  const summary = { runtimes, passed: total("passed"), failed: total("failed"), skipped: total("skipped"), parts };
  process.stdout.write(`${JSON.stringify(summary)}\n`);
} else {
  say(`${total("seconds").toFixed(0)} s`);
  say(
    `${total("passed")} passed, ${total("failed")} failed${
      total("skipped") > 0 ? `, ${total("skipped")} skipped` : ""
    }`,
  );
}
process.exitCode = total("failed") === 0 ? 0 : 1;
