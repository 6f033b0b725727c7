/**
 * A scheduler's real program that is killed in mid-training and started again: the new run ends what the killed one left at the workers,
 * and trains. So does a run right after one that ended well. With weights of its own it goes on after the last round that was finished.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startCollector } from "../support/collector.ts";
import { readTraces } from "../support/otlp_messages.ts";
import { cell, executors, makeNodeNetwork } from "../support/node_network.ts";
import { Result } from "effect";
import { decodeTensors, encodeTensors } from "../../actors/learning/mod.ts";
import { builtinModel } from "../../scripts/executors/model.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";
import { schedulerToml } from "../support/scheduler_toml.ts";

const test = suite("a scheduler that is started again");
const network = await makeNodeNetwork();
test.after(() => network.stop());
const rounds = 2;

/** A gateway, a data node and two workers; the configurations of a scheduler among them. */
async function place() {
  const gateway = await network.start("gateway-01", "gateway");
  const { addresses } = await gateway.said("node.listening") as unknown as { readonly addresses: readonly string[] };
  const common = { gatewayAddresses: [addresses[0] as string] };
  await network.start("data-01", "data", { ...common, datasetPath: network.slices } as never);
  for (const name of ["worker-01", "worker-02"]) {
    await network.start(name, "worker", {
      ...common,
      workDir: join(network.folder, "work", name),
      resources: { cpu: 2, memory: 4, storage: 10, gpu: 0 },
      offer: { price: 10, floor: 1, strategy: "whole" },
      executors: executors(),
      cell: cell(),
    } as never);
  }
  const folder = join(network.folder, "scheduler-01");
  mkdirSync(folder);
  const node = await network.pki.node("scheduler-01", { role: "scheduler" });
  const files = await network.pki.write(folder, node, await network.pki.crls({ number: 1n }));
  const write = (name: string, job: Pick<Job, "model" | "rounds">) => {
    const path = join(folder, name);
    writeFileSync(path, tomlOf({ ...files, ...job, gateway: addresses[0] as string, folder }));
    return path;
  };
  const weights = join(folder, "init.safetensors");
  const hub = 'repository = "builtin/mlp-64-32-10"\nrevision = "seed-7"\nfilenames = ["model.safetensors"]';
  writeFileSync(weights, encodeTensors(Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7")).parameters));
  return {
    folder,
    config: write("scheduler.toml", { model: hub, rounds }),
    ownWeights: (total: number) => write("weights.toml", { model: `weights = "${weights}"`, rounds: total }),
  };
}

interface Job {
  readonly certPath: string;
  readonly keyPath: string;
  readonly trustPath: string;
  readonly crlsPath: string;
  readonly gateway: string;
  readonly folder: string;
  readonly model: string;
  readonly rounds: number;
}

function tomlOf({ gateway, folder, model, rounds, ...files }: Job): string {
  const part = "{ cpu = 1.0, memory = 1.0, storage = 1.0, gpu = 0.0 }";
  return `${schedulerToml({ ...files, stateDir: join(folder, "state"), gateway })}
[scheduler.job]
type = "diloco"
dataset = { dataset = "digits" }
inner_optimizer = { learning-rate = 0.004 }
outer_optimizer = { learning-rate = 0.7, momentum = 0.5 }

[scheduler.job.model]
${model}
type = "image-classification"
input_names = ["pixel_values"]

[scheduler.job.resources]
num_workers = 1
worker = ${part}
parameter_server = ${part}
worker_price = { bid = 20.0, max = 100.0 }
parameter_server_price = { bid = 20.0, max = 100.0 }

[scheduler.job.rounds]
update_rounds = ${rounds}
avg_samples_between_updates = 192
max_batch_size = 32
`;
}

const { config, folder, ownWeights } = await place();
const start = (path = config, env = {}) =>
  startProgram("scheduler", ["run", "-c", path, "--log-format", "json"], { lifeMs: 180_000, env });
const runOf = async (running: Running) => Number((await running.waitFor("run.began"))["run"]);
let run = 0;
const finished = ({ events }: Running) =>
  events.filter(({ event }) => event === "round.finished").map(({ round }) => round);

test("bug: a scheduler that was killed in mid-training and came back after a second made no round ever", async () => {
  const first = start();
  await first.waitFor("round.finished", undefined, 120_000);
  first.signal("SIGKILL");
  const killed = await first.ended;
  run = await runOf(first);
  assert.equal([killed.signal, first.events.some(({ event }) => event === "training.done")], ["SIGKILL", false]);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const second = start();
  const { code, stderr } = await second.ended;
  assert.equal([code, finished(second)], [0, [1, 2]], stderr);
  assert.ok(run < await runOf(second));
  run = await runOf(second);
});

test("a run right after one that ended well trains at once; its rounds and its run are spans of one trace", async () => {
  const collector = await startCollector();
  const third = start(config, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_SAMPLER: "always_on" });
  const { code, stderr } = await third.ended;
  assert.equal([code, finished(third)], [0, [1, 2]], stderr);
  assert.ok(run < await runOf(third));
  assert.not(third.events.some(({ event }) => event.endsWith(".lost")), stderr);
  const [began, done] = ["run.began", "training.done"].map((name) =>
    Date.parse(third.events.find(({ event }) => event === name)?.time ?? "")
  );
  assert.ok(done! - began! < 15_000, `${done! - began!} ms: it does not wait for what the run before left`);
  run = await runOf(third);
  const posts = collector.posts.filter(({ path }) => path === "/v1/traces");
  const sent = posts.flatMap(({ body }) => readTraces(body).resourceSpans[0]?.scopeSpans[0]?.spans ?? []);
  // A post without an answer in time is repeated.
  const spans = [...new Map(sent.map((span) => [span.spanId, span])).values()];
  const of = (name: string) => spans.filter((span) => span.name === name);
  const [training] = of("training");
  assert.equal(of("round").map(({ parentSpanId }) => parentSpanId), [training?.spanId, training?.spanId]);
  assert.ok(
    training?.attributes.some(({ key, value }) =>
      key === "hypha.run" && "intValue" in value && +value.intValue === run
    ),
  );
  const ofRun = new Set(spans.filter(({ traceId }) => traceId === training?.traceId).map(({ name }) => name));
  assert.equal([...ofRun].sort(), ["request", "round", "training"], "its requests to workers are of the same trace");
  assert.ok(of("handshake").length > 0);
  await collector.close();
});

test("with weights it goes on after the last finished round, and ends with its model as a file", async () => {
  const own = ownWeights(4);
  const first = start(own);
  await first.waitFor("round.finished", undefined, 120_000);
  first.signal("SIGKILL");
  await first.ended;
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const second = start(own);
  const { code, stderr } = await second.ended;
  assert.is(code, 0, stderr);
  const after = (await second.waitFor("training.continued"))["round"] as number;
  assert.ok(after >= (finished(first).at(-1) as number), "no finished round is lost");
  assert.equal(finished(second), [1, 2, 3, 4].slice(after), "none is repeated");
  const { file, sha256, rounds: last, training } = await second.waitFor("training.model");
  assert.is(last, 4);
  assert.is(createHash("sha256").update(readFileSync(String(file))).digest("hex"), sha256);
  const out = join(folder, "model.safetensors");
  const result = await runProgramOnce("scheduler", ["result", String(training), "-o", out, "-c", own]);
  assert.is(result.code, 0, result.stderr);
  assert.match(result.stdout, `round 4, ${readFileSync(out).length} bytes, SHA-256 ${sha256}`);
  assert.is(Result.getOrThrow(decodeTensors(readFileSync(out))).size, 4);
});

test("a training whose rounds are all kept is done at once; with more rounds it goes on", async () => {
  const again = start(ownWeights(4));
  const { code, stderr } = await again.ended;
  assert.equal(
    [code, finished(again), again.events.some(({ event }) => event === "lease.granted")],
    [0, [], false],
    stderr,
  );
  assert.is((await again.waitFor("training.model"))["rounds"], 4);
  const more = start(ownWeights(5));
  const ended = await more.ended;
  assert.equal([ended.code, finished(more)], [0, [5]], ended.stderr);
});

test("result: an unknown training, and a name that leads elsewhere", async () => {
  const own = ownWeights(4);
  const unknown = await runProgramOnce("scheduler", ["result", "t-0", "-o", join(folder, "x"), "-c", own]);
  assert.is(unknown.code, 1);
  assert.match(unknown.stderr, "Cannot find a finished round");
  const elsewhere = await runProgramOnce("scheduler", ["result", "../..", "-o", join(folder, "x"), "-c", own]);
  assert.is(elsewhere.code, 2);
});

test.run();
