import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime, startable } from "../../scripts/check/runtimes.ts";
import { runTests, runtimeFlags } from "../../scripts/check/test_runner.ts";

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
    const [result] = await runTests([file], [ownRuntime], {
      concurrency: 1,
      onResult: () => {},
    });
    assert.is(result?.passed, passed, result?.output);
    assert.is(result?.failed, failed, result?.output);
  });
}

test("counts reach a reader that was busy while a thousand tests ran: an exit at once lost them", async () => {
  const file = join(folder, "many.test.ts");
  writeFileSync(file, `${head}\nfor (let n = 0; n < 1_000; n++) test("x" + n, () => {});\ntest.run();\n`);
  const child = spawn(startable(process.execPath), [...runtimeFlags[ownRuntime], "scripts/test_file.ts", file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  // This process is the busy reader: nothing is read while it waits here.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000);
  let output = "";
  for await (const text of child.stdout.setEncoding("utf8")) output += text;
  assert.match(output, /@counts {"passed":1000,"failed":0,"skipped":0}/);
});

test.run();
