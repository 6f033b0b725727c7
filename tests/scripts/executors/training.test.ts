/** The parameters that the training executor fetches from a scheduler: their element types, and the digest that it sends. */
import { Effect, Result } from "effect";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BridgeClient } from "../../../actors/executor/bridge_client.ts";
import {
  castTensors,
  decodeTensors,
  type DType,
  encodeTensors,
  type NamedTensors,
  openTensorFile,
} from "../../../actors/learning/mod.ts";
import { applyUpdate, builtinModel } from "../../../scripts/executors/model.ts";
import { runTraining } from "../../../scripts/executors/training.ts";
import type { JobSpec } from "../../../transport/protocols/messages.ts";
import { temporary } from "../../support/job_world.ts";
import { trainSpec } from "../../support/train_spec.ts";

const test = suite("the model that runTraining() begins with");

const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const digits = fileURLToPath(new URL("../../fixtures/digits.csv", import.meta.url));
const model = Result.getOrThrow(builtinModel("builtin/mlp-64-10", "seed-7"));

/** A job whose weights a scheduler serves. */
function jobSpec(): JobSpec {
  const spec = trainSpec({ job: "f4633ad1-6b37-4597-85a6-4e58a2117f5a", scheduler: peer, aggregator: peer });
  if (spec.executor.class !== "train") throw new Error("it is no job that trains");
  const { config } = spec.executor;
  const artifact = { type: "scheduler", peer, dataset: "hypha:weights/t-1" } as const;
  return { ...spec, executor: { ...spec.executor, config: { ...config, model: { ...config.model, artifact } } } };
}

/** The file of parameters with one tensor in another type. */
function weights(parameters: NamedTensors, name: string, type: DType): Uint8Array {
  const bytes = encodeTensors(parameters);
  const pieces: Uint8Array[] = [];
  Effect.runSync(Effect.gen(function* () {
    const file = yield* openTensorFile<never>({
      sizeBytes: bytes.length,
      read: (into, at) =>
        Effect.sync(() => {
          const piece = bytes.subarray(at, at + into.length);
          into.set(piece);
          return piece.length;
        }),
    });
    const typeOf = (tensor: { readonly name: string; readonly dtype: DType }) =>
      tensor.name === name ? type : tensor.dtype;
    yield* castTensors(file, typeOf, (piece) => Effect.sync(() => void pieces.push(piece.slice())));
  }));
  return new Uint8Array(Buffer.concat(pieces));
}

/** Trains for a round, whose result is the trainer's own difference; gives the digest that was sent, and the due one. */
async function oneRound(bytes: Uint8Array) {
  const { path: workDir, remove } = temporary();
  const files = { weights: join(workDir, "weights"), slice: join(workDir, "slice") };
  const sent: (string | undefined)[] = [];
  const bridge = {
    fetch: (reference: { readonly dataset: string }) => {
      if (reference.dataset === "digits") copyFileSync(digits, files.slice);
      else writeFileSync(files.weights, bytes);
      return Promise.resolve([{ path: reference.dataset === "digits" ? "slice" : "weights", size: 1 }]);
    },
    receive: (_: unknown, load: (event: { path: string; round: number }) => Promise<unknown>) =>
      Promise.resolve({
        next: () => load({ path: "result", round: 1 }),
        waiting: () => Promise.resolve(undefined),
        close: () => {},
      }),
    send: (_: unknown, path: string) => Promise.resolve(copyFileSync(join(workDir, path), join(workDir, "result"))),
    report: (progress: unknown, parameters?: string) => {
      if (progress === "update-received") sent.push(parameters);
      const isStatus = typeof progress === "object" && progress !== null && "status" in progress;
      if (isStatus) return Promise.resolve({ type: "ScheduleUpdate", counter: 1 });
      return Promise.resolve({ type: progress === "update-received" ? "Done" : "Ok" });
    },
  };
  try {
    const options = { spec: jobSpec(), workDir, report: () => {} };
    await runTraining({ ...options, bridge: bridge as unknown as BridgeClient });
    const result = Result.getOrThrow(decodeTensors(readFileSync(join(workDir, "result"))));
    const after = encodeTensors(Result.getOrThrow(applyUpdate(model, result)).parameters);
    return { sent, due: createHash("sha256").update(after).digest("hex") };
  } finally {
    remove();
  }
}

test("bug: a digest of parameters in F32 was sent where the scheduler keeps them in F64", async () => {
  const same = await oneRound(encodeTensors(model.parameters));
  assert.equal(same.sent, [same.due], "F32 is digested");
  const { sent } = await oneRound(weights(model.parameters, "layers.0.bias", "F64"));
  assert.equal(sent, [undefined]);
});

test("bug: an integer tensor of the weights was left out without a word", async () => {
  const more = new Map([...model.parameters, ["step", { shape: [1], values: Float32Array.of(0) }]]);
  const bytes = weights(more, "step", "I32");
  await oneRound(bytes).then(
    () => assert.unreachable(),
    (error) => assert.match(String(error), /TrainingFailed: Cannot train tensor "step": it is I32/),
  );
});

test.run();
