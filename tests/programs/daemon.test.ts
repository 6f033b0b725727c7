/**
 * A scheduler without a job, as its user sees it: real programs, real workers. Trainings are submitted, watched, cancelled and resumed, and
 * go on by themselves when the scheduler was killed.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors } from "../../actors/learning/mod.ts";
import type { ShownStatus, ShownTraining } from "../../actors/scheduler/status.ts";
import type { WorkerContext } from "../../actors/worker/worker_setup.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { builtinModel } from "../../scripts/executors/model.ts";
import { whileAwake } from "../support/awake.ts";
import { cell, executors, makeNodeNetwork, type RunningNode } from "../support/node_network.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";
import { schedulerToml } from "../support/scheduler_toml.ts";

const test = suite("a scheduler that waits for jobs");
const network = await makeNodeNetwork();
test.after(() => network.stop());

/** Executors besides the real one: one that ignores SIGTERM, one that fails. */
const shell = (name: string, script: string) => ({
  class: "train" as const,
  name,
  runtime: "process" as const,
  cmd: "sh",
  args: ["-c", script],
});

const steadyScript = fileURLToPath(new URL("../../scripts/kills/steady_executor.ts", import.meta.url));
/** One whose model follows from its weights and rounds alone. */
const steady = executors().filter(({ class: of }) => of === "train").map((real) => ({
  ...real,
  name: "steady",
  args: [...real.args.slice(0, -1), steadyScript],
}));

