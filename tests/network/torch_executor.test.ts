/**
 * `train_torch.py` for real: a small convolutional network with batch normalization, four trainers in cells, evaluated by
 * `evaluate_torch.py` in the scheduler's cell.
 *
 * PyTorch is no prerequisite: `HYPHA_TORCH` names a Python that has it, as in `HYPHA_TORCH=/opt/torch/bin/python npm test --
 * tests/network/torch_executor.test.ts`. Without it the test is not declared.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../scripts/check/command.ts";
import { foldersOf } from "../../scripts/demo/python.ts";
import { pythonEnvironment, pythonFolder } from "../support/python.ts";

const python = process.env["HYPHA_TORCH"];
const trainers = 4, rounds = 8;
const module = ["digits_cnn:model", "--device", "cpu", "--threads", "1"];
const script = (name: string) => [join(pythonFolder, name), ...module];

const test = suite("train_torch.py");

test("docs/executors.md names the programs, and how to run this test", () => {
  const page = readFileSync(new URL("../../docs/executors.md", import.meta.url), "utf8");
  for (const name of ["train_torch.py", "evaluate_torch.py", "HYPHA_TORCH"]) assert.match(page, name);
});

async function initialWeights(cmd: string): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-torch-"));
  try {
    const file = join(folder, "init.safetensors");
    const args = [...script("train_torch.py"), "--write-weights", file];
    const { code, stderr } = await runCommand(cmd, args, { env: pythonEnvironment, timeoutMs: 120_000 });
    assert.is(code, 0, stderr);
    return readFileSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function trainTorch(cmd: string): Promise<void> {
  // Loaded only here: a network's modules take seconds.
  const { trainInPython } = await import("../support/python_network.ts");
  const { evaluated, events, sha256, output } = await trainInPython({
    ...{ trainers, rounds, samples: 2_304, learningRate: 0.002, lifeMs: 480_000 },
    memory: Number(process.env["HYPHA_TORCH_MEMORY"] ?? 2),
    cmd,
    trains: script("train_torch.py"),
    evaluates: script("evaluate_torch.py"),
    folders: [...await foldersOf(cmd), pythonFolder],
    weights: await initialWeights(cmd),
  });
  const finished = events.filter(({ event }) => event === "round.finished").map(({ time }) => Date.parse(time));
  const lengths = finished.slice(1).map((time, index) => ((time - (finished[index] ?? 0)) / 1_000).toFixed(1));
  console.log(evaluated.map(({ message }) => message).join("\n"));
  console.log(`seconds of each round after the first: ${lengths.join(" ")}`);
  const { round, metrics } = evaluated.at(-1) as unknown as { round: number; metrics: Record<string, number> };
  assert.is(round, rounds);
  assert.ok((metrics["accuracy"] ?? 0) > 0.95, JSON.stringify(metrics));
  assert.ok((metrics["loss"] ?? Infinity) < 0.3, JSON.stringify(metrics));
  const last = new RegExp(`round ${rounds}: \\d+ inner steps on cpu, parameters ${sha256}`);
  const ended = output.filter((line) => last.test(line));
  assert.is(ended.length, trainers, `all trainers end with the scheduler's bits\n${output.slice(-40).join("\n")}`);
}

if (python === undefined || python === "") {
  console.log(
    "Not covered: train_torch.py in a network. Name a Python that has torch: HYPHA_TORCH=/opt/torch/bin/python",
  );
} else {
  test("four trainers in cells reach the accuracy of the model, and end with the scheduler's bits", () =>
    trainTorch(python));
}

test.run();
