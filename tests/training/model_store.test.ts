/** The model store on the simulated disk: what it acknowledges, what it refuses, and what it does while the disk is full. */
import { Effect, Exit, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { FreeSpace } from "../../actors/files/free_space.ts";
import { handOver, saveStream } from "../../actors/job/copy.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { decodeTensors, encodeTensors } from "../../actors/learning/mod.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { Disk } from "../../actors/simulation/disk.ts";
import { makeMemoryDirectory } from "../../actors/simulation/work_directory.ts";
import { modelStoreMachine } from "../../actors/training/model_store.ts";
import { openAgainMs, pullsOfPeerMax, roomAgainMs } from "../../actors/training/model_store_setup.ts";
import type { WeightsSource } from "../../actors/training/repository_weights.ts";
import type { Web } from "../../actors/job/bridge/web_request.ts";
import { memberOf } from "../../pki/member.ts";
import { encodeGrantedPullHeader } from "../../transport/protocols/mod.ts";
import { reportedEachMs } from "../../transport/core/rare_reports.ts";
import type { PushLabel } from "../../transport/protocols/messages.ts";
import { identityOf, makeFakeWorld, settle, startUnderParent } from "../support/fake_transport.ts";
import { withWeb } from "../support/job_bridge.ts";
import { eventually, openWeb, streamPair } from "../support/job_world.ts";

const scheduler = "12D3KooWA7SQJtmVh49Xoi1t8XGnSEvzWyAQrQN4qYw6RCU5hEj7";
const training = { scheduler, id: "t-1", run: 3 };
const member = memberOf(identityOf("agg"));
const folder = "/state/trainings/t-1";
const job = "f4633ad1-6b37-4597-85a6-4e58a2117f5a";
const tensors = (...values: number[]) =>
  encodeTensors(new Map([["w", { shape: [values.length], values: Float32Array.from(values) }]]));
const label = (round: number, over: Partial<PushLabel> = {}): PushLabel => ({
  scheduler,
  training: "t-1",
  run: 3,
  job,
  round,
  ...over,
});

const repository: WeightsSource = {
  repository: "acme/model",
  revision: "0123456789abcdef0123456789abcdef01234567",
  filenames: ["a.safetensors"],
  token: undefined,
  type: "image-classification",
  inputNames: ["x"],
  keep: true,
};

/** A store whose model begins with 1 and 2. */
async function opened(
  weights: Uint8Array = tensors(1, 2),
  options: { freeBytes?: number; disk?: Disk; web?: Web } = {},
) {
  const world = makeFakeWorld();
  const disk = options.disk ?? new Disk({ now: world.ports.now, openDelayMs: () => 0 });
  disk.put("/init.safetensors", weights);
  const space = { freeBytes: Number.POSITIVE_INFINITY, ...options };
  const store = startUnderParent(world, modelStoreMachine, {
    ports: {
      ...world.ports,
      run: (effect, onExit) => {
        const provided = Effect.provide(Effect.provideService(effect, FileSystem, disk.service), realServices).pipe(
          Effect.provideService(FreeSpace, () => Effect.succeed(space.freeBytes)),
        );
        const fiber = Effect.runFork(provided as Effect.Effect<never>);
        fiber.addObserver((exit) => queueMicrotask(() => onExit(exit as Exit.Exit<never, never>)));
        return () => fiber.interruptUnsafe();
      },
    },
    transport: world.transport,
    training,
    weights: options.web === undefined ? "/init.safetensors" : repository,
    web: options.web,
    folder,
    keepRounds: 1,
    rounds: 3,
    outer: { learningRate: 1, momentum: 0.5 },
  });
  await eventually("the model is open or broken", () => store.said.length > 0);
  const facts = { run: 3, slices: null, members: ["a"], samples: 10 };
  let exchanges = 0;
  /** Pushes a result as an aggregator does; whether it was acknowledged. */
  const push = async (bytes: Uint8Array, labelled: PushLabel | undefined, reported = 9) => {
    const exchange = `x${++exchanges}`;
    store.send({ type: "result.offered", exchange, peer: "agg", member, reported, facts });
    const { replyTo } = world.takeOne("stream.accept");
    const protocol = labelled === undefined ? "/hypha-tensor-stream/push" : "/hypha-tensor-stream/push/2";
    const { near, far } = streamPair({ near: "scheduler", far: "agg" }, protocol);
    replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const file = { fd: -1, sizeBytes: bytes.length, read: readerOf(bytes) };
    const limits = { ...jobLimits, acknowledgeMs: 5_000 };
    const outcome = await Effect.runPromise(Effect.result(handOver(file, far, limits, labelled)));
    await settle();
    return Result.isSuccess(outcome);
  };
  /** Pulls a file as a member does. */
  const pull = async (dataset: string, index: number, puller: "trainer" | "aggregator" = "aggregator") => {
    const exchange = `x${++exchanges}`;
    store.send({ type: "pull.offered", exchange, peer: "a", puller });
    const { replyTo } = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: "a" }, "/hypha-tensor-stream/pull/2");
    replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const directory = makeMemoryDirectory("/work");
    const asked = Effect.andThen(far.write(encodeGrantedPullHeader({ dataset, index })), far.end);
    const saved = Effect.andThen(asked, saveStream(far, directory, "file", jobLimits));
    const outcome = await Effect.runPromise(Effect.result(saved as Effect.Effect<number, Error>));
    await settle();
    return Result.isSuccess(outcome) ? valuesOf(directory.files.get("file")) : "refused";
  };
  return { space, world, disk, store, push, pull };
}

