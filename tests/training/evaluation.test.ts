/** The evaluation: streams that open after it has ended. Its rounds are tested with the scheduler's machine. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { handOver } from "../../actors/job/copy.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { type EvaluationInput, evaluationMachine } from "../../actors/training/evaluation.ts";
import {
  EvaluationFailed,
  type Evaluator,
  type MeasuredParameters,
  type Metrics,
} from "../../actors/training/evaluator.ts";
import { digitsEvaluator } from "../../scripts/executors/evaluator.ts";
import { builtinModel } from "../../scripts/executors/model.ts";
import { makeFakeWorld, settle, startUnderParent } from "../support/fake_transport.ts";
import { eventually, openBytes, streamPair, temporary } from "../support/job_world.ts";

const test = suite("evaluation");
const lastRound = 9;
const training = { scheduler: "12D3KooWA7SQJtmVh49Xoi1t8XGnSEvzWyAQrQN4qYw6RCU5hEj7", id: "t-1", run: 2 };

/** An evaluation that holds the model itself, because its scheduler keeps none. */
async function byEvaluator() {
  const folder = temporary();
  const heldOut = join(folder.path, "held_out.csv");
  const rows = readFileSync(new URL("../fixtures/digits.csv", import.meta.url), "utf8").split("\n").slice(0, 20);
  writeFileSync(heldOut, rows.join("\n"));
  const world = makeFakeWorld();
  const evaluation = startUnderParent(world, evaluationMachine, {
    ports: world.ports,
    transport: world.transport,
    heldOut,
    model: { repository: "builtin/mlp-64-32-10", revision: "seed-7" },
    evaluator: digitsEvaluator,
    training,
    lastRound,
  });
  await eventually("the held-out rows are read", () => evaluation.state() === "waiting");
  return { folder, world, evaluation };
}

test("an update's stream that opens after the time limit is reset", async () => {
  const { folder, world, evaluation } = await byEvaluator();
  evaluation.send({ type: "update.offered", exchange: "x", peer: "a" });
  const { replyTo } = world.takeOne("stream.accept");
  world.pass(10_000);
  assert.is(evaluation.state(), "broken");
  let reset = 0;
  const { near } = streamPair({ near: "scheduler", far: "a" });
  const stream = { ...near, abort: () => Effect.sync(() => void (reset += 1)) };
  replyTo.send({ type: "stream.opened", id: "x", stream });
  await settle();
  assert.is(reset, 1);
  folder.remove();
});

test("bug: after a round's result was lost, no later round was evaluated, without a word", async () => {
  const { folder, world, evaluation } = await byEvaluator();
  const model = builtinModel("builtin/mlp-64-32-10", "seed-7");
  assert.ok(Result.isSuccess(model));
  const bytes = encodeTensors(model.success.parameters);
  /** Whether the result of this round was acknowledged. */
  const push = async (round: number) => {
    const exchange = `x${round}`;
    evaluation.send({ type: "update.offered", exchange, peer: "agg" });
    const { replyTo } = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: "agg" }, "/hypha-tensor-stream/push/2");
    replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const file = openBytes(bytes);
    const { scheduler, id, run } = training;
    const label = { scheduler, training: id, run, job: "f4633ad1-6b37-4597-85a6-4e58a2117f5a", round };
    const limits = { ...jobLimits, acknowledgeMs: 5_000 };
    const outcome = await Effect.runPromise(Effect.result(handOver(file, far, limits, label)));
    await settle();
    return Result.isSuccess(outcome);
  };
  assert.ok(await push(1));
  await eventually("it is evaluated", () => evaluation.state() === "waiting");
  assert.not.ok(await push(1), "a repeated one changes nothing");
  await eventually("it waits", () => evaluation.state() === "waiting");
  assert.not.ok(await push(3));
  await eventually("it is over", () => evaluation.state() === "broken");
  evaluation.send({ type: "update.offered", exchange: "x4", peer: "agg" });
  assert.is(world.takeOne("stream.reject").exchange, "x4");
  assert.equal(world.reported("round.evaluated").map(({ round }) => round), [1]);
  assert.equal(evaluation.said.map(({ type }) => type), ["evaluation.ready", "round.evaluated", "evaluation.broken"]);
  const { reason } = evaluation.said.at(-1) as { readonly reason?: string };
  assert.match(reason ?? "", /the result of round 2 did not come/);
  assert.is(world.reported("evaluation.broken").length, 1);
  folder.remove();
});

/** An evaluation by a program. The test says how each measuring ends. */
function byProgram(
  programs: readonly string[],
  model: EvaluationInput["model"] = { parameters: "round-0" },
  more: Partial<Evaluator> = {},
) {
  const world = makeFakeWorld();
  const asked: MeasuredParameters[] = [];
  const ends: ((exit: Effect.Effect<Metrics, EvaluationFailed>) => void)[] = [];
  const measure = (measured: MeasuredParameters) => {
    asked.push(measured);
    return Effect.callback<Metrics, EvaluationFailed>((resume) => void ends.push(resume));
  };
  const evaluation = startUnderParent(world, evaluationMachine, {
    ...{ ports: world.ports, transport: world.transport, heldOut: "rows.csv", model, training, lastRound },
    executor: "mine",
    evaluator: { ...digitsEvaluator, programs, measure, ...more },
  });
  return { world, evaluation, asked, ends };
}

