/** Test files that share a process: which do, and what is known of each. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime } from "../../../scripts/check/runtimes.ts";
import { groupFiles } from "../../../scripts/check/shared_processes.ts";
import { type FileResult, runTests } from "../../../scripts/check/test_runner.ts";

const test = suite("test files that share a process");

/** Inside the tree, so that uvu resolves. */
const folder = mkdtempSync(join("tests", "scripts", "fixtures-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("files of a folder share a process, unless they or their helpers concern the whole of one", () => {
  const texts: Readonly<Record<string, string>> = {
    "tests/a/one.test.ts": 'import { x } from "../support/plain.ts";',
    "tests/a/two.test.ts": 'import { y } from "../../actors/y.ts";',
    "tests/a/starts.test.ts": 'import { z } from "../support/starts.ts";',
    "tests/a/changes.test.ts": 'process.env["X"] = "1";',
    "tests/a/slow.test.ts": "",
    "tests/b/three.test.ts": 'const text = `import "./absent.ts"`;',
    "tests/support/plain.ts": 'import "./circle.ts";',
    "tests/support/circle.ts": 'import "./plain.ts";',
    "tests/support/starts.ts": 'import "./starter.ts";',
    "tests/support/starter.ts": 'import { spawn } from "node:child_process";',
    "actors/y.ts": 'import { spawn } from "node:child_process";',
  };
  const files = Object.keys(texts).filter((path) => path.endsWith(".test.ts"));
  assert.equal(groupFiles(files, (file) => file.includes("slow"), (path) => texts[path]), [
    ["tests/a/one.test.ts", "tests/a/two.test.ts"],
    ["tests/a/starts.test.ts"],
    ["tests/a/changes.test.ts"],
    ["tests/a/slow.test.ts"],
    ["tests/b/three.test.ts"],
  ]);
  const many = Array.from({ length: 30 }, (_, at) => `tests/c/${at}.test.ts`);
  assert.equal(groupFiles(many, () => false, () => "").map(({ length }) => length), [12, 12, 6]);
});

const head = `import { suite } from "uvu"; import * as assert from "uvu/assert"; const test = suite("planted");`;
function plant(name: string, body: string): string {
  const file = join(folder, `${name}.test.ts`);
  writeFileSync(file, `${head}\n${body}\n`);
  return file;
}

test("each file of a process has its counts and its output; a file after one that ends the process still runs", async () => {
  const files = [
    plant("good", `test("a", () => {}); test("b", () => {}); test.run();`),
    plant("bad", `test("wrong", () => assert.ok(false)); test.run();`),
    plant("empty", ""),
    plant("ends", `test("it exits", () => process.exit(0)); test.run();`),
    plant("after", `test("x", () => {}); test.run();`),
  ];
  const told: FileResult[] = [];
  const results = await runTests(files, [ownRuntime], {
    concurrency: 1,
    group: (all) => [all],
    onResult: (result) => void told.push(result),
  });
  assert.equal(told, results);
  assert.equal(results.map(({ file, passed, failed }) => [file, passed, failed]), [
    [files[0], 2, 0],
    [files[1], 0, 1],
    [files[2], 0, 1],
    [files[3], 0, 1],
    [files[4], 1, 0],
  ]);
  const [good, bad, empty] = results;
  assert.is(good?.output, "");
  assert.match(bad?.output ?? "", /wrong/);
  assert.not.match(empty?.output ?? "", /wrong/);
});

test.run();