function readerOf(bytes: Uint8Array) {
  return (into: Uint8Array, position: number) =>
    Effect.sync(() => {
      const piece = bytes.subarray(position, position + into.length);
      into.set(piece);
      return piece.length;
    });
}

const valuesOf = (
  bytes: Uint8Array | undefined,
) => [...(Result.getOrThrow(decodeTensors(bytes ?? new Uint8Array())).get("w")?.values ?? [])];
const files = (disk: Disk) =>
  Effect.runSync(disk.service.readDirectory(folder)).filter((name) => name !== "layout.json").sort();
const kept = (round: number) =>
  [".json", ".result.safetensors", ".safetensors", ".velocity.safetensors"].map((end) => `round-${round}${end}`);
const indexOf = (round: number) => 4_294_967_296 + round;

const test = suite("modelStoreMachine");

test("a result is acknowledged when its round is on disk; a repeated one is acknowledged and counts once", async () => {
  const { disk, store, push, world } = await opened();
  assert.ok(world.take("serve").some(({ protocol }) => protocol === "/hypha-tensor-stream/pull/2"));
  assert.ok(await push(tensors(0.5, -1), label(1)));
  assert.equal(files(disk), kept(1));
  assert.equal(valuesOf(disk.read(`${folder}/round-1.safetensors`)), [1.5, 1]);
  assert.equal(valuesOf(disk.read(`${folder}/round-1.velocity.safetensors`)), [
    Math.fround(0.5 / 1.5),
    Math.fround(-1 / 1.5),
  ]);
  assert.ok(await push(tensors(0.5, -1), label(1)), "its acknowledgement was lost");
  assert.ok(await push(tensors(1, 1), label(2)));
  assert.equal(valuesOf(disk.read(`${folder}/round-2.safetensors`)), [2.5, 2]);
  assert.equal(store.said.map(({ type }) => type), ["model.opened", "round.kept", "round.kept"]);
});

for (
  const [name, over] of [
    ["another run", { run: 2 }],
    ["another training", { training: "t-2" }],
    ["another scheduler", { scheduler: "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz" }],
    ["a later round", { round: 3 }],
  ] as const
) {
  test(`a result of ${name} is reset, and changes nothing`, async () => {
    const { disk, store, push, world } = await opened();
    assert.not.ok(await push(tensors(1, 1), label(1, over)));
    assert.equal(files(disk), ["round-0.json", "round-0.safetensors"]);
    assert.is(store.said.length, 1);
    assert.is(world.reported("result.refused").length, 1);
    assert.ok(await push(tensors(1, 1), label(1)));
  });
}

