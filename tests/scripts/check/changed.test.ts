/** `npm test -- --fast`: what changed, which tests need it, and how long test files may take. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { changedTests, testsFor } from "../../../scripts/check/changed.ts";
import { runCommand } from "../../../scripts/check/command.ts";
import { closureOf, importGraph } from "../../../scripts/check/import_graph.ts";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { overBudget, slowestLines, slowFiles, slowFirst, waitingFiles } from "../../../scripts/check/test_times.ts";
import { runTests } from "../../../scripts/check/test_runner.ts";
import { needing } from "../../support/prerequisites.ts";

const test = suite("npm test -- --fast");
const folder = mkdtempSync(join(tmpdir(), "hypha-fast-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const tree = new Map([
  ["pki/path.ts", 'import { parse } from "./der.ts";'],
  ["pki/der.ts", "export const parse = 1;"],
  ["scripts/hypha_worker.ts", 'import "./program.ts";'],
  ["scripts/program.ts", 'import "../pki/path.ts";'],
  ["tests/fixtures/digits.csv", ""],
  ["tests/vectors/a.json", ""],
  ["tests/support/program.ts", "const script = new URL(`../../scripts/hypha_${role}.ts`, import.meta.url);"],
  ["tests/a.test.ts", 'import "../pki/path.ts";'],
  ["tests/b.test.ts", 'import "./support/program.ts";'],
  ["tests/c.test.ts", 'readFileSync(new URL("fixtures/digits.csv", x)); readFileSync("tests/fixtures/digits.csv");'],
  ["tests/e.test.ts", 'const scripts = new URL("../scripts/", import.meta.url); run(join(scripts, "lonely.ts"));'],
  ["scripts/lonely.ts", "export {};"],
  ["scripts/other.ts", "export {};"],
  ["tests/d.test.ts", 'readdirSync(new URL("./vectors/", import.meta.url)); const name = `${x}`;'],
]);
const always = () => 1;
const wanted: [name: string, changed: string[], tests: string[]][] = [
  ["what imports it, however far", ["pki/der.ts"], ["tests/a.test.ts", "tests/b.test.ts"]],
  ["who starts a script whose name has a placeholder", ["scripts/hypha_worker.ts"], ["tests/b.test.ts"]],
  ["who reads a file", ["tests/fixtures/digits.csv"], ["tests/c.test.ts"]],
  ["who reads its folder", ["tests/vectors/a.json"], ["tests/d.test.ts"]],
  ["who joins its name to its folder", ["scripts/lonely.ts"], ["tests/e.test.ts"]],
  ["nobody else that names its folder", ["scripts/other.ts"], []],
  ["itself", ["tests/c.test.ts"], ["tests/c.test.ts"]],
  [
    "every test, for the packages",
    ["package-lock.json"],
    ["a", "b", "c", "e", "d"].map((name) => `tests/${name}.test.ts`),
  ],
  ["none, for a page that no test reads", ["NOTES.md"], []],
];
for (const [name, changed, tests] of wanted) {
  test(`chooses ${name}`, () => assert.equal(testsFor(changed, tree, always), tests));
}

test("what changed itself comes first, then the quickest", () => {
  const ms = (file: string) => ({ "tests/a.test.ts": 300, "tests/b.test.ts": 20, "tests/c.test.ts": 9_000 })[file] ?? 0;
  const chosen = testsFor(["pki/der.ts", "tests/c.test.ts"], tree, ms);
  assert.equal(chosen, ["tests/c.test.ts", "tests/b.test.ts", "tests/a.test.ts"]);
});

test("this very file needs what it imports, and what that imports", () => {
  const paths = ["tests/scripts/check/changed.test.ts", "scripts/check/changed.ts", "scripts/check/import_graph.ts"];
  const real = new Map(paths.map((path) => [path, readFileSync(path, "utf8")]));
  assert.equal([...closureOf(paths[0]!, importGraph(real))].toSorted(), paths.toSorted());
});

/** Runs `work` in a repository with one commit on main, of these files. */
async function inRepository<A>(files: Readonly<Record<string, string>>, work: () => Promise<A>): Promise<A> {
  const before = process.cwd();
  const root = mkdtempSync(join(folder, "repository-"));
  write(root, files);
  process.chdir(root);
  try {
    await git("init", "--quiet", "--initial-branch=main");
    await commit();
    return await work();
  } finally {
    process.chdir(before);
  }
}
function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}
async function git(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runCommand("git", args, { timeoutMs: 20_000 });
  assert.is(code, 0, stderr);
}
async function commit(): Promise<void> {
  const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
  await git("add", "--all");
  await git(...who, "commit", "--quiet", "--message", "x");
}
const twoRooms = {
  "pki/a.ts": "export {};",
  "tests/a.test.ts": 'import "../pki/a.ts";',
  "tests/b.test.ts": "export {};",
};
const withGit = needing(test, "git");

