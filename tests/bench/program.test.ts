/** The measurement of the programs bundles them and runs each. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measure } from "../../scripts/bench/program/part.ts";

const test = suite("npm run bench -- program");

test("each row has a figure of a program that ran", async () => {
  const rows = await measure({ quick: true });
  const ids = ["P15.help.gateway", "P15.help.certutil", "P15.rss", "P15.idle.gateway", "P15.idle.worker"];
  assert.equal(rows.map(({ id }) => id), ids);
  for (const { id, value, ratio } of rows.slice(0, 3)) assert.ok(value > 0 && (ratio ?? 0) > 0, `${id}: ${value}`);
  for (const { id, value } of rows.slice(3)) assert.ok(value >= 0, `${id}: ${value}`);
});

test.run();