test("a full disk pauses the training, said once; it goes on by itself when the result comes again", async () => {
  const { disk, store, push, world } = await opened();
  disk.full = true;
  assert.not.ok(await push(tensors(1, 1), label(1)));
  assert.not.ok(await push(tensors(1, 1), label(1)));
  assert.is(world.reported("training.paused").length, 1);
  assert.equal(store.said.map(({ type }) => type), ["model.opened", "model.paused"]);
  disk.full = false;
  assert.ok(await push(tensors(1, 1), label(1)));
  assert.equal(store.said.map(({ type }) => type), ["model.opened", "model.paused", "round.kept"]);
  assert.is(world.reported("training.resumed").length, 1);
  assert.equal(files(disk), kept(1));
});

test("a training whose rounds have no room is refused before it leases anything", async () => {
  const { disk, store } = await opened(tensors(1, 2), { freeBytes: 47 });
  const [said] = store.said as { readonly type: string; readonly reason?: string }[];
  assert.is(said?.type, "model.broken");
  assert.match(said?.reason ?? "", `not enough disk: need 48 bytes, have 47 bytes at ${folder}`);
  assert.equal(files(disk), []);
  const { store: other } = await opened(tensors(1, 2), { freeBytes: 48 });
  assert.is(other.said[0]?.type, "model.opened");
});

test("no room for the next round pauses the training when it begins, and its result is refused before it is read", async () => {
  const { disk, store, push, world, space } = await opened();
  space.freeBytes = 1_000;
  assert.ok(await push(tensors(1, 1), label(1)));
  assert.equal(world.reported("training.paused"), []);
  let looks = 0;
  Object.defineProperty(space, "freeBytes", { get: () => looks++ === 0 ? 1_000 : 100, configurable: true });
  assert.ok(await push(tensors(1, 1), label(2)), "there was room for this one");
  const [paused] = world.reported("training.paused");
  assert.is(paused?.["round"], 3);
  assert.match(String(paused?.["reason"]), "not enough disk: need ");
  assert.not.ok(await push(tensors(1, 1), label(3)));
  assert.equal(files(disk), kept(2));
  const types = () => store.said.map(({ type }) => type);
  assert.equal(types(), ["model.opened", "round.kept", "round.kept", "model.paused"]);
  Object.defineProperty(space, "freeBytes", { value: 1_000 });
  assert.ok(await push(tensors(1, 1), label(3)));
  assert.equal([world.reported("training.paused").length, world.reported("training.resumed").length], [1, 1]);
  assert.is(types().at(-1), "round.kept", "the last one: the next one needs no room");
});

test("bug: there was room again, the aggregator handed nothing over, and the training stayed paused for ever", async () => {
  const { store, push, world, space } = await opened();
  assert.ok(await push(tensors(1, 1), label(1)));
  space.freeBytes = 1;
  assert.not.ok(await push(tensors(1, 1), label(2)));
  const pauses = () =>
    (store.said as { readonly type: string; readonly isPaused?: boolean }[])
      .filter(({ type }) => type === "model.paused").map(({ isPaused }) => isPaused);
  const pass = async () => {
    world.pass(roomAgainMs);
    await settle();
  };
  await pass();
  assert.equal(pauses(), [true], "there is no room");
  space.freeBytes = 1_000;
  await pass();
  await eventually("it looks again", () => pauses().length === 2);
  assert.equal([pauses(), world.reported("training.resumed").length], [[true, false], 1]);
  await pass();
  assert.ok(await push(tensors(1, 1), label(2)));
  assert.equal([pauses().length, world.reported("training.resumed").length], [2, 1]);
});

