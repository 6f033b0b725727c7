/** Every planted bug still applies: its text stands in its file exactly once, and is changed. */
import { spawnSync } from "node:child_process";
import { cpSync, readFileSync, rmSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { plantedBugs } from "../../../scripts/simulate/planted_bugs.ts";
import { copyTree, plant } from "../../../scripts/simulate/planted_tree.ts";

const test = suite("planted bugs");
const root = fileURLToPath(new URL("../../../", import.meta.url));

for (const { name, file, find, replace } of plantedBugs) {
  test(`applies: ${name}`, () => {
    const text = readFileSync(new URL(`../../../${file}`, import.meta.url), "utf8");
    assert.is(text.split(find).length - 1, 1, file);
    assert.is.not(find, replace);
  });
}

// What the compiler finds does not depend on the runtime.
if (ownRuntime === "node") {
  test("bug: a patch that named what is no longer there crashed each run, and counted as found", () => {
    let left = plantedBugs;
    while (left.length > 0) {
      const copy = copyTree();
      try {
        // Of two that change the same place the second waits for the next copy.
        const later = left.filter((bug) => plant(copy, bug) !== undefined);
        assert.ok(later.length < left.length);
        left = later;
        cpSync(`${root}tsconfig.json`, `${copy}/tsconfig.json`);
        const compiler = `${root}node_modules/typescript/bin/tsc`;
        const { status, stdout } = spawnSync(process.execPath, [compiler, "--noEmit", "-p", copy], {
          encoding: "utf8",
        });
        assert.is(status, 0, stdout);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    }
  });
}

test("names are unique", () => {
  const names = plantedBugs.map(({ name }) => name);
  assert.equal(names, [...new Set(names)]);
});

test("bug: npm run planted took a name that no bug has, and an option that does not exist ended with a stack", () => {
  const [command, ...before] = scriptCommand(ownRuntime);
  const script = fileURLToPath(new URL("../../../scripts/planted.ts", import.meta.url));
  for (
    const [wrong, reason] of [["--only=no such bug", /no planted bug has/], ["--x", /^Cannot run: .*--x/], [
      "--runs=0",
      /--runs 0/,
    ]] as const
  ) {
    const { status, stderr } = spawnSync(command, [...before, script, wrong], { encoding: "utf8", timeout: 60_000 });
    assert.is(status, 2);
    assert.match(stderr, reason);
    assert.match(stderr, /Usage: npm run planted/);
  }
});

test.run();
