/** `npm test` as a program reads it: counts, exit codes, and with `--json` one object and nothing else. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { builtPrograms } from "../../scripts/check/built_programs.ts";
import { runCommand } from "../../scripts/check/command.ts";
import { needing } from "../support/prerequisites.ts";

const npm = suite("npm test");
const test = needing(npm, "npm", "node");
const runtime = "Deno" in globalThis ? "deno" : "node";
/** Inside the tree, so that uvu resolves. */
const folder = mkdtempSync(join("tests", "scripts", "fixtures-"));
npm.after(() => rmSync(folder, { recursive: true, force: true }));

const head = `import { suite } from "uvu"; import * as assert from "uvu/assert"; const test = suite("planted");`;
function plant(name: string, ok: boolean): string {
  const file = join(folder, `${name}.test.ts`);
  writeFileSync(file, `${head} test("x", () => assert.ok(${ok})); test.run();\n`);
  return file;
}
const npmTest = (...args: string[]) =>
  runCommand("npm", ["test", "--", ...args], { env: { NO_COLOR: "1" }, timeoutMs: 60_000 });

test("--json writes one object, through npm too, and exits 0 where everything passed", async () => {
  const { code, stdout, stderr } = await npmTest("--json", "--runtime", runtime, plant("good", true));
  assert.is(code, 0, stderr);
  const { parts, seconds, ...summary } = JSON.parse(stdout);
  assert.equal(summary, { runtimes: [runtime], passed: 1, failed: 0, skipped: 0, notCovered: [] });
  assert.ok(Number.isInteger(seconds));
  assert.equal(parts.map(({ name }: { name: string }) => name), [`tests on ${runtime}`]);
  assert.match(stderr, "good.test.ts");
});

test("the last line counts, and one failure is exit 1", async () => {
  const { code, stdout } = await npmTest("--runtime", runtime, plant("fine", true), plant("bad", false));
  assert.is(code, 1);
  assert.is(stdout.trim().split("\n").at(-1), "1 passed, 1 failed");
});

test("wrong usage exits 2 and says how", async () => {
  const { code, stdout, stderr } = await npmTest("--runtime", "bun", "--json");
  assert.equal([code, stdout], [2, ""]);
  assert.match(stderr, "Usage: npm test");
});

npm("bug: two npm test at once removed each other's programs", () => {
  const [own, other] = [builtPrograms(), builtPrograms()];
  assert.not.equal(own, other);
  const [removeOwn, removeOther] = process.listeners("exit").slice(-2) as [() => void, () => void];
  removeOwn();
  assert.equal([existsSync(own), existsSync(other)], [false, true]);
  removeOther();
  assert.not.ok(existsSync(other));
});

npm.run();