test("bug: a paused training whose cause became another one named the former one", async () => {
  const { disk, store, push, world, space } = await opened();
  assert.ok(await push(tensors(1, 1), label(1)));
  const path = `${folder}/round-1.safetensors`;
  const whole = disk.read(path)?.slice() ?? new Uint8Array();
  const hints = () => world.reported("training.paused").map(({ hint }) => String(hint).split(" ")[0]);
  const pass = async () => {
    world.pass(roomAgainMs);
    await settle();
  };
  space.freeBytes = 1;
  assert.not.ok(await push(tensors(1, 1), label(2)));
  await pass();
  assert.equal(hints(), ["Make"], "the cause is the same");
  space.freeBytes = 1_000;
  disk.put(path, whole.subarray(0, whole.length - 1));
  await pass();
  await eventually("the damage is named", () => hints().length > 1);
  assert.equal(hints(), ["Make", "Restore"]);
  assert.match(String(world.reported("training.paused")[1]?.["reason"]), path);
  await pass();
  disk.put(path, whole);
  await pass();
  await eventually("it goes on", () => world.reported("training.resumed").length > 0);
  assert.equal([hints().length, world.reported("training.resumed").length], [2, 1]);
  assert.is(store.said.filter(({ type }) => type === "model.paused").length, 2);
});

test("while an aggregator hands over what cannot be written, the training stays paused, whatever room there is", async () => {
  const { disk, store, push, world } = await opened();
  disk.full = true;
  for (let tries = 0; tries < 4; tries++) {
    assert.not.ok(await push(tensors(1, 1), label(1)));
    world.pass(roomAgainMs - 1_000);
    await settle();
  }
  assert.equal(store.said.map(({ type }) => type), ["model.opened", "model.paused"]);
  assert.is(world.reported("training.paused").length, 1);
});

test("a training that goes on is opened when its next round has room", async () => {
  const { disk, push } = await opened();
  assert.ok(await push(tensors(1, 1), label(1)));
  const paused = opened(tensors(1, 2), { freeBytes: 1, disk });
  const { store, space, world } = await paused;
  assert.equal(store.said.map(({ type }) => type), ["model.paused"]);
  space.freeBytes = 1_000;
  world.pass(openAgainMs);
  await eventually("it is open", () => store.said.some(({ type }) => type === "model.opened"));
});

test("a hub that does not give the weights pauses the training, and gets requests at longer and longer intervals", async () => {
  let asked = 0;
  await withWeb((_, response) => {
    asked++;
    if (asked < 4) response.writeHead(503).end();
    else response.end(tensors(1, 2));
  }, async (hubUrl) => {
    const { store, world } = await opened(tensors(1, 2), { web: { ...openWeb, hubUrl } });
    assert.equal(store.said.map(({ type }) => type), ["model.paused"]);
    assert.match(String(world.reported("training.paused")[0]?.["hint"]), /asks the model hub again/);
    for (const [nth, waitMs] of [openAgainMs, 2 * openAgainMs, 4 * openAgainMs].entries()) {
      world.pass(waitMs - 1);
      assert.equal([store.state(), asked], ["reopening", nth + 1]);
      world.pass(1);
      await eventually("it tried again", () => store.state() !== "opening");
    }
    assert.equal(store.said.map(({ type }) => type), ["model.paused", "model.opened"]);
  });
});

test("bug: a training whose model was opened went on seconds later, for room that it had, and kept a pause until then", async () => {
  const { disk, push: pushFirst } = await opened();
  assert.ok(await pushFirst(tensors(1, 1), label(1)));
  const { store, space, world, push } = await opened(tensors(1, 2), { freeBytes: 1, disk });
  space.freeBytes = 1_000;
  world.pass(openAgainMs);
  await eventually("it is open", () => store.said.some(({ type }) => type === "model.opened"));
  assert.is(world.reported("training.resumed").length, 1);
  space.freeBytes = 1;
  assert.not.ok(await push(tensors(1, 1), label(2)));
  assert.is(world.reported("training.paused").length, 2, "the new cause is reported");
  space.freeBytes = 1_000;
  world.pass(roomAgainMs);
  await eventually("there is room", () => world.reported("training.resumed").length > 1);
});

test("a result that does not fit is its aggregator's fault, and nothing is kept", async () => {
  const { disk, store, push } = await opened();
  assert.not.ok(await push(tensors(1, 1, 1), label(1)));
  const said = store.said.at(-1) as { readonly type: string; readonly peer?: string; readonly reason?: string };
  assert.equal([said.type, said.peer], ["result.rejected", "agg"]);
  assert.match(said.reason ?? "", /another shape/);
  assert.equal(files(disk).filter((name) => /^round/.test(name)), ["round-0.json", "round-0.safetensors"]);
});

