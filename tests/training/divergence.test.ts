/** Which of a trainer and an aggregator is believed when their parameters differ. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  contradictionsOf,
  divergedNodesMax,
  type Divergence,
  isDiscredited,
  noDivergence,
  withDiverged,
  withMaker,
} from "../../actors/training/divergence.ts";

const test = suite("divergence");
/** Rounds 1, 2, 3 … by these aggregators. */
const madeBy = (...makers: readonly string[]) =>
  makers.reduce((so, maker, index) => withMaker(so, index + 1, maker), noDivergence);
const told = (start: Divergence, ...claims: readonly [node: string, round: number][]) =>
  claims.reduce((so, [node, round]) => withDiverged(so, node, round), start);

test("a node counts once against an aggregator, in however many rounds", () => {
  const once = told(madeBy("s", "s"), ["b", 1], ["b", 2]);
  assert.equal([contradictionsOf(once, "s"), isDiscredited(once, "b")], [1, false]);
  assert.is(contradictionsOf(told(once, ["c", 2]), "s"), 2);
});

test("a node that contradicts two aggregators counts against neither", () => {
  const twice = told(madeBy("s", "t"), ["b", 1], ["c", 1], ["b", 2]);
  assert.equal([contradictionsOf(twice, "s"), contradictionsOf(twice, "t")], [1, 0]);
  assert.equal([isDiscredited(twice, "b"), isDiscredited(twice, "c")], [true, false]);
});

test("bug: a late receipt of a round counted against the aggregator that took over", () => {
  const late = told(madeBy("s", "t"), ["b", 1], ["c", 1]);
  assert.equal([contradictionsOf(late, "s"), contradictionsOf(late, "t")], [2, 0]);
});

test("of a round whose aggregator is forgotten or unknown, nothing follows", () => {
  const old = madeBy(..."123456789".split("").map(() => "s"));
  assert.is(contradictionsOf(told(old, ["b", 1]), "s"), 0);
  assert.is(contradictionsOf(told(old, ["b", 2]), "s"), 1);
  assert.equal(told(withMaker(noDivergence, 1, undefined), ["b", 1]).under, {});
});

test("the nodes that are remembered are bounded", () => {
  const many = Array.from({ length: divergedNodesMax + 5 }, (_, nth): [string, number] => [`node-${nth}`, 1]);
  const kept = Object.keys(told(madeBy("s"), ...many).under);
  assert.equal([kept.length, kept[0]], [divergedNodesMax, "node-5"]);
});

test.run();