/** A gateway, a data node, three workers with room for several jobs, and the configuration of a scheduler. */
async function place() {
  const gateway = await network.start("gateway-01", "gateway");
  const { addresses } = await gateway.said("node.listening") as unknown as { readonly addresses: readonly string[] };
  const common = { gatewayAddresses: [addresses[0] as string] };
  await network.start("data-01", "data", { ...common, datasetPath: network.slices } as never);
  const workers: RunningNode[] = [];
  for (const name of ["worker-01", "worker-02", "worker-03"]) {
    const special = name === "worker-03"
      ? [
        shell("stubborn", 'trap "" TERM; while :; do sleep 1; done'),
        shell("broken", "exit 3"),
        shell("here", "echo no such layer >&2; exit 3"),
      ]
      : name === "worker-02"
      ? executors().filter(({ class: of }) => of === "train").map((real) => ({ ...real, name: "here" }))
      : [];
    workers.push(
      await network.start(name, "worker", {
        ...common,
        workDir: join(network.folder, "work", name),
        resources: { cpu: 4, memory: 8, storage: 10, gpu: 0 },
        offer: { price: 10, floor: 1, strategy: "flexible" },
        executors: [...executors(), ...steady, ...special],
        cell: cell(),
      } as never),
    );
  }
  const folder = join(network.folder, "scheduler-01");
  mkdirSync(join(folder, "jobs"), { recursive: true });
  const node = await network.pki.node("scheduler-01", { role: "scheduler" });
  const files = await network.pki.write(folder, node, await network.pki.crls({ number: 1n }));
  const state = join(folder, "state");
  const config = join(folder, "scheduler.toml");
  writeFileSync(config, schedulerToml({ ...files, stateDir: state, gateway: `${addresses[0]}` }));
  writeFileSync(
    join(folder, "jobs", "init.safetensors"),
    encodeTensors(Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7")).parameters),
  );
  return { folder, state, config, workers };
}

const { folder, state, config, workers } = await place();
const part = "{ cpu = 1.0, memory = 1.0, storage = 1.0, gpu = 0.0 }";

/** Writes a job; its weights are named relative to it. */
function jobFile(
  name: string,
  { rounds = 2, executor = "diloco-transformer", waitS = 600, members = 1 } = {},
): string {
  const path = join(folder, "jobs", `${name}.toml`);
  writeFileSync(
    path,
    `type = "diloco"
dataset = { dataset = "digits" }
model = { weights = "init.safetensors", type = "image-classification", input_names = ["pixel_values"] }
inner_optimizer = { learning-rate = 0.004 }
outer_optimizer = { learning-rate = 0.7, momentum = 0.5 }
executors = { train = "${executor}" }
rounds = { update_rounds = ${rounds}, avg_samples_between_updates = 192, max_batch_size = 32 }

[resources]
num_workers = ${members}
wait_s = ${waitS}
worker = ${part}
parameter_server = ${part}
worker_price = { bid = 20.0, max = 100.0 }
parameter_server_price = { bid = 20.0, max = 100.0 }
`,
  );
  return path;
}

/** On Deno with the least that it needs. */
const permissions = permissionsFor("scheduler", {
  configPath: config,
  stateDir: state,
  certificateFolder: folder,
  readPaths: [],
  addresses: ["127.0.0.1"],
});
const start = () =>
  startProgram("scheduler", ["run", "-c", config, "--log-format", "json"], { lifeMs: 300_000, permissions });
const command = (...args: readonly string[]) => runProgramOnce("scheduler", [...args, "-c", config]);

/** What a command prints. */
async function printed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await command(...args);
  assert.is(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}

const statusOf = async (id: string) => JSON.parse(await printed("status", id, "--json")) as ShownStatus;

/** Looks at a training until it fits. */
async function until(id: string, what: string, fits: (shown: ShownStatus) => boolean, withinMs = 90_000) {
  for (let left = withinMs; left > 0; left -= 1_000) {
    const shown = await statusOf(id);
    if (fits(shown)) return shown;
    if (what === "done" && shown.state === "failed") break;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  throw new Error(`${id} is not ${what}: ${JSON.stringify(await statusOf(id))}`);
}

let daemon: Running;
let first = "";

test("without a scheduler that runs, commands say how to start it", async () => {
  for (const args of [["ls"], ["status", "t-1"], ["submit", jobFile("early")]]) {
    const { code, stderr } = await command(...args);
    assert.is(code, 1);
    assert.match(
      stderr,
      /no scheduler answers on \S+\. Start it, without \[scheduler\.job\] in it, to submit trainings/,
    );
    assert.match(stderr, `hypha-scheduler run -c ${config}`);
  }
});

test("two trainings share three workers, and each ends with its model, though an executor of one worker crashes at once", async () => {
  daemon = start();
  await daemon.waitFor("trainings.loaded");
  assert.match(await printed("ls"), "hypha-scheduler submit FILE");
  first = await printed("submit", jobFile("one"));
  const second = await printed("submit", jobFile("two", { executor: "here", members: 2 }));
  assert.match(first, /^t-[0-9a-f]{8}$/);
  const { trainings } = JSON.parse(await printed("ls", "--json")) as { readonly trainings: readonly ShownTraining[] };
  assert.equal(trainings.map(({ id, name, rounds }) => [id, name, rounds]), [[first, "one", 2], [second, "two", 2]]);
  for (const id of [first, second]) {
    const done = await until(id, "done", ({ state }) => state === "done");
    assert.equal([done.round, done.members, done.reason], [2, [], null]);
    assert.equal(done.losses.map(({ round }) => round), [1, 2]);
    assert.ok(done.bytes.sent > 9_000 && done.bytes.received > 9_000, JSON.stringify(done.bytes));
    const out = join(folder, `${id}.safetensors`);
    const { code, stdout, stderr } = await command("result", id, "-o", out);
    assert.is(code, 0, stderr);
    assert.match(stdout, `round 2, ${readFileSync(out).length} bytes`);
    const record = JSON.parse(readFileSync(join(state, "trainings", id, "round-2.json"), "utf8"));
    assert.match(stdout, record.parameters.sha256);
  }
  const log = await printed("logs", second, "--worker", "worker-03");
  assert.match(log, /executor exited with code 3; its last output:\\u000ano such layer/);
  const digest = createHash("sha256").update(readFileSync(join(folder, "jobs", "init.safetensors"))).digest("hex");
  const kept = readFileSync(join(state, "trainings", first, "weights.safetensors"));
  assert.is(createHash("sha256").update(kept).digest("hex"), digest);
});

test("trainings that run at once on the same workers have the models that they have alone, bit for bit", async () => {
  const submitted = async (name: string) => await printed("submit", jobFile(name, { rounds: 3, executor: "steady" }));
  const together = [await submitted("left"), await submitted("right")];
  for (const id of together) await until(id, "done", ({ state }) => state === "done");
  const alone = await submitted("alone");
  await until(alone, "done", ({ state }) => state === "done");
  const timesOf = async (id: string) => {
    const lines = (await printed("logs", id, "--json")).split("\n").map((line) => JSON.parse(line));
    const at = (event: string) => Date.parse(lines.find((line) => line.event === event)?.at);
    return [at("job.dispatched"), at("training.done")] as const;
  };
  const [[beganLeft, endedLeft], [beganRight, endedRight]] = await Promise.all(together.map(timesOf)) as [Times, Times];
  assert.ok(beganLeft < endedRight && beganRight < endedLeft, "they ran at once");
  const digests = [...together, alone].map((id) =>
    JSON.parse(readFileSync(join(state, "trainings", id, "round-3.json"), "utf8")).parameters.sha256
  );
  assert.is(new Set(digests).size, 1, digests.join("\n"));
});
type Times = readonly [began: number, ended: number];

test("status and logs name members by their certificates, also after the end", async () => {
  const shown = await statusOf(first);
  const names = shown.out.map(({ name }) => name);
  assert.equal(names.length, 2);
  assert.ok(names.every((name) => /^worker-0[123]$/.test(name)), names.join());
  const trainer = shown.out.find(({ part }) => part === "trainer");
  assert.type(trainer?.loss, "number");
  const text = await printed("status", first);
  assert.match(text, `${first} (one): done`);
  assert.match(text, "round 2 of 2");
  const log = await printed("logs", first);
  assert.match(log, "Round 2 finished");
  const about = await printed("logs", first, "--worker", trainer?.name ?? "");
  assert.ok(about.split("\n").every((line) => line.includes(`[${trainer?.name}]`)), about);
  const nobody = await command("logs", first, "--worker", "nobody");
  assert.is(nobody.code, 1);
  assert.match(nobody.stderr, `hypha-scheduler status ${first}`);
});

test("what cannot be done is said, with the command that helps", async () => {
  const unknown = await command("status", "t-00000000");
  assert.is(unknown.code, 1);
  assert.match(unknown.stderr, "there is no training t-00000000. See: hypha-scheduler ls");
  assert.is((await command("status", "../x")).code, 2);
  for (const [verb, hint] of [["cancel", `status ${first}`], ["resume", `result ${first} -o FILE`]] as const) {
    const { code, stderr } = await command(verb, first);
    assert.is(code, 1);
    assert.match(stderr, `training ${first} is done`);
    assert.match(stderr, `hypha-scheduler ${hint}`);
  }
  const bad = jobFile("bad");
  writeFileSync(bad, readFileSync(bad, "utf8").replace("init.safetensors", "one.toml"));
  const refused = await command("submit", bad);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /one\.toml: it is no safetensors file/);
  writeFileSync(bad, readFileSync(bad, "utf8").replace('type = "diloco"', 'type = "dilocco"'));
  const wrong = await command("submit", bad);
  assert.is(wrong.code, 1);
  assert.match(wrong.stderr, `${bad}:1:8: scheduler.job.type`);
  const second = await runProgramOnce("scheduler", ["run", "-c", config]);
  assert.is(second.code, 1, "two daemons with one state directory");
});

const leasesOf = (worker: RunningNode): number =>
  Object.keys(
    (worker.actor.getSnapshot().children["role"]?.getSnapshot() as { context: WorkerContext }).context.book.leases,
  )
    .length;

test("cancel: an executor that ignores SIGTERM is gone, and the leases are free, within six seconds", async () => {
  const id = await printed("submit", jobFile("stubborn", { executor: "stubborn" }));
  const running = await until(id, "running", ({ state }) => state === "running");
  assert.ok(running.members.some(({ name, part }) => name === "worker-03" && part === "trainer"));
  await workers[2]?.said("job.started", undefined, 30_000).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const told = await printed("cancel", id);
  assert.match(told, "2 workers were told");
  // Of the time that the workers' process gets.
  const isFree = await whileAwake(6_500, () => workers.every((worker) => leasesOf(worker) === 0));
  assert.ok(isFree, "the leases are not free");
  assert.is((await statusOf(id)).state, "cancelled");
  const resumed = await printed("resume", id);
  assert.match(resumed, `${id} goes on after round 0`);
  await until(id, "running again", ({ state }) => state === "running");
  await printed("cancel", id);
});

test("a training that failed says why; resume lets it go on with another run", async () => {
  const id = await printed("submit", jobFile("broken", { executor: "broken", waitS: 1 }));
  const failed = await until(id, "failed", ({ state }) => state === "failed");
  assert.match(failed.reason ?? "", "0 trainers of at least 1, and waited 1 s");
  assert.match(await printed("logs", id), `ERROR Training ${id} failed: it has 0 trainers of at least 1`);
  assert.ok(
    failed.out.some(({ name, last }) => name === "worker-03" && last.includes("job ended")),
    JSON.stringify(failed.out),
  );
  await printed("resume", id);
  const again = await until(
    id,
    "failed again",
    ({ state, run }) => state === "failed" && (run ?? 0) > (failed.run ?? 0),
  );
  assert.is(again.round, 0);
});

test("a daemon that is killed goes on with its trainings when it is back; a damaged one is named and stops no other", async () => {
  const id = await printed("submit", jobFile("long", { rounds: 6 }));
  // A command would take as long as the rest of the training.
  await daemon.waitFor("round.finished", ({ training }) => training === id, 60_000);
  daemon.signal("SIGKILL");
  await daemon.ended;
  const torn = join(state, "trainings", "t-torn");
  mkdirSync(torn);
  writeFileSync(join(torn, "job.json"), '{"version": 1, "na');
  mkdirSync(join(state, "trainings", "a foreign folder"));
  mkdirSync(join(state, "trainings", ".t-1.incoming"));
  daemon = start();
  const unreadable = await daemon.waitFor("training.unreadable");
  assert.match(unreadable.message, `Cannot read training in ${torn}: ${join(torn, "job.json")} is damaged`);
  const done = await until(id, "done", ({ state }) => state === "done");
  assert.is(done.round, 6);
  const continued = await daemon.waitFor("training.continued", ({ training }) => training === id);
  assert.ok(Number(continued["round"]) >= 1, "no finished round is lost");
  const { trainings } = JSON.parse(await printed("ls", "--json")) as { readonly trainings: readonly ShownTraining[] };
  assert.equal(
    trainings.map(({ name, state }) => [name, state]),
    [
      ["one", "done"],
      ["two", "done"],
      ["left", "done"],
      ["right", "done"],
      ["alone", "done"],
      ["stubborn", "cancelled"],
      ["broken", "failed"],
      ["long", "done"],
    ],
  );
  assert.not(readdirSync(join(state, "trainings")).includes(".t-1.incoming"));
  daemon.signal("SIGTERM");
  assert.is((await daemon.ended).code, 0);
});

test.run();