const endless = (bytes: Uint8Array) => bytes.map((byte, at) => at >= bytes.length - 4 ? 0xff : byte);
const damages: readonly (readonly [name: string, file: string, damaged: (bytes: Uint8Array) => Uint8Array])[] = [
  ["parameters that are cut short", "round-1.safetensors", (bytes) => bytes.subarray(0, bytes.length - 1)],
  ["empty parameters", "round-1.safetensors", () => new Uint8Array()],
  ["parameters of another model", "round-1.safetensors", () => tensors(1, 2, 3)],
  ["parameters with a value that is not finite", "round-1.safetensors", endless],
  ["a velocity that is cut short", "round-1.velocity.safetensors", (bytes) => bytes.subarray(0, bytes.length - 1)],
  ["a velocity without the tensor", "round-1.velocity.safetensors", () => encodeTensors(new Map())],
];
for (const [name, file, damaged] of damages) {
  test(`bug: ${name} of the scheduler's own round were blamed on the aggregator's next result`, async () => {
    const { disk, store, push, world } = await opened();
    assert.ok(await push(tensors(1, 1), label(1)));
    const path = `${folder}/${file}`;
    const whole = disk.read(path)?.slice() ?? new Uint8Array();
    disk.put(path, damaged(whole));
    assert.not.ok(await push(tensors(1, 1), label(2)));
    assert.not.ok(await push(tensors(1, 1), label(2)));
    const types = () => store.said.map(({ type }) => type);
    assert.equal(types(), ["model.opened", "round.kept", "model.paused"]);
    const [paused, ...more] = world.reported("training.paused");
    assert.is(more.length, 0);
    assert.match(String(paused?.["reason"]), `${path}: `);
    assert.match(String(paused?.["hint"]), /Restore .*resume/);
    world.pass(roomAgainMs);
    await settle();
    assert.equal(types().length, 3, "that there is room mends no file");
    disk.put(path, whole);
    assert.ok(await push(tensors(1, 1), label(2)));
    assert.equal(types().at(-1), "round.kept");
    assert.equal(files(disk), kept(2));
    assert.is(world.reported("training.resumed").length, 1);
  });
}

test("bug: an aggregator handed over results of rounds that it had not reported, up to the end of the training", async () => {
  const { disk, store, push } = await opened();
  assert.not.ok(await push(tensors(1, 1), label(1), 0));
  assert.equal([files(disk).length, store.said.length], [2, 1]);
  assert.ok(await push(tensors(1, 1), undefined, 0), "one of the existing network reports afterwards");
  assert.not.ok(await push(tensors(1, 1), undefined, 0));
  assert.ok(await push(tensors(1, 1), label(2), 2));
  assert.equal(files(disk), kept(2));
});

test("an aggregator of the existing network sends once: a lost result breaks the model", async () => {
  const { disk, store, push } = await opened();
  assert.ok(await push(tensors(1, 1), undefined));
  assert.equal(files(disk), kept(1));
  disk.full = true;
  assert.not.ok(await push(tensors(1, 1), undefined));
  assert.is(store.said.at(-1)?.type, "model.broken");
});

test("a push of our own that breaks off in its head is sent again, and breaks nothing", async () => {
  const { store, push, world } = await opened();
  store.send({
    type: "result.offered",
    exchange: "y",
    peer: "agg",
    member,
    reported: 9,
    facts: { run: 3, slices: null, members: [], samples: 0 },
  });
  const { near, far } = streamPair({ near: "scheduler", far: "agg" }, "/hypha-tensor-stream/push/2");
  world.takeOne("stream.accept").replyTo.send({ type: "stream.opened", id: "y", stream: near });
  await Effect.runPromise(Effect.andThen(far.write(new Uint8Array(5)), far.abort("gone")));
  await settle();
  assert.is(store.said.length, 1);
  assert.ok(await push(tensors(1, 1), label(1)));
});

