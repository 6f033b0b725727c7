/** What arrives goes to the training that it is for, also where a member takes part in two. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { sortingPerPeerMax } from "../../actors/scheduler/routing.ts";
import type { StreamProtocol } from "../../transport/port.ts";
import { encodeFileHead, encodePullHeader } from "../../transport/protocols/mod.ts";
import { identityOf, settle } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";
import { configOf, startDaemon } from "../support/scheduler_world.ts";

const test = suite("a scheduler of two trainings");
const self = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";

/** Two trainings with weights of their own, whose trainer is `w` and whose aggregator is `s`. */
async function two() {
  const place = temporary();
  const daemon = await startDaemon(place.path, self);
  const { world, submit, found, training, offer, dispatches, answerTraining, scheduler, live } = daemon;
  const ids = ["t-a", "t-b"];
  const jobs = new Map<string, string>();
  for (const [index, id] of ids.entries()) {
    const { job } = configOf(1, 2);
    const weights = join(place.path, `${id}.safetensors`);
    writeFileSync(weights, encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(index) }]])));
    const model = { weights, type: "image-classification", inputNames: ["x"] };
    // Workers of the existing network name no training.
    const resources = { ...job.resources, foreign: true };
    submit(id, { ...job, model, resources, rounds: { ...job.rounds, keepRounds: 1 } });
    await eventually(`${id} looks for its data set`, () => training(id)?.matches({ finding: "asking" }) === true);
    found();
    for (const peer of ["w", "s"]) {
      // Of the second training it is answered and left alone, until it is known as one of ours.
      if (index > 0) offer(peer);
      answerTraining("ours");
      if (index > 0) live(1_000);
      offer(peer);
    }
    for (const parts of [1, 2]) {
      for (const { peer, spec, accept } of dispatches()) {
        jobs.set(`${id}/${peer}`, spec.job_id);
        accept();
      }
      assert.is(jobs.size, 2 * index + parts);
    }
    assert.ok(training(id)?.matches("running"), JSON.stringify(training(id)?.value));
  }
  const stop = () => {
    scheduler.stop();
    place.remove();
  };
  /** A peer opens a stream; the far end of it, where somebody accepted. */
  const stream = async (peer: string, protocol: StreamProtocol, head?: Uint8Array) => {
    const exchange = `${peer}/${world.asks.length}`;
    world.take("stream.accept");
    scheduler.send({ type: "stream.received", exchange, peer, identity: identityOf(peer), protocol });
    const [accept] = world.take("stream.accept");
    if (accept === undefined) return undefined;
    const { near, far } = streamPair({ near: "scheduler", far: peer }, protocol);
    if (head !== undefined) await Effect.runPromise(far.write(head));
    accept.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    await settle();
    return far;
  };
  return { ...daemon, jobs, stream, stop };
}

/** What comes back on a stream until its end. */
async function received(far: ReturnType<typeof streamPair>["far"] | undefined): Promise<number | "broken"> {
  let bytes = 0;
  for (;;) {
    if (far === undefined) return "broken";
    const chunk = await Effect.runPromise(far.read);
    if (chunk.type === "end") return chunk.outcome === "broken" ? "broken" : bytes;
    bytes += chunk.bytes.length;
  }
}

test("a pull goes to the training whose model it names; one that names another's is reset", async () => {
  const { stream, stop } = await two();
  const pull = async (id: string) => {
    const head = encodePullHeader({ dataset: `hypha:weights/${id}`, index: 4_294_967_296 });
    const far = await stream("w", "/hypha-tensor-stream/pull", head);
    const bytes = received(far);
    if (far !== undefined) await Effect.runPromise(Effect.ignore(far.end));
    return await bytes;
  };
  const sizes = [await pull("t-a"), await pull("t-b")];
  assert.ok(sizes.every((bytes) => typeof bytes === "number" && bytes > 8), sizes.join());
  assert.is(await pull("t-c"), "broken");
  assert.is(await stream("stranger", "/hypha-tensor-stream/pull"), undefined, "it is rejected before it is read");
  stop();
});

