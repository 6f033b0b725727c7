/** The measurement of a network runs real nodes and the gateway's program, and sees all of them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measure } from "../../scripts/bench/network/part.ts";

const test = suite("npm run bench -- network");

test("nodes of several processes join, are linked with the gateway alone, hear a scheduler, are found and train", async () => {
  const rows = new Map((await measure({ quick: true, nodes: 4 })).map((row) => [row.id, row]));
  assert.is(rows.get("P13.links")?.value, 1);
  assert.is(rows.get("N.missed")?.value, 0);
  for (const id of ["P13.join", "N.joins", "N.ready", "N.rss", "N.gatewayRss", "N.heard", "N.lookUp", "N.training"]) {
    const value = rows.get(id)?.value ?? NaN;
    assert.ok(value > 0 && Number.isFinite(value), `${id}: ${value}`);
  }
});

test.run();
