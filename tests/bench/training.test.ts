/** The loop that `npm run bench -- training` measures: its passes are the trainer's work, with a network and without. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { passesIn, trainFor } from "../../scripts/bench/training/loop.ts";

const test = suite("npm run bench -- training");

test("passes bring each element nearer to its target; as many passes are the same work", () => {
  const [one, other] = [new Float32Array(2_048).fill(0.125), new Float32Array(2_048).fill(0.125)];
  trainFor(one, 4);
  trainFor(other, 2);
  trainFor(other, 2);
  assert.equal(one, other);
  const targetOf = (at: number) => ((at & 1_023) - 512) / 1_024;
  assert.ok(one.every((value, at) => Math.abs(value - targetOf(at)) <= Math.abs(0.125 - targetOf(at))));
});

test("a time has at least one pass", () => {
  assert.is(passesIn(new Float32Array(2_048), 0), 1);
  assert.ok(passesIn(new Float32Array(2_048), 20) > 1);
});

test.run();
