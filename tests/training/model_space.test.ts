/** The space that the model of a training takes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { aggregationBytes, nextRoundBytes, parametersBytes, trainingBytes } from "../../actors/training/model_space.ts";

const test = suite("space of a model");

test("floats of two bytes are kept in four, others as they are", () => {
  const of = (dtype: "BF16" | "F32" | "F64" | "I64" | "BOOL") => parametersBytes([{ dtype, count: 10 }]);
  assert.equal([of("BF16"), of("F32"), of("F64"), of("I64"), of("BOOL")], [40, 40, 80, 80, 10]);
  assert.is(parametersBytes([{ dtype: "F16", count: 1 }, { dtype: "I32", count: 2 }]), 12);
});

test("a training takes its kept rounds, the one in the making, and two results", () => {
  assert.is(trainingBytes(100, 1), 600);
  assert.is(trainingBytes(100, 3), 1_000);
  assert.is(nextRoundBytes({ parameters: { sha256: "", sizeBytes: 100 } }), 300);
});

test("an aggregator has all updates, the result, and the velocity twice", () => {
  const of = (dtype: "BF16" | "F64" | "I64" | "BOOL", trainers: number) =>
    aggregationBytes([{ dtype, count: 10 }], trainers);
  assert.equal([of("BF16", 1), of("F64", 1), of("BF16", 4)], [240, 240, 360]);
  assert.equal([of("I64", 1), of("BOOL", 4)], [320, 70]);
});
test.run();
