import { suite } from "uvu";
import * as assert from "uvu/assert";
import { randomOf, seededRandom, seedOf, shuffled } from "../../actors/runtime/random.ts";
import { makeRandom } from "../../scripts/fuzz/random.ts";

const test = suite("seeded randomness");

/** Kept traces, weights and mutations depend on these series: a change of one of them is an error, not a new value. */
test("the draws of a run are those of every run before", () => {
  const of = randomOf(7, "disk");
  const drawn = [
    of.next(),
    of.whole(10, 20),
    of.pick(["a", "b", "c"]),
    of.chance(0.5),
    of.shuffle([1, 2, 3, 4, 5]),
    [...of.bytes(4)],
    of.uuid(),
  ];
  assert.equal(drawn, [
    0.12654495355673134,
    18,
    "b",
    false,
    [1, 3, 2, 4, 5],
    [28, 38, 8, 188],
    "1182eedc-5d33-4b4b-874c-1a530fa783c8",
  ]);
});

test("the draws of training are those of every training before", () => {
  const next = seededRandom(7);
  assert.equal([next(), next(), shuffled([1, 2, 3, 4, 5], next), seedOf("digits")], [
    0.011704753153026104,
    0.06195825757458806,
    [4, 1, 2, 3, 5],
    3467475007,
  ]);
});

test("the draws of the fuzzer are those of every run before", () => {
  const random = makeRandom(7, 2);
  const drawn = [random.int(1_000), random.pick([1, 2, 3]), random.chance(0.5), [...random.bytes(4)]];
  assert.equal(drawn, [582, 3, true, [121, 252, 139, 195]]);
});

test("a name and a seed give a series of their own", () => {
  const first = [randomOf(1, "a"), randomOf(1, "b"), randomOf(2, "a")].map(({ next }) => next());
  assert.is(new Set(first).size, 3);
});

test.run();
