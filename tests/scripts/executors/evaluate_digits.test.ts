/** The evaluation of digits as a program: the same accuracy as the evaluator inside the scheduler. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors } from "../../../actors/learning/mod.ts";
import { ownRuntime } from "../../../scripts/check/runtimes.ts";
import { commandOf } from "../../../scripts/demo/runtimes.ts";
import { parseDigits } from "../../../scripts/executors/digits.ts";
import { accuracy, builtinModel } from "../../../scripts/executors/model.ts";
import { temporary } from "../../support/job_world.ts";

const test = suite("evaluate_digits.ts");
const script = fileURLToPath(new URL("../../../scripts/executors/evaluate_digits.ts", import.meta.url));
const digits = readFileSync(new URL("../../fixtures/digits.csv", import.meta.url), "utf8");
const place = temporary();
test.after(() => place.remove());

function run(name: string, parameters: Uint8Array, rows: string) {
  const folder = join(place.path, name);
  mkdirSync(join(folder, "held_out"), { recursive: true });
  writeFileSync(join(folder, "parameters.safetensors"), parameters);
  writeFileSync(join(folder, "held_out", "rows.csv"), rows);
  const [command, ...before] = commandOf(ownRuntime, ["-A"]);
  const env = { ...process.env, WORK_DIR: folder };
  const { status, stderr } = spawnSync(command, [...before, script], { encoding: "utf8", env });
  return { folder, status, stderr };
}

test("it writes the accuracy of the parameters on the held-out rows", () => {
  const model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));
  const rows = digits.split("\n").slice(0, 300).join("\n");
  const { folder, status, stderr } = run("well", encodeTensors(model.parameters), rows);
  assert.is(status, 0, stderr);
  const expected = accuracy(model, Result.getOrThrow(parseDigits(rows)));
  assert.equal(JSON.parse(readFileSync(join(folder, "result.json"), "utf8")), { metrics: { accuracy: expected } });
});

test("parameters of another model: exit code 1, and one line that says why", () => {
  const other = encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]]));
  const { status, stderr } = run("ill", other, digits.split("\n")[0] ?? "");
  assert.is(status, 1);
  assert.match(stderr, /^Cannot build a model of these parameters: 1 tensors\n$/);
});

test("bug: held-out files without rows had accuracy 0", () => {
  const model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));
  const { status, stderr } = run("empty", encodeTensors(model.parameters), "");
  assert.is(status, 1);
  assert.is(stderr, "Cannot evaluate: the held-out files have no rows\n");
});

test.run();
