import { suite } from "uvu";
import * as assert from "uvu/assert";
import { learningRateFactor } from "../../../scripts/executors/learning_rate.ts";

const test = suite("learningRateFactor()");
const cosine = { type: "cosine-with-warmup", warmup_steps: 10, training_steps: 110 } as const;
const linear = { type: "linear-with-warmup", warmup_steps: 10, training_steps: 110 } as const;
const wsd = { type: "wsd", warmup_steps: 10, decay_steps: 20 } as const;
const factors: [name: string, factor: number, expected: number][] = [
  ["without a schedule", learningRateFactor(null, 5), 1],
  ["at the start", learningRateFactor(cosine, 0), 0],
  ["before the warm-up ends", learningRateFactor(cosine, 9), 0.9],
  ["after the warm-up", learningRateFactor(cosine, 10), 1],
  ["half way down a cosine", learningRateFactor(cosine, 60), 0.5],
  ["one step before the end of a cosine", learningRateFactor(cosine, 109), (1 - Math.cos(Math.PI / 100)) / 2],
  ["at the end of a cosine", learningRateFactor(cosine, 110), 0],
  ["long after the end", learningRateFactor(cosine, 9_999), 0],
  ["a quarter down a line", learningRateFactor(linear, 35), 0.75],
  ["one step before the end of a line", learningRateFactor(linear, 109), 0.01],
  ["at the end of a line", learningRateFactor(linear, 110), 0],
  ["wsd, end unknown", learningRateFactor(wsd, 9_999), 1],
  ["wsd, before the decay", learningRateFactor(wsd, 80, 100), 1],
  ["wsd, one step into the decay", learningRateFactor(wsd, 81, 100), (1 + Math.cos(Math.PI / 20)) / 2],
  ["wsd, half way down", learningRateFactor(wsd, 90, 100), 0.5],
  ["wsd, at the end", learningRateFactor(wsd, 100, 100), 0],
  ["a training shorter than its warm-up", learningRateFactor({ ...linear, training_steps: 5 }, 20), 0],
];
for (const [name, factor, expected] of factors) {
  test(`${name}: ${expected}`, () => assert.ok(Math.abs(factor - expected) < 1e-12, String(factor)));
}
test.run();
