/** Which malformed requests are reported: one a minute of each member and protocol, and how many were not. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  malformedReportedEachMs,
  MalformedRequests,
  malformedRowsMax,
} from "../../../transport/core/malformed_requests.ts";

const test = suite("MalformedRequests");

test("reports the first of each member and protocol, then one a minute with the number that were not", () => {
  let now = 1_000;
  const requests = new MalformedRequests(() => now);
  assert.equal([requests.note("a", "x"), requests.note("a", "y"), requests.note("b", "x")], [0, 0, 0]);
  for (let more = 0; more < 100_000; more++) assert.is(requests.note("a", "x"), undefined);
  now += malformedReportedEachMs - 1;
  assert.is(requests.note("a", "x"), undefined);
  now += 1;
  assert.is(requests.note("a", "x"), 100_001);
  assert.is(requests.note("a", "y"), 0);
});

test("holds a bounded number of members: the one that was reported longest ago is forgotten", () => {
  assert.equal([malformedRowsMax, malformedReportedEachMs], [1_024, 60_000]);
  const requests = new MalformedRequests(() => 0);
  for (let peer = 0; peer < malformedRowsMax; peer++) requests.note(`${peer}`, "x");
  assert.is(requests.note("0", "x"), undefined);
  requests.note("one more", "x");
  assert.equal([requests.note("0", "x"), requests.note("2", "x")], [0, undefined]);
});

test.run();
