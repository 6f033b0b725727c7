/** Every planted bug still applies: its text stands in its file exactly once, and is changed. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
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

test.run();
