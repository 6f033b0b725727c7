/**
 * Members of a training that die are replaced while the others train, with real programs: a trainer's worker is killed, then the
 * aggregator's. At the end the scheduler and all trainers hold the same parameters.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "@std/toml";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { builtinModel } from "../../scripts/executors/model.ts";
import { cell, executors, makeNodeNetwork } from "../support/node_network.ts";
import { type LoggedEvent, type Running, startProgram } from "../support/program.ts";

const test = suite("members that are replaced");
const network = await makeNodeNetwork();
const lifeMs = 400_000;
const rounds = 40;
const room = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const price = { bid: 20, max: 100 };
const weights = join(network.folder, "init.safetensors");
writeFileSync(weights, encodeTensors(Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7")).parameters));

const gateway = await network.start("gateway-01", "gateway");
const { addresses: [address = ""] } = await gateway.said("node.listening") as unknown as { addresses: string[] };
await network.start("data-01", "data", { gatewayAddresses: [address], datasetPath: network.slices } as never);

/** A program's configuration, with its certificate. */
async function configure(name: string, role: "worker" | "scheduler", more: object): Promise<string> {
  const folder = join(network.folder, name);
  mkdirSync(folder, { recursive: true });
  const node = await network.pki.node(name, { role });
  const files = await network.pki.write(folder, node, await network.pki.crls({ number: 1n }));
  const path = join(folder, `${role}.toml`);
  const common = {
    cert_pem: files.certPath,
    key_pem: files.keyPath,
    trust_pem: files.trustPath,
    crls_pem: files.crlsPath,
    state_dir: join(folder, "state"),
    gateway_addresses: [address],
    listen_addresses: ["/ip4/127.0.0.1/tcp/0"],
    exclude_cidr: [],
  };
  writeFileSync(path, stringify({ ...common, ...more }));
  return path;
}

const run = (role: "worker" | "scheduler", path: string) =>
  startProgram(role, ["run", "-c", path, "--log-format", "json", "--log-level", "debug"], { lifeMs });

const workers = new Map<string, { readonly path: string; running: Running }>();
for (const name of ["worker-01", "worker-02", "worker-03", "worker-04"]) {
  const path = await configure(name, "worker", {
    work_dir: join(network.folder, "work", name),
    resources: room,
    offer: { price: 10, floor: 1, strategy: "whole" },
    executors: executors().map(({ cmd, ...executor }) => cmd === undefined ? executor : { cmd, ...executor }),
    cell: { allow_unconfined: true, read_only: cell().readOnly },
  });
  const running = run("worker", path);
  workers.set(name, { path, running });
  // One after the other: each takes a core for its start.
  await running.waitFor("node.ready", undefined, 60_000);
}
const scheduler = run(
  "scheduler",
  await configure("scheduler-01", "scheduler", {
    scheduler: {
      job: {
        type: "diloco",
        dataset: { dataset: "digits" },
        model: { weights, type: "image-classification", input_names: ["pixel_values"] },
        inner_optimizer: { "learning-rate": 0.004 },
        outer_optimizer: { "learning-rate": 0.7, momentum: 0.5 },
        resources: {
          num_workers: 2,
          worker: room,
          parameter_server: room,
          worker_price: price,
          parameter_server_price: price,
        },
        rounds: { update_rounds: rounds, avg_samples_between_updates: 512, max_batch_size: 16 },
      },
    },
  }),
);
test.after(async () => {
  // Workers that end by themselves leave no mounts behind; those of killed ones are swept at their next start.
  await Promise.all(restarted.map((running) => running.waitFor("worker.swept", undefined, 60_000)));
  for (const { running } of [...workers.values(), { running: scheduler }]) running.signal("SIGTERM");
  await Promise.all([...workers.values(), { running: scheduler }].map(({ running }) => running.ended));
  await network.stop();
});

/** The program of a worker, by its PeerID. */
async function workerOf(peer: unknown) {
  for (const [name, worker] of workers) {
    if ((await worker.running.waitFor("node.listening"))["peer"] === peer) return { name, ...worker };
  }
  throw new Error(`Cannot find a worker: ${peer}`);
}

const restarted: Running[] = [];
function restart({ name, path }: { readonly name: string; readonly path: string }): void {
  const running = run("worker", path);
  workers.set(name, { path, running });
  restarted.push(running);
}

const finished = () => scheduler.events.filter(({ event }) => event === "round.finished").map(({ round }) => round);
const after = (event: string, what: LoggedEvent) => (other: LoggedEvent) =>
  other.event === event && scheduler.events.indexOf(other) > scheduler.events.indexOf(what);

test("a trainer's worker is killed: another takes its place while the first one trains on", async () => {
  await scheduler.waitFor("round.finished", ({ round }) => round === 2, 150_000);
  const job = await scheduler.waitFor("job.dispatched", (event) => event["class"] === "train");
  const victim = await workerOf(job["peer"]);
  victim.running.signal("SIGKILL");
  const lost = await scheduler.waitFor("trainer.lost", undefined, 60_000);
  assert.is(lost["peer"], job["peer"]);
  const newcomer = await scheduler.waitFor(
    "job.dispatched",
    (event) => after("job.dispatched", lost)(event) && event["class"] === "train",
    60_000,
  );
  const entered = scheduler.events.find((event) =>
    after("job.redispatched", lost)(event) && (event["results"] as string[]).includes(String(newcomer["peer"]))
  );
  assert.ok(
    entered !== undefined && scheduler.events.indexOf(entered) < scheduler.events.indexOf(newcomer),
    "results first",
  );
  assert.not((entered["trainers"] as string[]).includes(String(newcomer["peer"])), "it is counted later");
  const counted = await scheduler.waitFor("job.redispatched", (event) =>
    after("job.redispatched", newcomer)(event) &&
    (event["trainers"] as string[]).includes(String(newcomer["peer"])), 60_000);
  await scheduler.waitFor("round.finished", after("round.finished", counted), 60_000);
  // Its worker comes back, and may take the next one's place.
  restart(victim);
});

test("the aggregator's worker is killed in mid-round: another goes on, and at most one round is repeated", async () => {
  const job = await scheduler.waitFor("job.dispatched", (event) => event["class"] === "aggregate");
  const victim = await workerOf(job["peer"]);
  const before = Math.max(...finished() as number[]);
  victim.running.signal("SIGKILL");
  const lost = await scheduler.waitFor("aggregator.lost", undefined, 60_000);
  const other = await scheduler.waitFor(
    "job.dispatched",
    (event) => after("job.dispatched", lost)(event) && event["class"] === "aggregate",
    90_000,
  );
  assert.is.not(other["peer"], job["peer"]);
  await scheduler.waitFor("round.finished", after("round.finished", other), 60_000);
  assert.ok(!scheduler.events.some(after("trainer.lost", lost)), "the trainers go on");
  assert.ok(before < rounds, "it was killed in time");
  restart(victim);
});

test("it ends with its model: no round is lost or finished twice, and all members hold the same parameters", async () => {
  const { file, sha256 } = await scheduler.waitFor("training.model", undefined, 120_000);
  const { code, stderr } = await scheduler.ended;
  assert.is(code, 0, `${file}\n${stderr.slice(-3_000)}`);
  assert.equal(finished(), Array.from({ length: rounds }, (_, at) => at + 1));
  assert.not(scheduler.events.some(({ event }) => event === "member.diverged"), "all hold the same parameters");
  const last = scheduler.events.filter(({ event, round }) => event === "member.parameters" && round === rounds);
  assert.is(last.length, 2);
  for (const member of last) assert.is(member["sha256"], sha256);
});

test.run();
