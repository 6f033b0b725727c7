/** The evaluation: streams that open after it has ended. Its rounds are tested with the scheduler's machine. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluationMachine } from "../../actors/training/evaluation.ts";
import { digitsEvaluator } from "../../scripts/executors/evaluator.ts";
import { makeFakeWorld, settle, startUnderParent } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";

const test = suite("evaluation");

test("an update's stream that opens after the time limit is reset", async () => {
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
  });
  await eventually("the held-out rows are read", () => evaluation.state() === "waiting");
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

test.run();
