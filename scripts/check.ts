/**
 * The one check of the tree: format, lint, types, tidy, every test on Node and on Deno, doc examples, the built package.
 *
 * `npm test [-- FILES…] [--all] [--runtime node|deno] [--json]`. Given files, it runs only those tests. Slow test files
 * (`scripts/check/slow_files.json`) run on Node alone, unless `--all` is given, as it is in CI. `npm test -- --fast` runs the
 * tests of changed files, on Node, for at most 90 seconds. It installs the system's programs that tests use where it
 * can; where it cannot, it lists at its end the parts that it did not cover. With `CI=true` that is a failure. The last line is
 * `N passed, N failed`. It exits with 0 when everything passed, 1 when something failed, 2 on wrong usage.
 *
 * @module
 */
import process from "node:process";
import { builtPrograms } from "./check/built_programs.ts";
import { changedTests } from "./check/changed.ts";
import { coverageLines } from "./check/coverage.ts";
import { checkOptions, usage } from "./check/options.ts";
import { smokePackage } from "./check/package_smoke.ts";
import { type Counts, Parts } from "./check/parts.ts";
import { installPrerequisites, isThere } from "./check/prerequisites.ts";
import { findRuntime, scriptCommand, startable } from "./check/runtimes.ts";
import { groupFiles } from "./check/shared_processes.ts";
import { expectedMs, overBudget, slowFiles, slowFirst } from "./check/test_times.ts";
import { isCi, testFiles } from "./check/test_runner.ts";
import { tidy } from "./tidy.ts";

const rooms = ["mod.ts", "pki", "transport", "actors", "tests", "scripts"];
/** Tests of whole networks measure times: each has a process of its own. */
const ofNetworks = /^tests\/(network|attack|programs)\//;
const documented = ["pki", "transport", "actors", "mod.ts"];
/** All of a fast run, in seconds; no test begins that is expected to last longer. */
const fastSeconds = 85;

const options = checkOptions();
const { runtimes, files, json } = options;
const run = new Parts(json ? (text) => console.error(text) : (text) => console.log(text));
const untested: string[] = [];

const deno = (...args: readonly string[]): [string, ...string[]] => [
  startable(findRuntime("deno") ?? "deno"),
  ...args,
];

/** The compiler is a script: by Node, or by Deno where there is no Node. */
function tsc(...args: readonly string[]): [string, ...string[]] {
  const runtime = findRuntime("node") === undefined ? "deno" : "node";
  return [...scriptCommand(runtime), "node_modules/typescript/bin/tsc", ...args];
}

async function staticChecks(): Promise<void> {
  await run.command("format", deno("fmt", "--check", "--quiet"));
  await run.command("lint", deno("lint", "--quiet"));
  await run.command("types (deno check)", deno("check", "--quiet", ...rooms));
  await run.command("types (tsc)", tsc("-p", "tsconfig.json"));
  await run.part("tidy", () => {
    const findings = tidy(process.cwd());
    for (const finding of findings) run.say(`  ${finding}`);
    return { passed: findings.length === 0 ? 1 : 0, failed: findings.length, skipped: 0 };
  });
}

/** Prints the times. In CI, where the machine is known, a file that is much too slow fails. */
async function budget(): Promise<void> {
  await run.part("test files' times", () => {
    const slow = overBudget(run.files, slowFiles());
    for (const { line } of slow) run.say(`  ${line}`);
    const failed = !isCi() ? 0 : slow.filter(({ fails }) => fails).length;
    return { passed: failed === 0 ? 1 : 0, failed, skipped: 0 };
  });
}

async function buildPrograms(outdir: string): Promise<Counts> {
  try {
    // Where Deno is all there is, nothing is bundled.
    const { bundlePrograms } = await import("./build/bundles.ts");
    await bundlePrograms({ root: process.cwd(), outdir });
    return { passed: 1, failed: 0, skipped: 0 };
  } catch (error) {
    run.say(`Cannot build the programs: ${error instanceof Error ? error.message : String(error)}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

/** All test files: on both runtimes, but for the slow ones, which run on the first alone unless `--all` is given. */
async function wholeTests(): Promise<void> {
  const programs = builtPrograms();
  if (runtimes.includes("node")) {
    await run.part("programs", () => buildPrograms(programs));
  }
  const slow = slowFiles();
  const files = slowFirst(testFiles("tests"));
  const group = (each: readonly string[]) => groupFiles(each, (file) => file in slow || ofNetworks.test(file));
  const [first] = runtimes;
  for (const runtime of runtimes) {
    const chosen = options.all || runtime === first ? files : files.filter((file) => !(file in slow));
    await run.tests(runtime, chosen, { group, env: { BUILT_PROGRAMS: programs } });
    const left = files.length - chosen.length;
    if (left > 0) {
      run.say(`Left out on ${runtime}: ${left} slow files, which ran on ${first} (npm test -- --all runs them)`);
    }
  }
}

async function whole(): Promise<void> {
  await installPrerequisites(run.say);
  await staticChecks();
  await wholeTests();
  await budget();
  await run.command("doc examples (types)", deno("check", "--quiet", "--doc", ...documented));
  await run.command("doc examples", deno("test", "-A", "--no-check", "--quiet", "--doc", ...documented));
  if (findRuntime("node") === undefined || !isThere("npm")) {
    untested.push("the package: npm packs and installs it");
    return;
  }
  await run.part("package", async () => {
    const results = await smokePackage(runtimes);
    for (const { what, error } of results) if (error !== undefined) run.say(`  FAIL ${what}: ${error}`);
    const failed = results.filter(({ error }) => error !== undefined).length;
    return { passed: results.length - failed, failed, skipped: 0 };
  });
}

async function fast(): Promise<void> {
  const [runtime = "node"] = runtimes;
  const expected = expectedMs(runtime);
  const found = await changedTests(options.since, expected);
  if (found === undefined) {
    return usage(`git knows no commit ${options.since ?? "to compare with"}: give --since COMMIT`);
  }
  const { since, changed, tests } = found;
  if (changed.length === 0) run.say(`Nothing changed since ${since}: no test is needed`);
  else run.say(`${changed.length} files changed since ${since}, which ${tests.length} test files need`);
  await staticChecks();
  if (tests.length === 0) return;
  const left = () => (fastSeconds - run.seconds) * 1_000;
  await run.tests(runtime, tests, { allowance: (file) => (expected(file) > left() ? 0 : left()) });
  const done = new Set(run.files.filter(({ stopped }) => !stopped).map(({ file }) => file));
  const out = tests.filter((file) => !done.has(file));
  if (out.length > 0) run.say(`Left out for time (npm test runs them):\n${out.map((file) => `  ${file}`).join("\n")}`);
}

if (findRuntime("node") === undefined) {
  run.say("There is no Node here: the tests run on Deno alone");
  if (!options.fast && files.length === 0) untested.push("Node: every test ran on Deno alone");
}
if (options.fast) await fast();
else if (files.length === 0) await whole();
else for (const runtime of runtimes) await run.tests(runtime, files);

if (isCi() && untested.length > 0) {
  await run.part("nothing is missing (CI is set)", () => ({ passed: 0, failed: untested.length, skipped: 0 }));
}
const notCovered = coverageLines(run.lacking, untested);
run.closing(notCovered);
run.end(json, runtimes, notCovered);
