/** Learning by itself: three trainers and an outer step in one process, without a network. */
import { Result } from "effect";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NamedTensors, Tensor } from "../../../actors/learning/mod.ts";
import { exactMean, nesterovStep } from "../../../actors/learning/outer_step.ts";
import { type DigitRow, parseDigits } from "../../../scripts/executors/digits.ts";
import { accuracy, applyUpdate, builtinModel, gradientOf, type Model } from "../../../scripts/executors/model.ts";
import { seededRandom, shuffled } from "../../../actors/runtime/random.ts";
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