test("what an aggregator that is gone was sending is refused, before its stream is accepted and after; then its successor's counts", async () => {
  const { store, push, world } = await opened();
  const settled = () => store.said.filter(({ type }) => type === "model.settled").length;
  const facts = { run: 3, slices: null, members: [], samples: 0 };
  const offer = (exchange: string) =>
    store.send({ type: "result.offered", exchange, peer: "agg", member, reported: 9, facts });
  store.send({ type: "aggregator.gone" });
  assert.is(settled(), 1, "there is none");
  for (const protocol of [undefined, "/hypha-tensor-stream/push", "/hypha-tensor-stream/push/2"] as const) {
    const before = settled();
    offer("first");
    offer("second");
    const { replyTo } = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: "agg" }, protocol ?? "/hypha-tensor-stream/push/2");
    const accepted = () => replyTo.send({ type: "stream.opened", id: "first", stream: near });
    if (protocol !== undefined) {
      accepted();
      await Effect.runPromise(far.write(new Uint8Array(5)));
      await settle();
    }
    store.send({ type: "aggregator.gone" });
    assert.equal(world.take("stream.reject").map(({ exchange }) => exchange), ["second"]);
    if (protocol === undefined) accepted();
    await eventually("it is settled", () => settled() === before + 1);
    const sent = await Effect.runPromise(Effect.result(far.write(new Uint8Array(5))));
    assert.ok(Result.isFailure(sent), `${protocol}: its stream is reset`);
  }
  assert.not.ok(store.said.some(({ type }) => type === "model.broken"), "another one makes the round");
  assert.ok(await push(tensors(1, 1), label(1)));
});

test("serves the newest round to members, and velocity from round 1 on", async () => {
  const { push, pull } = await opened();
  assert.equal(await pull("hypha:weights/t-1", indexOf(0)), [1, 2]);
  assert.is(await pull("hypha:velocity/t-1", indexOf(0)), "refused");
  assert.ok(await push(tensors(3, 3), label(1)));
  assert.equal(await pull("hypha:weights/t-1", indexOf(1)), [4, 5]);
  assert.equal(await pull("hypha:velocity/t-1", indexOf(1)), [2, 2]);
  assert.equal(await pull("hypha:result/t-1", indexOf(1)), [3, 3]);
  assert.equal(await pull("hypha:weights/t-1", indexOf(1), "trainer"), [4, 5]);
  for (const dataset of ["hypha:velocity/t-1", "hypha:result/t-1"]) {
    assert.is(await pull(dataset, indexOf(1), "trainer"), "refused", "bug: velocity was served to each member");
  }
  for (
    const [dataset, index] of [["hypha:weights/t-1", indexOf(0)], ["hypha:weights/t-2", indexOf(1)], [
      "digits",
      0,
    ]] as const
  ) {
    assert.is(await pull(dataset, index), "refused", `${dataset} ${index}`);
  }
});

test("bug: one member could hold all places for pulls of a model", async () => {
  const { store, world } = await opened();
  const offer = (peer: string, at: number) =>
    store.send({ type: "pull.offered", exchange: `${peer}${at}`, peer, puller: "trainer" });
  for (let at = 0; at < pullsOfPeerMax + 3; at++) offer("a", at);
  assert.is(world.take("stream.accept").length, pullsOfPeerMax);
  assert.is(world.take("stream.reject").length, 3);
  offer("b", 0);
  assert.is(world.take("stream.accept").length, 1);
});

test("bug: a member's refused pulls and results wrote a line each", async () => {
  const { push, pull, world } = await opened();
  for (let nth = 0; nth < 3; nth++) {
    assert.is(await pull("digits", nth), "refused");
    assert.not.ok(await push(tensors(1, 1), label(3)));
  }
  const untold = (event: string) => world.reported(event).map((fields) => fields["untold"]);
  assert.equal([untold("model.unserved"), untold("result.refused")], [[0], [0]]);
  world.pass(reportedEachMs);
  await pull("digits", 0);
  await push(tensors(1, 1), label(3));
  assert.equal([untold("model.unserved"), untold("result.refused")], [[0, 2], [0, 2]]);
});

test("weights that cannot be read break it at once", async () => {
  const { store } = await opened(new Uint8Array(3));
  assert.is(store.said[0]?.type, "model.broken");
});
test.run();