test("a member whose streams have no heads takes no place of another", async () => {
  const { stream, stop } = await two();
  for (let count = 0; count < sortingPerPeerMax; count++) {
    assert.not.equal(await stream("w", "/hypha-tensor-stream/pull"), undefined);
  }
  assert.is(await stream("w", "/hypha-tensor-stream/pull"), undefined, "one more is rejected");
  assert.not.equal(await stream("s", "/hypha-tensor-stream/pull"), undefined, "another member's is read");
  stop();
});

test("a push goes to the training that its label names; one of a trainer, or without a label, is reset", async () => {
  const { stream, stop, training, world, say } = await two();
  for (const id of ["t-a", "t-b"]) {
    const run = training(id)?.context.run;
    const job_id = training(id)?.context.training.aggregator?.jobId ?? "";
    const trainer = training(id)?.context.training.trainers["w"]?.jobId ?? "";
    assert.ok(run !== undefined);
    assert.equal(say("w", { job_id: trainer, progress: "update", training: run }), { type: "Ok" });
    assert.equal(say("s", { job_id, progress: "updated", training: run }), { type: "Ok" });
  }
  const label = (id: string, job: string) => ({
    scheduler: self,
    training: id,
    run: training(id)?.context.run?.run ?? 0,
    job,
    round: 1,
  });
  const tensors = encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(5) }]]));
  const job = training("t-b")?.context.training.aggregator?.jobId ?? "";
  const head = encodeFileHead({ size: tensors.length, label: label("t-b", job) });
  const far = await stream("s", "/hypha-tensor-stream/push/2", head);
  assert.ok(far !== undefined);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", tensors));
  await Effect.runPromise(Effect.andThen(far.write(tensors), Effect.andThen(far.write(digest), far.end)));
  await eventually("the round of t-b is kept", () => training("t-b")?.context.model?.checkpoint.record.round === 1);
  assert.is(training("t-a")?.context.model?.checkpoint.record.round, 0);
  assert.equal(
    world.reported("round.finished").map(({ training: of, round }) => [of, round]),
    [["t-b", 1]],
  );
  assert.is(await received(await stream("s", "/hypha-tensor-stream/push", tensors)), "broken");
  assert.is(await stream("w", "/hypha-tensor-stream/push/2", head), undefined);
  stop();
});

test("progress, data and ends of jobs go to the training that they name, or that their job is of", async () => {
  const { say, training, stop, jobs } = await two();
  const [a, b] = ["t-a", "t-b"].map((id) => training(id)?.context);
  const status = { status: { batch_size: 4 } };
  const say4 = (job: string, run: { id: string; run: number } | undefined) =>
    say("w", { job_id: job, progress: status, ...(run === undefined ? {} : { training: run }) });
  const samples = () => ["t-a", "t-b"].map((id) => training(id)?.context.samples);
  assert.not.equal(say4(jobs.get("t-b/w") ?? "", b?.run), "declined");
  assert.equal(samples(), [0, 4]);
  assert.not.equal(say4(jobs.get("t-a/w") ?? "", undefined), "declined");
  assert.equal(samples(), [4, 4]);
  assert.is(say4(jobs.get("t-a/w") ?? "", b?.run), "declined", "another training's job");
  assert.is(say4("00000000-0000-4000-8000-00000000dead", undefined), "declined");
  const slice = (run: typeof a) =>
    say("w", { Data: { dataset: "digits", training: run?.run ?? { id: "t-c", run: 1 } } });
  assert.equal([slice(a), slice(a), slice(b)].map((answer) => JSON.stringify(answer).includes('"index":0')), [
    true,
    false,
    true,
  ]);
  assert.is(slice(undefined), "declined");
  const task_id = b?.training.trainers["w"]?.taskId ?? "";
  say("w", { JobStatus: { task_id, status: { type: "Failed", reason: "test" } } });
  assert.equal([a, b].map((each) => Object.keys(training(each?.id ?? "")?.context.training.trainers ?? {})), [
    ["w"],
    [],
  ]);
  stop();
});

test.run();
