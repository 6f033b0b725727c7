/** The measurement of the CA runs its program and fills a register. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measure } from "../../scripts/bench/ca/part.ts";

const test = suite("npm run bench -- ca");

test("each row has a figure", async () => {
  const rows = await measure({ quick: true });
  const ids = ["P16.rss", "P16.issue", "P16.piece", "P16.revoke", "P16.delta", "P16.nodes", "P16.name-piece"];
  assert.equal(rows.map(({ id }) => id), ids);
  for (const { id, value } of rows) assert.ok(id.endsWith("piece") ? value >= 0 : value > 0, `${id}: ${value}`);
});

test.run();
