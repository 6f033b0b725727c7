import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runTests } from "../../scripts/gate/test_runner.ts";

const test = suite("the test runner");

/** Inside the tree, so that uvu resolves. */
const folder = mkdtempSync(join("tests", "scripts", "fixtures-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const head = `import { suite } from "uvu"; import * as assert from "uvu/assert"; const test = suite("planted");`;
const cases: [name: string, body: string, passed: number, failed: number][] = [
  ["a passing test", `test("x", () => assert.ok(true)); test.run();`, 1, 0],
  ["a failing test", `test("x", () => assert.ok(false)); test.run();`, 0, 1],
  ["a before hook that throws", `test.before(() => { throw new Error("b"); }); test("x", () => {}); test.run();`, 0, 1],
  ["an after hook that throws", `test.after(() => { throw new Error("a"); }); test("x", () => {}); test.run();`, 0, 1],
  [
    "an after.each hook that throws",
    `test.after.each(() => { throw new Error("e"); }); test("x", () => {}); test.run();`,
    0,
    1,
  ],
  ["something thrown that is no Error", `test("x", () => { throw "text"; }); test.run();`, 0, 1],
  ["a file without a test", ``, 0, 1],
  ["a suite without run", `test("x", () => {});`, 0, 1],
  ["a promise that never settles", `test("x", () => new Promise(() => {})); test.run();`, 0, 1],
  [
    "a late rejection",
    `test("x", async () => { Promise.reject(new Error("late")); await new Promise((r) => setTimeout(r, 20)); }); test.run();`,
    1,
    1,
  ],
];

for (const [name, body, passed, failed] of cases) {
  test(`counts ${name}`, async () => {
    const file = join(folder, `${name.replaceAll(/\W/g, "_")}.test.ts`);
    writeFileSync(file, `${head}\n${body}\n`);
    const [result] = await runTests([file], ["Deno" in globalThis ? "deno" : "node"], {
      concurrency: 1,
      onResult: () => {},
    });
    assert.is(result?.passed, passed, result?.output);
    assert.is(result?.failed, failed, result?.output);
  });
}

test.run();
