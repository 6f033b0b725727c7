/**
 * Goal: a revocation reaches every node of a wide network, although 30 % of the links are down for the first three seconds. Method: one
 * gateway gets the list; nodes and members with programs of their own are revoked. `HYPHA_WIDE_NODES=1000` is the long form.
 */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { reachMs, runWideRevocation } from "../../actors/simulation/mod.ts";

const test = suite("a revocation in a wide network");
const nodes = Number(process.env["HYPHA_WIDE_NODES"] ?? 32);

test(`${nodes} nodes refuse what was revoked within ${reachMs} ms after the links are back`, async () => {
  const report = await runWideRevocation(1, { nodes });
  assert.equal(report.problems, []);
  assert.ok(report.cut > 0.25 * report.links && report.dialled > 0, JSON.stringify(report));
  assert.ok(report.reachedMs !== undefined && report.reachedMs <= reachMs);
  assert.ok(report.closedMs !== undefined && report.closedMs <= reachMs);
});

test.run();
