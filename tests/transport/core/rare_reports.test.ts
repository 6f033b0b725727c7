/** Which events are reported: one a minute of each member and topic, and how many were not. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { moreOf, RareReports, reportedEachMs, reportRowsMax } from "../../../transport/core/rare_reports.ts";

const test = suite("RareReports");

test("reports the first of each member and topic, then one a minute with the number that were not", () => {
  let now = 1_000;
  const reports = new RareReports(() => now);
  assert.equal([reports.note("a", "x"), reports.note("a", "y"), reports.note("b", "x")], [0, 0, 0]);
  for (let more = 0; more < 100_000; more++) assert.is(reports.note("a", "x"), undefined);
  now += reportedEachMs - 1;
  assert.is(reports.note("a", "x"), undefined);
  now += 1;
  assert.is(reports.note("a", "x"), 100_001);
  assert.is(reports.note("a", "y"), 0);
});

test("holds a bounded number of members: the one that was reported longest ago is forgotten", () => {
  assert.equal([reportRowsMax, reportedEachMs], [1_024, 60_000]);
  const reports = new RareReports(() => 0);
  for (let peer = 0; peer < reportRowsMax; peer++) reports.note(`${peer}`, "x");
  assert.is(reports.note("0", "x"), undefined);
  reports.note("one more", "x");
  assert.equal([reports.note("0", "x"), reports.note("2", "x")], [0, undefined]);
});

test("bug: the number of reports that were left out had thousands separators in lines of refusals alone", () => {
  assert.equal([0, 1, 4_999].map(moreOf), [
    "",
    " (and 1 more since the last such line)",
    " (and 4,999 more since the last such line)",
  ]);
});

test.run();
