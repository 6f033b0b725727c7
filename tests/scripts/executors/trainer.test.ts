/** Learning by itself: three trainers and an outer step in one process, without a network. */
import { Result } from "effect";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NamedTensors, Tensor } from "../../../actors/learning/mod.ts";
import { exactMean, nesterovStep } from "../../../actors/learning/outer_step.ts";
import { type DigitRow, parseDigits } from "../../../scripts/executors/digits.ts";
import { learningRateFactor } from "../../../scripts/executors/learning_rate.ts";
import { accuracy, applyUpdate, builtinModel, gradientOf, type Model } from "../../../scripts/executors/model.ts";
import { adam, gradientDescent } from "../../../scripts/executors/optimizer.ts";
import { seededRandom, seedOf, shuffled } from "../../../scripts/executors/random.ts";
import { makeTrainer } from "../../../scripts/executors/trainer.ts";

const rows = Result.getOrThrow(
  parseDigits(readFileSync(new URL("../../fixtures/digits.csv", import.meta.url), "utf8")),
);
const heldOut = rows.filter((_, i) => i % 5 === 0);
const training = rows.filter((_, i) => i % 5 !== 0);
const model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));

/** Rounds of DiLoCo with the demo's settings. Returns the accuracy on held-out rows after the last. */
function train(data: readonly DigitRow[], { rounds, trainers }: { rounds: number; trainers: number }): number {
  const random = seededRandom(1);
  const optimizer = { "learning-rate": 0.01, betas: null, epsilon: null };
  const all = Array.from({ length: trainers }, () => makeTrainer(model, { optimizer }));
  const velocity = new Map<string, Float64Array>();
  let [pool, shared]: [DigitRow[], Model] = [[], model];
  const batch = () => {
    if (pool.length < 32) pool = shuffled(data, random);
    return pool.splice(0, 32);
  };
  for (let round = 0; round < rounds; round++) {
    const differences = all.map((trainer) => {
      for (let step = 0; step < 2_880 / 32 / trainers; step++) trainer.train(batch());
      return Result.getOrThrow(trainer.difference());
    });
    const update = outerUpdate(differences, velocity);
    for (const trainer of all) Result.getOrThrow(trainer.receive(update));
    shared = Result.getOrThrow(applyUpdate(shared, update));
  }
  return accuracy(shared, heldOut);
}

function outerUpdate(differences: readonly NamedTensors[], velocity: Map<string, Float64Array>): NamedTensors {
  const update = new Map<string, Tensor>();
  for (const [name, { shape, values }] of differences[0] as NamedTensors) {
    const mean = Float64Array.from(
      values,
      (_, i) => exactMean(differences.map((difference) => difference.get(name)?.values[i] as number)),
    );
    const state = velocity.get(name) ?? new Float64Array(values.length);
    velocity.set(name, state);
    nesterovStep(state, mean, { learningRate: 0.7, momentum: 0.5 });
    update.set(name, { shape, values: Float32Array.from(mean) });
  }
  return update;
}

const test = suite("training on digits");

test("reaches 95 % on the held-out fifth with three trainers, and with the two that a revocation leaves", () => {
  assert.ok(accuracy(model, heldOut) < 0.2, "nothing is known before");
  for (const trainers of [3, 2]) {
    const reached = train(training, { rounds: 8, trainers });
    assert.ok(reached >= 0.95, `${reached} with ${trainers}`);
  }
});

test("stays under 20 % where the labels are shuffled", () => {
  const labels = shuffled(training.map(({ label }) => label), seededRandom(3));
  const nonsense = training.map(({ pixels }, i) => ({ pixels, label: labels[i] as number }));
  const reached = train(nonsense, { rounds: 8, trainers: 3 });
  assert.ok(reached < 0.2, String(reached));
});

