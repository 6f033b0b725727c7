import { Result } from "effect";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { subtractTensors } from "../../../actors/learning/tensors.ts";
import { parseDigits } from "../../../scripts/executors/digits.ts";
import { digitsEvaluator } from "../../../scripts/executors/evaluator.ts";
import { accuracy, applyUpdate, builtinModel } from "../../../scripts/executors/model.ts";

const test = suite("digitsEvaluator");
const repository = "builtin/mlp-64-10";
const digits = readFileSync(new URL("../../fixtures/digits.csv", import.meta.url), "utf8");
const load = (text: string, model = repository) =>
  digitsEvaluator.load({ path: "held-out.csv", text }, { repository: model, revision: "seed-1" });
const modelOf = (revision: string) => Result.getOrThrow(builtinModel(repository, revision));

test("applies each update to the model of the round before, and measures the result", () => {
  const rows = Result.getOrThrow(parseDigits(digits));
  let expected = modelOf("seed-1");
  let model = Result.getOrThrow(load(digits));
  assert.is(model.rows, rows.length);
  for (const revision of ["seed-2", "seed-3"]) {
    const update = Result.getOrThrow(subtractTensors(modelOf(revision).parameters, expected.parameters));
    const evaluated = Result.getOrThrow(model.apply(update));
    expected = Result.getOrThrow(applyUpdate(expected, update));
    assert.is(evaluated.accuracy, accuracy(expected, rows));
    assert.not.equal(evaluated.accuracy, accuracy(modelOf("seed-1"), rows));
    model = evaluated.model;
  }
});

test("refuses an update of another shape", () => {
  const model = Result.getOrThrow(load(digits));
  const other = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-1"));
  const evaluated = model.apply(other.parameters);
  assert.is(Result.isFailure(evaluated) && evaluated.failure._tag, "TensorMismatch");
});

const wrong: [name: string, text: string, model: string, detail: RegExp][] = [
  ["rows that are no digits, with the path and the line", "1,2,3", repository, /^held-out\.csv: .*line 1/],
  ["a file without rows", "\n\n", repository, /^held-out\.csv has no rows$/],
  ["a model that it does not know", digits, "org/model", /"org\/model"/],
];
for (const [name, text, model, detail] of wrong) {
  test(`refuses ${name}`, () => {
    const loaded = load(text, model);
    assert.ok(Result.isFailure(loaded));
    assert.is(loaded.failure._tag, "EvaluationFailed");
    assert.match(loaded.failure.detail, detail);
  });
}
test.run();
