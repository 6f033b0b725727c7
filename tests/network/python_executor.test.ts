/**
 * Executors in Python: the package's own tests, files that go from one language to the other, and a network of real nodes whose trainers
 * are Python programs in cells.
 *
 * Method: the network runs on one runtime; what it shows beyond the others is the executors' side.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeTensors, encodeTensors, type NamedTensors } from "../../actors/learning/mod.ts";
import { runCommand } from "../../scripts/check/command.ts";
import { findRuntime } from "../../scripts/check/runtimes.ts";
import { parseDigits } from "../../scripts/executors/digits.ts";
import { builtinModel, gradientOf } from "../../scripts/executors/model.ts";
import { lacking } from "../support/prerequisites.ts";
import { trainInPython } from "../support/python_network.ts";
import { pythonEnvironment, pythonFolder, pythonHere } from "../support/python.ts";

const found = await pythonHere();
const missing = "missing" in found ? [found.missing] : [];
const { python, folders } = "python" in found ? found : { python: "", folders: [] };
const folder = mkdtempSync(join(tmpdir(), "hypha-python-"));
const model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));
const rows = readFileSync(new URL("../fixtures/digits.csv", import.meta.url), "utf8").split("\n").slice(0, 32);

async function runPython(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(python, args, { env: pythonEnvironment, timeoutMs: 60_000 });
  assert.is(code, 0, stderr);
  return stdout;
}

const test = lacking(suite("the Python package"), missing);
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("its own tests pass, without a warning", async () => {
  await runPython("-W", "error", new URL("python/test_package.py", import.meta.url).pathname);
});

const exchange = `
import json, sys
from pathlib import Path
import train_numpy
from hypha_executor import load, save
folder = Path(sys.argv[1])
save(folder / "again", load(folder / "typescript").arrays)
parameters = train_numpy.builtin_model("builtin/mlp-64-32-10", "seed-7")
save(folder / "built", parameters)
loss, gradients = train_numpy.gradient(parameters, train_numpy.read_rows(folder / "rows"))
save(folder / "gradients", gradients)
print(loss)
`;

test("both languages write the same bytes, build the same model and have the same gradient", async () => {
  const tensors = new Map([["ä\n\u2028", { shape: [], values: Float32Array.of(0.1) }], ...model.parameters]);
  writeFileSync(join(folder, "typescript"), encodeTensors(tensors));
  writeFileSync(join(folder, "rows"), rows.join("\n"));
  const loss = Number(await runPython("-c", exchange, folder));
  const bytes = (name: string) => new Uint8Array(readFileSync(join(folder, name)));
  assert.equal(bytes("again"), bytes("typescript"));
  assert.equal(bytes("built"), new Uint8Array(encodeTensors(model.parameters)));
  const ours = gradientOf(model, Result.getOrThrow(parseDigits(rows.join("\n"))));
  assert.ok(Math.abs(ours.loss - loss) < 1e-5, `${ours.loss} ${loss}`);
  const theirs: NamedTensors = Result.getOrThrow(decodeTensors(bytes("gradients")));
  for (const [name, { values }] of ours.gradients) {
    const off = Math.max(...values.map((value, i) => Math.abs(value - (theirs.get(name)?.values[i] ?? NaN))));
    assert.ok(off < 1e-5, `${name}: ${off}`);
  }
});

test("an executor outside a job ends with 1 and one line that says why", async () => {
  const { code, stderr } = await runCommand(python, [join(pythonFolder, "train_numpy.py")], {
    env: { ...pythonEnvironment, JOB_JSON: "{}" },
    timeoutMs: 60_000,
  });
  assert.equal([code, stderr], [
    1,
    "JobFailed: Cannot start without the variable 'SOCKET_PATH': a worker starts executors\n",
  ]);
});
test.run();

// ── A network ───────────────────────────────────────────────────────────────────────────────────────────────────────

const rounds = 4;
const network = lacking(suite("a network whose executors are Python programs"), missing);

async function train(): Promise<void> {
  const { evaluated, sha256, output } = await trainInPython({
    ...{ trainers: 2, rounds, samples: 1_152, learningRate: 0.004, memory: 1, lifeMs: 90_000 },
    cmd: python,
    trains: [join(pythonFolder, "train_numpy.py")],
    folders: [...folders, pythonFolder],
    weights: encodeTensors(model.parameters),
  });
  const accuracy = evaluated.map((event) => Number(event["accuracy"]));
  assert.is(accuracy.length, rounds);
  assert.ok((accuracy.at(-1) ?? 0) > 0.8, `accuracy ${accuracy.join(", ")}`);
  const last = new RegExp(`round ${rounds}: mean loss \\d\\.\\d+, parameters ${sha256}`);
  const ended = output.filter((line) => last.test(line));
  assert.is(ended.length, 2, `both trainers end with the scheduler's bits\n${output.slice(-40).join("\n")}`);
}

if (!("Deno" in globalThis) || findRuntime("node") === undefined) {
  network("two trainers reach the accuracy that the model has, and end with the scheduler's bits", train);
}
network.run();
