// Whole GPUs for amounts of GPU memory: none serves two jobs, whatever is asked, accepted and given back.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault } from "../../actors/config/cell_config.ts";
import type { Cell } from "../../actors/job/cell/cell.ts";
import { chooseGpus, gpuMemory } from "../../actors/worker/gpus.ts";
import { identityOf } from "../support/fake_transport.ts";
import { startWorker, trainSpec } from "../support/worker_world.ts";

const test = suite("whole GPUs");

const choices: [free: readonly number[], gb: number, chosen: readonly number[] | undefined][] = [
  [[24, 24], 0, []],
  [[24, 24], 10, [0]],
  [[48, 24], 24, [1]],
  [[48, 24], 25, [0]],
  [[24, 48, 24], 60, [1, 0]],
  [[24, 24], 48, [1, 0]],
  [[24, 24], 49, undefined],
  [[], 1, undefined],
  [[24], Number.NaN, []],
];
for (const [free, gb, chosen] of choices) {
  test(`of ${free.join(" and ") || "no"} GB, ${gb} GB need ${chosen?.length ?? "more"}`, () => {
    const gpus = new Map(free.entries());
    assert.equal(chooseGpus(gpus, gb), chosen);
    assert.ok(chosen === undefined || !(gpuMemory(gpus, chosen) < gb));
  });
}

const cell: Cell = { level: "full", user: "per-job", cgroups: [], disk: "measured", chain: "whole", notes: [] };
const tables = [24, 16, 24].map((memory, index) => ({ devices: [`/dev/gpu${index}`], memory }));
const settings = { ...cellDefault, gpu: tables, gpuCommon: { devices: ["/dev/common"] } };
const resources = { cpu: 100, gpu: 64, memory: 100, storage: 100 };
const withGpus = (usable: readonly number[], more: object = {}, strategy: "whole" | "flexible" = "flexible") =>
  startWorker(strategy, identityOf("s"), {
    prepared: { cell, gpus: { usable, problems: usable.length < 3 ? ["GPU 1 is broken"] : [] } },
    more: { cell: settings, resources, ...more },
  });

const reasons = ({ reported }: ReturnType<typeof withGpus>["world"]) =>
  reported("worker.gpu").map(({ reason }) => String(reason));

test("a job gets the devices of its whole GPUs, and their memory is offered", () => {
  const { world, jobs, ask, offers, say } = withGpus([0, 1, 2]);
  ask("s", { gpu: 10 });
  world.pass(200);
  const [offer] = offers();
  assert.is(offer?.resources.gpu, 16, "the smallest that has 10 GB, whole");
  say("s", { RenewLease: { id: offer?.id ?? "" } });
  say("s", { DispatchJob: { id: "task-1", spec: trainSpec() } });
  assert.equal(jobs.inputs[0]?.cell?.config.devices, ["/dev/common", "/dev/gpu1"]);
  ask("s", { gpu: 0 });
  world.pass(200);
  const [without] = offers();
  say("s", { RenewLease: { id: without?.id ?? "" } });
  say("s", { DispatchJob: { id: "task-2", spec: trainSpec("job-2") } });
  assert.equal(jobs.inputs[1]?.cell?.config.devices, [], "a job that leased no GPU has no device");
});

test("no GPU serves two jobs, though its memory would suffice for both", () => {
  const { world, ask, offers, say, actor } = withGpus([0, 1, 2]);
  const leased = () => Object.values(actor.getSnapshot().context.book.leases).flatMap(({ gpus }) => gpus);
  for (const gpu of [4, 4, 4, 4]) {
    ask("s", { gpu, cpu: 1 });
    world.pass(200);
    for (const { id } of offers()) say("s", { RenewLease: { id } });
  }
  assert.equal(leased().toSorted(), [0, 1, 2], "the fourth gets none");
  // The leases lapse, and their GPUs are free again.
  world.pass(11_000);
  ask("s", { gpu: 30, cpu: 1 });
  world.pass(200);
  for (const { id } of offers()) say("s", { RenewLease: { id } });
  assert.is(leased().length, 2);
});

test("of offers that reserve nothing the first gets the GPU, and the second fails", () => {
  const { world, ask, offers, say, isRenewed, actor } = withGpus([0], { resources: { ...resources, gpu: 24 } });
  // Both leave an offer unaccepted, so that their next ones reserve nothing.
  for (const from of ["a", "b"]) {
    ask(from, { gpu: 24 });
    world.pass(1_000);
  }
  offers();
  ask("a", { gpu: 24 });
  ask("b", { gpu: 24 });
  world.pass(200);
  const both = offers();
  assert.equal(both.map(({ to }) => to).toSorted(), ["a", "b"]);
  const renewed = both.map(({ to, id }) => isRenewed(say(identityOf(to), { RenewLease: { id } }, "scheduler")));
  assert.equal(renewed, [true, false]);
  assert.equal(Object.values(actor.getSnapshot().context.book.leases).map(({ gpus }) => gpus), [[0]]);
});

test("a GPU that cannot be used is not offered, and the log says why", () => {
  const { world, ask, offers } = withGpus([0], {}, "whole");
  ask("s", { gpu: 1 });
  world.pass(200);
  assert.is(offers()[0]?.resources.gpu, 24, "of 64");
  assert.ok(reasons(world).includes("GPU 1 is broken"));
});

test("bug: GPU memory was offered where no job could reach a GPU", () => {
  const { world, ask, offers } = withGpus([], { cell: cellDefault });
  ask("s", { gpu: 1 });
  world.pass(200);
  assert.equal(offers(), []);
  assert.ok(reasons(world).some((reason) => /^no table \[\[cell.gpu\]\]/.test(reason)));
  ask("s", { gpu: 0 });
  world.pass(200);
  assert.is(offers().length, 1);
});

test.run();