test("a program measures one round at a time, and the newest that waits is next", async () => {
  const { world, evaluation, asked, ends } = byProgram(["mine"]);
  await eventually("it is ready", () => evaluation.state() === "waiting");
  for (const round of [1, 2, 3]) evaluation.send({ type: "parameters.kept", round, path: `round-${round}` });
  await eventually("the first is measured", () => ends.length === 1);
  assert.equal(asked[0], {
    executor: "mine",
    parameters: "round-1",
    heldOut: "rows.csv",
    training: { id: "t-1", run: 2, round: 1 },
  });
  ends[0]?.(Effect.succeed({ accuracy: 0.5, loss: 2 }));
  await eventually("the newest is next", () => ends.length === 2);
  assert.is(asked[1]?.parameters, "round-3");
  ends[1]?.(Effect.succeed({ loss: 1 }));
  await eventually("it waits", () => evaluation.state() === "waiting");
  const lines = world.reported("round.evaluated").map(({ round, accuracy, metrics }) => [round, accuracy, metrics]);
  assert.equal(lines, [[1, 0.5, { accuracy: 0.5, loss: 2 }], [3, undefined, { loss: 1 }]]);
});

test("bug: parameters that were removed before they were measured ended the evaluation; newer ones are measured", async () => {
  const folder = temporary();
  const path = (round: number) => join(folder.path, `round-${round}`);
  const { world, evaluation, asked, ends } = byProgram(["mine"]);
  await eventually("it is ready", () => evaluation.state() === "waiting");
  for (const round of [1, 5]) evaluation.send({ type: "parameters.kept", round, path: path(round) });
  await eventually("the first is measured", () => ends.length === 1);
  ends[0]?.(Effect.fail(new EvaluationFailed({ detail: `no such file: ${path(1)}` })));
  await eventually("the newest is next", () => ends.length === 2);
  assert.is(asked[1]?.parameters, path(5));
  ends[1]?.(Effect.succeed({ accuracy: 1 }));
  await eventually("it waits", () => evaluation.state() === "waiting");
  assert.equal(world.reported("round.evaluated").map(({ round }) => round), [5]);
  evaluation.send({ type: "parameters.kept", round: 6, path: path(6) });
  writeFileSync(path(6), "");
  await eventually("it is measured", () => ends.length === 3);
  ends[2]?.(Effect.fail(new EvaluationFailed({ detail: "it ended with 3" })));
  await eventually("a failure with parameters that are there ends it", () => evaluation.state() === "broken");
  folder.remove();
});

test("bug: where the parameters of the last round were gone, the evaluation waited for newer ones for ever", async () => {
  const { world, evaluation, ends } = byProgram(["mine"]);
  for (const [nth, round] of [lastRound - 1, lastRound].entries()) {
    await eventually("it is ready", () => evaluation.state() === "waiting");
    evaluation.send({ type: "parameters.kept", round, path: "no-such-file" });
    await eventually("it is measured", () => ends.length === nth + 1);
    ends[nth]?.(Effect.fail(new EvaluationFailed({ detail: "no such file" })));
  }
  await eventually("it is over", () => evaluation.state() === "broken");
  assert.match(world.reports.at(-1)?.message ?? "", `the parameters of round ${lastRound} are gone`);
});

test("a program that fails ends the evaluation with its reason", async () => {
  const { world, evaluation, ends } = byProgram(["mine"]);
  // A file that is there.
  evaluation.send({ type: "parameters.kept", round: 1, path: "package.json" });
  await eventually("it is measured", () => ends.length === 1);
  ends[0]?.(Effect.fail(new EvaluationFailed({ detail: "it ended with 3" })));
  await eventually("it is over", () => evaluation.state() === "broken");
  assert.is(world.reported("evaluation.broken").length, 1);
});

test("bug: while the programs were tried in their cell, it ended because its held-out rows took too long", () => {
  const { world, evaluation } = byProgram(["mine"], { parameters: "round-0" }, { check: () => Effect.never });
  world.pass(60_000);
  assert.is(evaluation.state(), "loading");
  world.pass(240_000);
  assert.is(evaluation.state(), "broken");
  assert.match(world.reports.at(-1)?.message ?? "", "trying the evaluating programs takes too long");
});

test("a program that is not there, or a model that the scheduler does not keep, ends it at the start", async () => {
  const starts = [byProgram(["other"]), byProgram(["mine"], { repository: "builtin/mlp-64-10", revision: "seed-1" })];
  for (const { evaluation } of starts) await eventually("it is over", () => evaluation.state() === "broken");
});

test.run();
