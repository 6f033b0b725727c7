import { Result } from "effect";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NamedTensors, Tensor } from "../../../actors/learning/mod.ts";
import { type DigitRow, parseDigits } from "../../../scripts/executors/digits.ts";
import { accuracy, applyUpdate, builtinModel, gradientOf, type Model } from "../../../scripts/executors/model.ts";
import { seedOf } from "../../../actors/runtime/random.ts";

const rows = Result.getOrThrow(
  parseDigits(readFileSync(new URL("../../fixtures/digits.csv", import.meta.url), "utf8")),
);
const heldOut = rows.filter((_, i) => i % 5 === 0);
const training = rows.filter((_, i) => i % 5 !== 0);

const models = suite("builtinModel()");
const model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));

models("is the same on every runtime and machine", () => {
  const weights = model.parameters.get("layers.0.weight");
  assert.equal(weights?.shape, [32, 64]);
  assert.equal([...model.parameters.keys()], [
    "layers.0.weight",
    "layers.0.bias",
    "layers.1.weight",
    "layers.1.bias",
  ]);
  const bytes = [...model.parameters.values()].map(({ values }) => [...values].join()).join();
  assert.is(seedOf(bytes), 1967839396);
});

models("another seed is another model; no revision is seed 0", () => {
  const weight = (revision: string | null) =>
    Result.getOrThrow(builtinModel("builtin/mlp-64-10", revision)).parameters.get("layers.0.weight")?.values[0];
  assert.is.not(weight("seed-1"), weight("seed-2"));
  assert.is(weight(null), weight("seed-0"));
});

const unknown: [repository: string, revision: string | null][] = [
  ["org/model", "seed-7"],
  ["builtin/mlp-64", "seed-7"],
  ["builtin/mlp-63-10", "seed-7"],
  ["builtin/mlp-64-11", "seed-7"],
  ["builtin/mlp-64-0-10", "seed-7"],
  ["builtin/mlp-64-4097-10", "seed-7"],
  ["builtin/mlp-64-1-1-1-1-1-1-1-1-10", "seed-7"],
  ["builtin/mlp-64-32-10", "main"],
  ["builtin/mlp-64-32-10", "seed-1234567890"],
];
for (const [repository, revision] of unknown) {
  models(`refuses ${repository} at ${revision}`, () => {
    const built = builtinModel(repository, revision);
    assert.is(Result.isFailure(built) && built.failure._tag, "UnknownModel");
  });
}

models("takes eight layers and a layer of 4096", () => {
  assert.ok(Result.isSuccess(builtinModel("builtin/mlp-64-1-1-1-1-1-1-1-10", "seed-7")));
  assert.ok(Result.isSuccess(builtinModel("builtin/mlp-64-4096-10", "seed-7")));
});
models.run();

const test = suite("a model on digits");

/** The update of one step of gradient descent, with a learning rate of 1. */
function descent(gradients: NamedTensors): NamedTensors {
  return new Map([...gradients].map(([name, { shape, values }]) => [name, { shape, values: values.map((v) => -v) }]));
}

test("a softmax regression learns too, by plain gradient descent", () => {
  let softmax = Result.getOrThrow(builtinModel("builtin/mlp-64-10", "seed-1"));
  for (let step = 0; step < 60; step++) {
    const { gradients } = gradientOf(softmax, training);
    softmax = Result.getOrThrow(applyUpdate(softmax, descent(gradients)));
  }
  assert.ok(accuracy(softmax, heldOut) > 0.85);
});

test("the gradient is the slope of the loss, parameter by parameter", () => {
  const batch = training.slice(0, 5);
  const small = Result.getOrThrow(builtinModel("builtin/mlp-64-6-10", "seed-2"));
  const { gradients } = gradientOf(small, batch);
  const nudged = (name: string, at: number, by: number): number => {
    const parameters = new Map(small.parameters);
    const { shape, values } = parameters.get(name) as Tensor;
    parameters.set(name, { shape, values: values.with(at, (values[at] as number) + by) });
    return gradientOf({ ...small, parameters }, batch).loss;
  };
  for (const [name, { values }] of gradients) {
    for (const at of [0, 3, values.length - 1]) {
      const slope = (nudged(name, at, 1e-2) - nudged(name, at, -1e-2)) / 2e-2;
      assert.ok(Math.abs(slope - (values[at] as number)) < 1e-3, `${name}[${at}]: ${slope}, ${values[at]}`);
    }
  }
});

test("accuracy is the share of rows whose digit has the largest score", () => {
  const softmax = Result.getOrThrow(builtinModel("builtin/mlp-64-10", "seed-1"));
  // Digit 3 has the largest score wherever the first pixel is dark, digit 7 elsewhere.
  const weight = new Float32Array(640);
  weight[3 * 64] = 2;
  const bias = new Float32Array(10);
  bias[7] = 1;
  const judge: Model = {
    ...softmax,
    parameters: new Map([
      ["layers.0.weight", { shape: [10, 64], values: weight }],
      ["layers.0.bias", { shape: [10], values: bias }],
    ]),
  };
  const seen = (first: number, label: number): DigitRow => ({
    pixels: new Float32Array(64).with(0, first),
    label,
  });
  assert.is(accuracy(judge, [seen(1, 3), seen(0, 7), seen(0, 3), seen(1, 7)]), 0.5);
  assert.is(accuracy(judge, [seen(1, 3), seen(0, 7), seen(0.4, 7), seen(0.6, 7)]), 0.75);
  assert.is(accuracy(judge, []), 0);
});

test.run();
