/** Which updates of a round count. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { comparedMin, judgeUpdates, normRules } from "../../actors/learning/verdicts.ts";

const test = suite("judgeUpdates()");

/** The factors of updates of these lengths, or the length of the one that is rejected. */
function judge(...norms: readonly number[]) {
  const verdict = judgeUpdates(norms.map((norm) => ({ file: `${norm}`, layout: "x", norm })));
  return verdict.type === "counts" ? verdict.factors : `rejects ${verdict.file}: ${verdict.code}`;
}

test("bug: in a round in which most updates were zero, each other one was rejected", () => {
  assert.equal(judge(0, 0, 0), [1, 1, 1]);
  assert.equal(judge(0, 0, 5), [1, 1, 1], "one has no other to be compared with");
  assert.equal(judge(0, 0, 0, 5, 7), [1, 1, 1, 1, 1]);
});

test("updates of zeros say nothing about lengths: the others are compared with each other, from three on", () => {
  assert.equal([comparedMin, normRules.clipNormRatio, normRules.maxNormRatio], [3, 2, 10]);
  assert.equal(judge(0, 0, 0, 0, 5, 5, 50.001), "rejects 50.001: norm");
  assert.equal(judge(0, 0, 0, 0, 5, 5, 20), [1, 1, 1, 1, 1, 1, 0.5]);
  assert.equal(judge(0, 0, 5, 50.001), [1, 1, 1, 1]);
  assert.equal(judge(0, 5, 5, 50.001), "rejects 50.001: norm");
});

test("a length over 2^64 is rejected whatever the others are", () => {
  assert.equal(judge(2 ** 64), [1]);
  assert.equal(judge(2 ** 64 * (1 + Number.EPSILON)), `rejects ${2 ** 64 * (1 + Number.EPSILON)}: norm`);
  assert.equal(judge(3e38, 3e38, 3e38), "rejects 3e+38: norm");
});

test("an update of zeros counts among long ones", () => {
  assert.equal(judge(0, 5, 5, 5), [1, 1, 1, 1]);
});

test.run();