withGit("changed is what was committed since main, what is not committed, and what git does not know yet", async () => {
  await inRepository(twoRooms, async () => {
    assert.equal((await changedTests("HEAD", always))?.changed, []);
    await git("checkout", "--quiet", "-b", "work");
    write(".", { "pki/a.ts": "export const a = 1;" });
    await commit();
    write(".", { "tests/b.test.ts": "export const b = 1;", "tests/new.test.ts": "export {};" });
    const found = await changedTests(undefined, always);
    assert.equal(found?.changed, ["pki/a.ts", "tests/b.test.ts", "tests/new.test.ts"]);
    assert.equal(found?.tests, ["tests/b.test.ts", "tests/new.test.ts", "tests/a.test.ts"]);
    assert.equal((await changedTests("HEAD", always))?.changed, ["tests/b.test.ts", "tests/new.test.ts"]);
  });
});

withGit("on main, the last commit counts too; a commit that is none is told", async () => {
  await inRepository(twoRooms, async () => {
    write(".", { "pki/a.ts": "export const a = 1;" });
    await commit();
    assert.equal((await changedTests(undefined, always))?.tests, ["tests/a.test.ts"]);
    assert.is(await changedTests("no-such-commit", always), undefined);
  });
});

test("a file whose allowance is over is stopped and left out; one that gets none does not run", async () => {
  const inTree = mkdtempSync(join("tests", "scripts", "fixtures-"));
  try {
    const [slow, never] = [join(inTree, "slow.test.ts"), join(inTree, "never.test.ts")];
    writeFileSync(slow, "setInterval(() => {}, 1_000); await new Promise(() => {});\n");
    const allowance = (file: string) => (file === slow ? 1_000 : 0);
    const results = await runTests([slow, never], [ownRuntime], { concurrency: 1, onResult: () => {}, allowance });
    assert.equal(results.map(({ file, failed, stopped }) => [file, failed, stopped]), [[slow, 0, true]]);
  } finally {
    rmSync(inTree, { recursive: true });
  }
});

test("a file that waits runs beside the others; it is one of those that exist", async () => {
  const inTree = mkdtempSync(join("tests", "scripts", "fixtures-"));
  try {
    const [works, waits, other] = ["works", "waits", "other"].map((name) => join(inTree, `${name}.test.ts`)) as [
      string,
      string,
      string,
    ];
    const began = (file: string) =>
      `await (await import("node:fs/promises")).writeFile(${JSON.stringify(`${file}.began`)}, "");\n`;
    /** Ends once the other has begun: alone, it would never end. */
    const until = (file: string) =>
      `const { existsSync } = await import("node:fs");\nwhile (!existsSync(${
        JSON.stringify(`${file}.began`)
      })) await new Promise((done) => setTimeout(done, 20));\n`;
    const ended = 'console.log(\'@counts {"passed":1,"failed":0,"skipped":0}\'); process.exit(0);\n';
    writeFileSync(works, began(works) + until(waits) + ended);
    writeFileSync(waits, began(waits) + until(works) + ended);
    writeFileSync(other, ended);
    const options = { concurrency: 1, onResult: () => {}, waiting: new Set([waits]), allowance: () => 20_000 };
    const results = await runTests([works, waits, other], [ownRuntime], options);
    assert.equal(results.map(({ file, passed }) => [file, passed]).toSorted(), [[other, 1], [waits, 1], [works, 1]]);
  } finally {
    rmSync(inTree, { recursive: true });
  }
  for (const file of waitingFiles()) {
    assert.ok(existsSync(file), `${file} of scripts/check/waiting_files.json does not exist`);
  }
  const [first] = Object.keys(slowFiles());
  assert.equal(slowFirst(["tests/pki/pem.test.ts", first!]), [first, "tests/pki/pem.test.ts"]);
});

test("the slowest ten are told, slowest first; over 20 s without a reason is told, far over it fails", () => {
  const results = Array.from({ length: 12 }, (_, index) => ({
    file: `tests/${index}.test.ts`,
    runtime: "node" as const,
    ms: 1_000 * index * index,
  }));
  const lines = slowestLines(results);
  assert.is(lines.length, 10);
  assert.is(lines[0], " 121.0 s  tests/11.test.ts [node]");
  const over = overBudget(results.slice(0, 9), { "tests/6.test.ts": "it has to" });
  assert.equal(over.map(({ line, fails }) => [line.slice(0, 35), fails]), [
    ["tests/5.test.ts [node] took 25.0 s,", false],
    ["tests/7.test.ts [node] took 49.0 s,", false],
    ["tests/8.test.ts [node] took 64.0 s,", true],
  ]);
});

test("the list of slow files names files that exist, each with a reason", () => {
  const listed = Object.entries(slowFiles());
  assert.ok(listed.length > 0);
  for (const [file, reason] of listed) {
    assert.ok(existsSync(file), `${file} of scripts/check/slow_files.json does not exist`);
    assert.ok(reason.length > 10, file);
  }
});

test("files and --fast, and --since without it, are wrong usage", async () => {
  const [command, ...before] = scriptCommand(ownRuntime);
  const gate = (...args: readonly string[]) =>
    runCommand(command, [...before, "scripts/check.ts", ...args], { timeoutMs: 60_000 });
  const both = await Promise.all([gate("--fast", "tests/pki/pem.test.ts"), gate("--since", "HEAD")]);
  assert.equal(both.map(({ code, stdout }) => [code, stdout]), [[2, ""], [2, ""]]);
  assert.match(both[0]!.stderr, "npm test -- --fast [--since COMMIT]");
});

test.run();
