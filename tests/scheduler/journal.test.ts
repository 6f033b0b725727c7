/** The journal of a training: bounded, and after a disk that refuses it goes on. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import { adminRoutes } from "../../actors/scheduler/admin_routes.ts";
import { eventsBytesMax, journalMachine } from "../../actors/scheduler/journal.ts";
import { readEvents } from "../../actors/scheduler/read_events.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { emptyWatch } from "../../actors/training/watch.ts";
import { makeFakeWorld, startIn } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";

const test = suite("journal");
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);

const events = (folder: string, worker?: string) =>
  Effect.runPromise(Effect.provide(readEvents(folder, worker), services));

function start() {
  const place = temporary();
  const folder = join(place.path, "t-1");
  mkdirSync(folder);
  const world = makeFakeWorld();
  const standing = { state: "queued", reason: null, since: 0, queuedAt: 0 } as const;
  const actor = startIn(world, journalMachine, {
    ports: world.ports,
    id: "t-1",
    folder,
    standing,
    watch: emptyWatch,
    isKept: false,
  });
  const line = (event: string, fields: Report["fields"], level: Report["level"] = "info", message = event) =>
    actor.send({
      type: "journal.line",
      report: { level, event, message, fields: fields ?? {} },
      name: "w",
      at: world.ports.now(),
    });
  const resting = () => eventually("all is written", () => actor.getSnapshot().matches("resting"));
  const state = () => JSON.parse(readFileSync(join(folder, "state.json"), "utf8"));
  return { place, folder, world, actor, line, resting, state, standing };
}

test("it keeps lines, losses and what became of the training; finer lines change only what is known", async () => {
  const { place, folder, line, resting, actor, state, standing } = start();
  await resting();
  assert.equal([state().state, state().watch.round], ["queued", 0]);
  line("lease.granted", { peer: "p", class: "train" });
  line("round.metrics", { peer: "p", round: 1, metrics: { loss: 0.5 } }, "debug");
  line("model.served", { peer: "p", sizeBytes: 10 }, "debug");
  line("round.finished", { round: 1, resultBytes: 4 });
  actor.send({ type: "journal.standing", standing: { ...standing, state: "running" } });
  await eventually("the round is kept", () => state().watch.round === 1 && state().state === "running");
  await resting();
  assert.equal((await events(folder)).map(({ event, name }) => [event, name]), [
    ["lease.granted", "w"],
    ["round.metrics", "w"],
    ["round.finished", "w"],
  ]);
  assert.equal(await events(folder, "other"), []);
  const { watch } = state();
  assert.equal([watch.losses, watch.bytes], [[{ round: 1, loss: 0.5 }], { received: 4, sent: 10 }]);
  assert.is(statSync(join(folder, "events.jsonl")).mode & 0o777, 0o600);
  place.remove();
});

test("bug: progress without a metric filled the log", async () => {
  const { place, folder, line, resting } = start();
  line("round.metrics", { peer: "p", round: 1, metrics: {} }, "debug");
  line("round.metrics", { peer: "p", round: 1, metrics: { loss: 1 } }, "debug");
  await resting();
  assert.equal((await events(folder)).map(({ fields }) => fields), [{ peer: "p", round: 1, metrics: { loss: 1 } }]);
  place.remove();
});

test("bug: a line after a torn one was glued to it and lost, in the process that failed and in the next one", async () => {
  const { place, folder, line, resting, world, actor, standing } = start();
  await resting();
  const path = join(folder, "events.jsonl");
  mkdirSync(path); // so that an append fails
  line("test.lost", {});
  await eventually("it failed", () => actor.getSnapshot().matches("pausing"));
  rmSync(path, { recursive: true });
  writeFileSync(path, '{"event":"torn');
  line("test.second", {});
  world.pass(5_010);
  await eventually("it is written", () => readFileSync(path, "utf8").includes("test.second"));
  await resting();
  actor.stop();
  appendFileSync(path, '{"event":"torn');
  const next = startIn(world, journalMachine, {
    ...{ ports: world.ports, id: "t-1", folder, standing, watch: emptyWatch, isKept: true },
  });
  for (const event of ["test.third", "test.fourth"]) {
    next.send({ type: "journal.line", report: { level: "info", event, message: "" }, name: "w", at: 0 });
    await eventually("it is written", () => next.getSnapshot().matches("resting"));
  }
  assert.equal((await events(folder)).map(({ event }) => event), ["test.second", "test.third", "test.fourth"]);
  assert.is(readFileSync(path, "utf8").match(/\n\n/g), null);
  place.remove();
});

test("bug: each process that went on with a log began with an empty line", async () => {
  const { place, folder, line, resting, world, actor, standing } = start();
  line("test.first", {});
  await resting();
  actor.stop();
  const next = startIn(world, journalMachine, {
    ...{ ports: world.ports, id: "t-1", folder, standing, watch: emptyWatch, isKept: true },
  });
  next.send({ type: "journal.line", report: { level: "info", event: "test.second", message: "" }, name: "w", at: 0 });
  await eventually("it is written", () => next.getSnapshot().matches("resting"));
  const lines = readFileSync(join(folder, "events.jsonl"), "utf8").split("\n");
  assert.equal(lines.map((each) => each === "" ? "" : JSON.parse(each).event), ["test.first", "test.second", ""]);
  place.remove();
});

test("bug: a log that could not be read was shown as an empty one", async () => {
  const { place, folder, line, resting } = start();
  assert.equal(await events(folder), [], "there is none yet");
  line("test.line", {});
  await resting();
  const path = join(folder, "events.jsonl");
  const ask = () => Promise.resolve({ status: 200, body: {} });
  const { ports } = makeFakeWorld();
  const routes = adminRoutes({ ports, stateDir: place.path, ask, receiving: new Set() });
  const route = routes["POST /trainings/logs"];
  const answer = async () => (await (route as (body: unknown) => Promise<AdminAnswer>)({ id: "t-1" }));
  mkdirSync(join(place.path, "trainings"));
  renameSync(folder, join(place.path, "trainings", "t-1"));
  assert.is((await answer()).status, 200);
  truncateSync(path.replace(folder, join(place.path, "trainings", "t-1")), 8 * eventsBytesMax + 1);
  const { status, body } = await answer();
  assert.equal([status, (body as { readonly code: string }).code], [500, "unreadable-log"]);
  assert.match((body as { readonly error: string }).error, "events.jsonl");
  place.remove();
});

test("its files are bounded: the older part goes", async () => {
  const { place, folder, line, resting } = start();
  await resting();
  const message = "x".repeat(3_000);
  for (let batch = 0; batch < 10; batch++) {
    for (let each = 0; each < 150; each++) line("test.line", { batch, each }, "info", message);
    await resting();
  }
  const sizes = ["events.jsonl", "events.1.jsonl"].map((name) => join(folder, name)).filter(existsSync)
    .map((path) => statSync(path).size);
  assert.is(sizes.length, 2);
  assert.ok(sizes.every((size) => size < 3 * eventsBytesMax), sizes.join());
  const { length } = await events(folder);
  assert.ok(length > 200 && length < 1_400, `${length}`);
  place.remove();
});

test("an act is answered when it is on disk itself, once", async () => {
  const { place, actor, world, state, standing } = start();
  const answers: unknown[] = [];
  const become = (to: "running" | "cancelled") => {
    const kept = (isKept: boolean) => void answers.push([to, isKept, state().state]);
    actor.send({ type: "journal.standing", standing: { ...standing, state: to }, kept });
  };
  become("running");
  await eventually("it is written", () => answers.length === 1);
  become("running");
  assert.ok(actor.getSnapshot().matches("writing"));
  become("cancelled");
  await eventually("both are written", () => answers.length === 3);
  world.pass(2_000);
  assert.equal(answers, [["running", true, "running"], ["running", true, "running"], ["cancelled", true, "cancelled"]]);
  place.remove();
});

test("a disk that refuses costs lines, which are counted; what became of the training is written again", async () => {
  const { place, folder, line, resting, actor, world, state, standing } = start();
  await resting();
  if (process.getuid?.() === 0) {
    // Root may write everywhere: a folder in the file's place refuses it all the same.
    mkdirSync(join(folder, "events.jsonl"));
  } else chmodSync(folder, 0o500);
  actor.send({ type: "journal.standing", standing: { ...standing, state: "running" } });
  line("test.line", {});
  await eventually("it is said", () => world.reported("journal.unwritten").length === 1);
  assert.is(world.reported("journal.unwritten")[0]?.["dropped"], 1);
  chmodSync(folder, 0o700);
  world.pass(5_010);
  await eventually("it is written", () => state().state === "running");
  place.remove();
});

test.run();
