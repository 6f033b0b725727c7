import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { needing } from "../../support/prerequisites.ts";
import { learningRateFactor, stepsBefore } from "../../../scripts/executors/learning_rate.ts";

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

const standing = (round: number, rounds: number, samples: number) => ({ id: "t", run: 1, round, rounds, samples });
const begins: [steps: number, ...of: Parameters<typeof stepsBefore>][] = [
  [55, cosine, standing(4, 8, 320), 32],
  [36, linear, standing(1, 3, 320), 32],
  [110, cosine, standing(8, 8, 0), 32],
  [10, linear, standing(4, 0, 320), 32],
  [10, wsd, standing(4, 8, 351), 32],
  [10, null, standing(4, 8, 320), 32],
  [0, cosine, undefined, 32],
  [0, undefined, standing(0, 8, 0), 32],
];

test("the steps before a job are a schedule's share of the finished rounds, or the samples in batches", () => {
  assert.equal(begins.map(([, ...of]) => stepsBefore(...of)), begins.map(([steps]) => steps));
});

needing(test, "python3-venv")("the Python package counts the same steps before a job", () => {
  const script = "import json, sys; from learning_rate import steps_before; " +
    "print(json.dumps([steps_before(*of) for of in json.loads(sys.argv[1])]))";
  const given = begins.map(([, schedule, training, batchSize]) => [schedule ?? null, training ?? {}, batchSize]);
  const cwd = fileURLToPath(new URL("../../../scripts/executors/python", import.meta.url));
  const { stdout } = spawnSync("python3", ["-B", "-c", script, JSON.stringify(given)], { cwd, encoding: "utf8" });
  assert.equal(JSON.parse(stdout), begins.map(([, ...of]) => stepsBefore(...of)));
});
test.run();