test("a softmax regression learns too, by plain gradient descent", () => {
  let softmax = Result.getOrThrow(builtinModel("builtin/mlp-64-10", "seed-1"));
  const descent = gradientDescent();
  for (let step = 0; step < 60; step++) {
    const { gradients } = gradientOf(softmax, training);
    softmax = { ...softmax, parameters: descent.step(softmax.parameters, gradients, 1) };
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

test("Adam's first two steps are the paper's", () => {
  const one = (value: number): NamedTensors => new Map([["w", { shape: [1], values: Float32Array.of(value) }]]);
  const optimizer = adam({ betas: [0.9, 0.99], epsilon: 0.1 });
  const first = optimizer.step(one(1), one(0.5), 0.2);
  // m = 0.05 / 0.1, v = 0.0025 / 0.01
  assert.is(first.get("w")?.values[0], Math.fround(1 - 0.2 * 0.5 / (0.5 + 0.1)));
  const second = optimizer.step(first, one(-1), 0.2);
  const mean = (0.9 * 0.05 - 0.1) / (1 - 0.81);
  const square = (0.99 * 0.0025 + 0.01) / (1 - 0.9801);
  const expected = (first.get("w")?.values[0] as number) - 0.2 * mean / (Math.sqrt(square) + 0.1);
  assert.ok(Math.abs((second.get("w")?.values[0] as number) - expected) < 1e-6);
});

test("Adam is the paper's algorithm, with its defaults, over fifty steps of several parameters", () => {
  const random = seededRandom(5);
  const size = 4;
  const optimizer = adam({ betas: null, epsilon: null });
  const draw = (scale: number) => Float32Array.from({ length: size }, () => (random() - 0.5) * scale);
  let values = draw(1);
  const [expected, m, v] = [Float64Array.from(values), new Float64Array(size), new Float64Array(size)];
  for (let t = 1; t <= 50; t++) {
    const gradient = draw(10 ** (t % 5 - 2));
    const step = optimizer.step(
      new Map([["w", { shape: [size], values }]]),
      new Map([["w", { shape: [size], values: gradient }]]),
      0.01,
    );
    values = step.get("w")?.values as Float32Array<ArrayBuffer>;
    for (let i = 0; i < size; i++) {
      const g = gradient[i] as number;
      m[i] = 0.9 * (m[i] as number) + 0.1 * g;
      v[i] = 0.999 * (v[i] as number) + 0.001 * g * g;
      const [mean, square] = [(m[i] as number) / (1 - 0.9 ** t), (v[i] as number) / (1 - 0.999 ** t)];
      expected[i] = (expected[i] as number) - 0.01 * mean / (Math.sqrt(square) + 1e-8);
      assert.ok(Math.abs((values[i] as number) - (expected[i] as number)) < 1e-5, `step ${t}, ${i}`);
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

test("what a trainer sends is θ after − θ before, and what it receives is added to θ before", () => {
  const trainer = makeTrainer(model, { optimizer: { "learning-rate": 0.01, betas: null, epsilon: null } });
  trainer.train(training.slice(0, 32));
  const difference = Result.getOrThrow(trainer.difference());
  // The first step of Adam is the learning rate against the gradient's sign: going there makes the loss smaller.
  const there = Result.getOrThrow(applyUpdate(model, difference));
  assert.ok(gradientOf(there, training.slice(0, 32)).loss < gradientOf(model, training.slice(0, 32)).loss);
  const nothing = new Map([...difference].map(([name, { shape, values }]) => [
    name,
    { shape, values: new Float32Array(values.length) },
  ]));
  Result.getOrThrow(trainer.receive(nothing));
  for (const { values } of Result.getOrThrow(trainer.difference()).values()) assert.ok(values.every((v) => v === 0));
});
test.run();

const models = suite("builtinModel()");

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

const parsing = suite("parseDigits()");
const row = (pixel: string, label: string) => `${Array(63).fill("0").join()},${pixel},${label}`;

parsing("takes both ends of each range, empty lines and CRLF", () => {
  const read = Result.getOrThrow(parseDigits(`${row("16", "0")}\r\n\n${row("0", "9")}\n`));
  assert.equal(read.map(({ pixels, label }) => [pixels[63], label]), [[1, 0], [0, 9]]);
  assert.equal(Result.getOrThrow(parseDigits("")), []);
});

const wrong: [name: string, text: string, line: number][] = [
  ["a pixel over 16", row("17", "0"), 1],
  ["a negative pixel", row("-1", "0"), 1],
  ["a fraction", row("0.5", "0"), 1],
  ["a label over 9", `${row("0", "0")}\n${row("0", "10")}`, 2],
  ["an empty value", row("", "0"), 1],
  ["words", "hello", 1],
  ["a value less", row("0", "0").slice(2), 1],
  ["a value more", row("0", "0,0"), 1],
];
for (const [name, text, line] of wrong) {
  parsing(`refuses ${name} and says where`, () => {
    const read = parseDigits(text);
    assert.is(Result.isFailure(read) && read.failure.line, line);
  });
}
parsing.run();

const rate = suite("learningRateFactor()");
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
  rate(`${name}: ${expected}`, () => assert.ok(Math.abs(factor - expected) < 1e-12, String(factor)));
}
rate.run();
