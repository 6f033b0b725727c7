/** What a piece of work costs. `tests/network/prices.test.ts` holds the table to what the process spends. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { priceOf } from "../../../transport/core/prices.ts";

const test = suite("priceOf()");

test("work has a price for each piece and one for each KiB of it", () => {
  assert.equal([priceOf("request"), priceOf("request", 1_024), priceOf("request", 102_400)], [400, 410, 1_400]);
  assert.equal([priceOf("ping"), priceOf("ping", 102_400)], [200, 200]);
});

test("octets that nobody asked for cost something, in proportion, and nothing where there are none", () => {
  assert.equal([0, 512, 1_024, 1_024_000].map((bytes) => priceOf("bytes", bytes)), [0, 0.5, 1, 1_000]);
});

test.run();
