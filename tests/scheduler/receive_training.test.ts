/** A training that is submitted: whole with its files, or nothing of it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FreeSpace } from "../../actors/files/free_space.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { writeHeader } from "../../actors/learning/safetensors.ts";
import { readAgainMs } from "../../actors/scheduler/late_training.ts";
import { loadTrainings } from "../../actors/scheduler/load_trainings.ts";
import { receiveTraining } from "../../actors/scheduler/receive_training.ts";
import type { ShownTraining } from "../../actors/scheduler/status.ts";
import { formatState, statePath } from "../../actors/scheduler/training_record.ts";
import { emptyWatch } from "../../actors/training/watch.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { startDaemon } from "../support/scheduler_world.ts";
import { bodyOf, submittedJob as job } from "../support/submission.ts";

const test = suite("receiveTraining()");
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);
const weights = encodeTensors(new Map([["w", { shape: [2], values: Float32Array.of(1, 2) }]]));
const head = { name: "digits", job, weights: weights.length };

const receive = (stateDir: string, body: AsyncIterator<Uint8Array>, id = "t-1") =>
  Effect.runPromise(Effect.provide(Effect.result(receiveTraining(body, { stateDir, id, now: 5 })), services));
const load = (stateDir: string) => Effect.runPromise(Effect.provide(loadTrainings(stateDir), services));

test("it is on disk whole, with its files in place of those that its author named", async () => {
  const place = temporary();
  const evaluated = { ...head, job: { ...job, evaluation: { held_out: "rows.csv" } }, held_out: 4 };
  const received = Result.getOrThrow(
    await receive(place.path, bodyOf(evaluated, new Uint8Array([...weights, 49, 44, 50, 10]))),
  );
  const folder = join(place.path, "trainings", "t-1");
  assert.equal([received.id, received.name, received.state, received.submittedAt], ["t-1", "digits", "queued", 5]);
  assert.equal(received.job.model, {
    weights: join(folder, "weights.safetensors"),
    type: "image-classification",
    inputNames: ["x"],
  });
  assert.is(received.job.evaluation?.heldOut, join(folder, "held-out.csv"));
  assert.is(readFileSync(join(folder, "held-out.csv"), "utf8"), "1,2\n");
  assert.equal(new Uint8Array(readFileSync(join(folder, "weights.safetensors"))), new Uint8Array(weights));
  const { trainings, broken } = await load(place.path);
  assert.equal([trainings, broken], [[received], []], "a scheduler that starts again reads the same");
  place.remove();
});

test("bug: the held-out rows of a submitted training lost their suffix, by which a program may read them", async () => {
  const kept = [
    ...[["rows.csv.gz", "held-out.csv.gz"], ["/data/v1.2/rows", "held-out"], ["a b.parquet", "held-out.parquet"]],
    ...[["rows.", "held-out"], ["rows.../..", "held-out"], ["C:\\rows.c\u0000sv", "held-out"]],
  ] as const;
  for (const [named, name] of kept) {
    const place = temporary();
    const evaluated = { ...head, job: { ...job, evaluation: { held_out: named } }, held_out: 4 };
    const received = await receive(place.path, bodyOf(evaluated, new Uint8Array([...weights, 49, 44, 50, 10])));
    const path = join(place.path, "trainings", "t-1", name);
    assert.is(Result.getOrThrow(received).job.evaluation?.heldOut, path, named);
    assert.is(readFileSync(path, "utf8"), "1,2\n");
    place.remove();
  }
});

test("the held-out rows that an earlier version kept are found", async () => {
  const place = temporary();
  const evaluated = { ...head, job: { ...job, evaluation: { held_out: "rows.csv" } }, held_out: 4 };
  Result.getOrThrow(await receive(place.path, bodyOf(evaluated, new Uint8Array([...weights, 49, 44, 50, 10]))));
  const folder = join(place.path, "trainings", "t-1");
  renameSync(join(folder, "held-out.csv"), join(folder, "held-out"));
  const { held_out: _, ...record } = JSON.parse(readFileSync(join(folder, "job.json"), "utf8"));
  writeFileSync(join(folder, "job.json"), JSON.stringify(record));
  const { trainings } = await load(place.path);
  assert.is(trainings[0]?.job.evaluation?.heldOut, join(folder, "held-out"));
  place.remove();
});

const many = { ...head, job: { ...job, rounds: { ...job.rounds, keep_rounds: 1_000 } }, weights: 2 ** 45 };
const refused: readonly (readonly [name: string, line: unknown, files: Uint8Array, code: string])[] = [
  ["no line", "no end of a line", weights, "broken-off"],
  ["no JSON", "{\n", weights, "not-a-job"],
  ["a key too many", { ...head, more: 1 }, weights, "not-a-job"],
  ["no job", { ...head, job: { ...job, type: "other" } }, weights, "not-a-job"],
  [
    "a job that breaks a rule",
    { ...head, job: { ...job, resources: { ...job.resources, worker_price: { bid: 3, max: 2 } } } },
    weights,
    "not-a-job",
  ],
  ["no weights", { name: "digits", job }, weights, "wrong-file"],
  ["rows that no evaluation reads", { ...head, held_out: 0 }, weights, "wrong-file"],
  ["no safetensors", { ...head, weights: 9 }, new Uint8Array(9).fill(255), "wrong-file"],
  ["a body that breaks off", { ...head, weights: weights.length + 1 }, weights, "broken-off"],
  ["more than the disk has", many, weights, "no-space"],
];
for (const [name, line, files, code] of refused) {
  test(`${name}: refused, and nothing remains`, async () => {
    const place = temporary();
    const outcome = await receive(place.path, bodyOf(line, files));
    assert.is(Result.isFailure(outcome) ? outcome.failure.code : "taken", code);
    const folder = join(place.path, "trainings");
    assert.equal(existsSync(folder) ? readdirSync(folder) : [], []);
    place.remove();
  });
}

test("1,000,000,000 parameters without the room for them are refused by the first line, before a byte of them", async () => {
  const place = temporary();
  let asked = 0;
  const body = async function* () {
    const rounds = { ...job.rounds, keep_rounds: 1 };
    yield* bodyOf({ ...head, job: { ...job, rounds }, weights: 4_000_000_100 }, new Uint8Array(0), 4_096);
    asked += 1;
  };
  const receiving = receiveTraining(body(), { stateDir: place.path, id: "t-1", now: 5 });
  const outcome = await Effect.runPromise(
    Effect.result(Effect.provideService(receiving, FreeSpace, () => Effect.succeed(27e9))).pipe(
      Effect.provide(services),
    ),
  );
  assert.ok(Result.isFailure(outcome));
  // The weights, the round that is kept, the one in the making, and two results.
  assert.match(
    outcome.failure.detail,
    /^not enough disk: need 28\.01 GB, have 27 GB at .*: make room, or lower rounds/,
  );
  assert.is(asked, 0);
  place.remove();
});

test("weights of two bytes an element take four on disk: what is missing is said", async () => {
  const place = temporary();
  const header = writeHeader([{ name: "w", dtype: "F16", shape: [1_000] }]);
  const half = new Uint8Array([...header, ...new Uint8Array(2_000)]);
  const receiving = receiveTraining(bodyOf({ ...head, weights: half.length }, half, 500), {
    stateDir: place.path,
    id: "t-1",
    now: 5,
  });
  // Kept three times, the one in the making, two results: of 2,000 bytes as they come, of 4,000 as they are kept.
  const having = (free: number) => Effect.provideService(FreeSpace, () => Effect.succeed(free));
  const outcome = await Effect.runPromise(Effect.provide(Effect.result(receiving).pipe(having(39_999)), services));
  assert.match(
    Result.isFailure(outcome) ? outcome.failure.message : "taken",
    /need 40 kB, have 39.99 kB at .*keep_rounds/,
  );
  place.remove();
});

test("a body whose connection is lost leaves nothing", async () => {
  const place = temporary();
  async function* lost(): AsyncGenerator<Uint8Array> {
    yield* bodyOf(head, weights.subarray(0, 5));
    throw await Promise.resolve(new Error("reset"));
  }
  const outcome = await receive(place.path, lost());
  assert.is(Result.isFailure(outcome) ? outcome.failure.code : "taken", "broken-off");
  assert.equal(readdirSync(join(place.path, "trainings")), []);
  place.remove();
});

test("damaged trainings are named, and the others are there; folders of others are left alone", async () => {
  const place = temporary();
  for (const id of ["t-1", "t-2", "t-3", "t-4"]) {
    Result.getOrThrow(await receive(place.path, bodyOf(head, weights), id));
  }
  const folder = (id: string) => join(place.path, "trainings", id);
  writeFileSync(join(folder("t-1"), "job.json"), "{");
  writeFileSync(join(folder("t-2"), "state.json"), '{"version": 1, "state": "runn');
  const standing = { state: "failed", reason: "no trainer is left", since: 7, queuedAt: 6 } as const;
  writeFileSync(statePath(folder("t-3")), formatState(standing, { ...emptyWatch, round: 3 }));
  const job4 = JSON.parse(readFileSync(join(folder("t-4"), "job.json"), "utf8"));
  writeFileSync(join(folder("t-4"), "job.json"), JSON.stringify({ ...job4, job: { ...job, type: "other" } }));
  mkdirSync(join(folder("t-configured")));
  mkdirSync(join(folder(".t-9.incoming")));
  mkdirSync(folder("not an id!"));
  const { trainings, broken } = await load(place.path);
  assert.equal(trainings.map(({ id, state, reason, watch }) => [id, state, reason, watch.round]), [
    ["t-3", "failed", "no trainer is left", 3],
  ]);
  assert.equal(broken.map(({ detail }) => detail.replaceAll(place.path, "DIR").slice(0, 44)), [
    "DIR/trainings/t-1/job.json is damaged",
    "DIR/trainings/t-2/state.json is damaged",
    "DIR/trainings/t-4/job.json holds no job: Exp",
  ]);
  assert.not(existsSync(folder(".t-9.incoming")));
  assert.ok(existsSync(folder("not an id!")));
  place.remove();
});

test("bug: a training whose files could not be read for a moment at a start stopped until the next start", async () => {
  const place = temporary();
  for (const id of ["t-1", "t-2"]) Result.getOrThrow(await receive(place.path, bodyOf(head, weights), id));
  const standing = { state: "failed", reason: "no trainer is left", since: 7, queuedAt: 6 } as const;
  writeFileSync(statePath(join(place.path, "trainings", "t-2")), formatState(standing, emptyWatch));
  const jobs = ["t-1", "t-2"].map((id) => join(place.path, "trainings", id, "job.json"));
  // A link to itself cannot be read, also not by root.
  for (const path of jobs) {
    renameSync(path, `${path}.away`);
    symlinkSync("job.json", path);
  }
  const { ask, scheduler, world } = await startDaemon(place.path);
  const known = () => (ask({ type: "list" }).body as { trainings: readonly ShownTraining[] }).trainings;
  assert.equal(known(), []);
  assert.is(world.reported("training.unreadable").length, 2);
  const late = () =>
    ["t-1", "t-2"].map((id) =>
      (scheduler.getSnapshot().children[`late/${id}`]?.getSnapshot() as { readonly value: string }).value
    );
  world.pass(readAgainMs);
  assert.equal(late(), ["reading", "reading"]);
  await eventually("neither can be read", () => late().every((value) => value === "waiting"));
  for (const path of jobs) renameSync(`${path}.away`, path);
  world.pass(readAgainMs);
  await eventually("they are known", () => known().length === 2);
  assert.equal(known().map(({ id, state }) => [id, state]).toSorted(), [["t-1", "queued"], ["t-2", "failed"]]);
  scheduler.stop();
  place.remove();
});

test.run();
