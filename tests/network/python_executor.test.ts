/**
 * Executors in Python: the package's own tests, files that go from one language to the other, and a network of real nodes whose trainers
 * are Python programs in cells.
 *
 * Method: the network runs on one runtime; what it shows beyond the others is the executors' side.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ExecutorConfig } from "../../actors/config/config.ts";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { decodeTensors, encodeTensors, type NamedTensors } from "../../actors/learning/mod.ts";
import { runCommand } from "../../scripts/check/command.ts";
import { findRuntime } from "../../scripts/check/runtimes.ts";
import { parseDigits } from "../../scripts/executors/digits.ts";
import { builtinModel, gradientOf } from "../../scripts/executors/model.ts";
import { makeNodeNetwork, type NodeNetwork, type RunningNode } from "../support/node_network.ts";
import { lacking } from "../support/prerequisites.ts";
import { startProgram } from "../support/program.ts";
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

/** A worker's executors in Python, and its cell, which shows them the interpreter and the package. */
function pythonWorker() {
  const script = join(pythonFolder, "train_numpy.py");
  const train = { class: "train", name: "diloco-transformer", runtime: "process", cmd: python, args: ["-B", script] };
  const aggregate = {
    class: "aggregate",
    name: "parameter-server",
    runtime: "parameter-server",
    cmd: undefined,
    args: [],
  };
  return {
    executors: [train, aggregate] as unknown as readonly ExecutorConfig[],
    cell: { ...cellDefault, allowUnconfined: true, readOnly: [...folders, pythonFolder] },
  };
}

async function startScheduler(network: NodeNetwork, gateway: string) {
  const node = await network.pki.node("scheduler-01", { role: "scheduler" });
  const at = join(network.folder, "scheduler-01");
  mkdirSync(at);
  const { certPath, keyPath, trustPath, crlsPath } = await network.pki.write(
    at,
    node,
    await network.pki.crls({ number: 1n }),
  );
  const weights = join(at, "init.safetensors");
  writeFileSync(weights, encodeTensors(model.parameters));
  const part = "{ cpu = 1.0, memory = 1.0, storage = 1.0, gpu = 0.0 }";
  const config = join(at, "scheduler.toml");
  writeFileSync(
    config,
    `cert_pem = "${certPath}"
key_pem = "${keyPath}"
trust_pem = "${trustPath}"
crls_pem = "${crlsPath}"
state_dir = "${join(at, "state")}"
gateway_addresses = ["${gateway}"]
listen_addresses = ["/ip4/127.0.0.1/tcp/0"]
exclude_cidr = []

[scheduler.job]
type = "diloco"
dataset = { dataset = "digits" }
inner_optimizer = { learning-rate = 0.004 }
outer_optimizer = { learning-rate = 0.7, momentum = 0.5 }
evaluation = { held_out = "${network.heldOut}" }

[scheduler.job.model]
weights = "${weights}"
type = "image-classification"
input_names = ["pixel_values"]

[scheduler.job.resources]
num_workers = 2
worker = ${part}
parameter_server = ${part}
worker_price = { bid = 20.0, max = 100.0 }
parameter_server_price = { bid = 20.0, max = 100.0 }

[scheduler.job.rounds]
update_rounds = ${rounds}
avg_samples_between_updates = 1152
max_batch_size = 32
`,
  );
  return startProgram("scheduler", ["run", "-c", config, "--log-format", "json"], { lifeMs: 90_000 });
}

const network = lacking(suite("a network whose executors are Python programs"), missing);

async function trainInPython(): Promise<void> {
  const nodes = await makeNodeNetwork();
  try {
    const gateway = await nodes.start("gateway-01", "gateway");
    const [address] = (await gateway.said("node.listening"))["addresses"] as string[];
    const common = { gatewayAddresses: [address as string] };
    const data = await nodes.start("data-01", "data", { ...common, datasetPath: nodes.slices } as never);
    const workers: RunningNode[] = [];
    for (const name of ["worker-01", "worker-02", "worker-03"]) {
      const workDir = join(nodes.folder, "work", name);
      const resources = { cpu: 2, memory: 4, storage: 10, gpu: 0 };
      const offer = { price: 10, floor: 1, strategy: "whole" };
      const worker = { ...common, workDir, resources, offer, ...pythonWorker() };
      workers.push(await nodes.start(name, "worker", worker as never));
    }
    for (const node of [data, ...workers]) await node.said("node.ready");
    const scheduler = await startScheduler(nodes, address as string);
    const { code, stderr } = await scheduler.ended;
    const output = workers.flatMap(({ name, lines }) =>
      lines.filter(({ level, event }) => level !== "debug" || event.startsWith("job."))
        .map(({ event, message }) => `${name} ${event} ${message}`)
    ).slice(-40).join("\n");
    assert.is(code, 0, `${stderr}\n${output}`);
    const accuracy = scheduler.events.filter(({ event }) => event === "round.evaluated").map((event) =>
      Number(event["accuracy"])
    );
    assert.is(accuracy.length, rounds);
    assert.ok((accuracy.at(-1) ?? 0) > 0.8, `accuracy ${accuracy.join(", ")}`);
    const { sha256 } = await scheduler.waitFor("training.model");
    const last = new RegExp(`round ${rounds}: mean loss \\d\\.\\d+, parameters ${String(sha256)}`);
    const ended = workers.filter(({ lines }) => lines.some(({ message }) => last.test(message)));
    assert.is(ended.length, 2, `both trainers end with the scheduler's bits\n${output}`);
  } finally {
    await nodes.stop();
  }
}

if (!("Deno" in globalThis) || findRuntime("node") === undefined) {
  network("two trainers reach the accuracy that the model has, and end with the scheduler's bits", trainInPython);
}
network.run();
