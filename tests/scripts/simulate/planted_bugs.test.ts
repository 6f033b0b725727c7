/** Every planted bug still applies: its text stands in its file exactly once, and is changed. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { plantedBugs } from "../../../scripts/simulate/planted_bugs.ts";

const test = suite("planted bugs");

for (const { name, file, find, replace } of plantedBugs) {
  test(`applies: ${name}`, () => {
    const text = readFileSync(new URL(`../../../${file}`, import.meta.url), "utf8");
    assert.is(text.split(find).length - 1, 1, file);
    assert.is.not(find, replace);
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
