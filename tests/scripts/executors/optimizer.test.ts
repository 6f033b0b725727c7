import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { NamedTensors } from "../../../actors/learning/mod.ts";
import { adam } from "../../../scripts/executors/optimizer.ts";
import { seededRandom } from "../../../actors/runtime/random.ts";

const test = suite("adam()");

test("the first two steps are the paper's", () => {
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

test("it is the paper's algorithm, with its defaults, over fifty steps of several parameters", () => {
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

test.run();
