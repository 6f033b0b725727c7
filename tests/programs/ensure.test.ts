/** `scripts/ensure.mjs` in a tree of its own, with an npm that writes down when it runs. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { findRuntime } from "../../scripts/check/runtimes.ts";
import { needing } from "../support/prerequisites.ts";

const suiteOf = suite("ensure.mjs");
const test = needing(suiteOf, "node");
const folder = mkdtempSync(join(tmpdir(), "hypha-ensure-"));
suiteOf.after(() => rmSync(folder, { recursive: true, force: true }));
const node = findRuntime("node") ?? "node";

const npm = `#!/bin/sh
echo begin >> calls
sleep 1
mkdir -p node_modules/.bin
: > node_modules/.bin/node
: > node_modules/.bin/deno
echo end >> calls
`;

function makeTree(): string {
  const tree = mkdtempSync(join(folder, "tree-"));
  for (const each of ["scripts", "bin"]) mkdirSync(join(tree, each));
  cpSync("scripts/ensure.mjs", join(tree, "scripts/ensure.mjs"));
  writeFileSync(join(tree, "package-lock.json"), "{}");
  writeFileSync(join(tree, "bin/npm"), npm, { mode: 0o700 });
  return tree;
}

const ensure = (tree: string) =>
  runCommand(node, ["scripts/ensure.mjs", "sh", "-c", "echo done"], {
    cwd: tree,
    env: { PATH: `${join(tree, "bin")}${delimiter}${process.env["PATH"]}` },
    timeoutMs: 30_000,
  });

test("bug: two at once both installed into one folder", async () => {
  const tree = makeTree();
  const ended = await Promise.all([ensure(tree), ensure(tree)]);
  assert.equal(ended.map(({ code, stdout }) => [code, stdout]), [[0, "done\n"], [0, "done\n"]]);
  assert.is(readFileSync(join(tree, "calls"), "utf8"), "begin\nend\n");
  assert.not.ok(existsSync(join(tree, ".installing")));
});

test("the lock of a process that has ended is taken over, also by two at once", async () => {
  const tree = makeTree();
  const { stdout } = await runCommand("sh", ["-c", "echo $$"], { timeoutMs: 5_000 });
  writeFileSync(join(tree, ".installing"), stdout.trim());
  const ended = await Promise.all([ensure(tree), ensure(tree)]);
  assert.equal(ended.map(({ code }) => code), [0, 0], ended.map(({ stderr }) => stderr).join());
  assert.is(readFileSync(join(tree, "calls"), "utf8"), "begin\nend\n");
});

test("an installation that fails gives its lock up", async () => {
  const tree = makeTree();
  writeFileSync(join(tree, "bin/npm"), "#!/bin/sh\nexit 7\n");
  const { code, stderr } = await ensure(tree);
  assert.is(code, 7);
  assert.match(stderr, "Cannot install: npm ci failed");
  // bug: it advised npm ci, which says nothing here (loglevel=silent), and after which the next command installed once more.
  assert.match(stderr, "Try again with: node scripts/ensure.mjs\n");
  assert.not.ok(existsSync(join(tree, ".installing")));
});

suiteOf.run();
