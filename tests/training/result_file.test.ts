/** The model of a training as its user gets it, on disk. */
import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { type PlatformError, systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors, layoutOf } from "../../actors/learning/mod.ts";
import { writeHeader } from "../../actors/learning/safetensors.ts";
import type { Services } from "../../actors/runtime/ports.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { writeModel } from "../../actors/training/result_file.ts";
import { temporary } from "../support/job_world.ts";
import { nextRound, overriding, placeOf, weightsOf, writeWeights } from "../support/keeping_child.ts";

const test = suite("writeModel()");
const run = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.runPromise(Effect.provide(effect, realServices));
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

type Gate = PromiseWithResolvers<void>;

/** A training after some rounds, in a folder of its own. */
async function trained(folder: string, rounds: number): Promise<string> {
  writeWeights(folder);
  for (let round = 0; round < rounds; round++) await run(nextRound(folder));
  return placeOf(folder).folder;
}

/** Writes as another process does: `begun` is called when its file is there, which gets its bytes after `until`. */
function slowly<A, E>(write: Effect.Effect<A, E, FileSystem>, begun: () => void, until: Promise<void>) {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const open: FileSystem["open"] = (path, options) =>
      Effect.map(files.open(path, options), (handle) => {
        if (options?.flag === "wx") begun();
        const writeAll = (bytes: Uint8Array) => Effect.andThen(Effect.promise(() => until), handle.writeAll(bytes));
        return overriding(handle, { sync: handle.sync, writeAll });
      });
    return yield* Effect.provideService(Effect.result(write), FileSystem, { ...files, open });
  });
}

test("bug: of two writers of one file, one succeeded with its digest, and the file held part of the other's model", async () => {
  const { path, remove } = temporary();
  const [one, other] = [await trained(join(path, "one"), 1), await trained(join(path, "other"), 2)];
  const out = join(path, "model.safetensors");
  const [opened, begun, written] = Array.from({ length: 3 }, () => Promise.withResolvers<void>()) as [Gate, Gate, Gate];
  const first = run(slowly(writeModel(one, out), opened.resolve, begun.promise));
  await opened.promise;
  const second = run(slowly(writeModel(other, out), begun.resolve, written.promise));
  for (const [writer, round] of [[first, 1], [second, 2]] as const) {
    const result = Result.getOrThrow(await writer);
    assert.equal([result.round, result.sha256], [round, sha256(out)], "the file is what its writer says");
    written.resolve();
  }
  assert.equal(readdirSync(path).toSorted(), ["model.safetensors", "one", "other"], "nothing else remains");
  remove();
});

/** Writes a model while something happens before a file is opened. */
const meanwhile = (
  write: ReturnType<typeof writeModel>,
  before: (path: string) => Effect.Effect<void, PlatformError>,
) =>
  Effect.gen(function* () {
    const files = yield* FileSystem;
    const open: FileSystem["open"] = (path, options) => Effect.andThen(before(path), files.open(path, options));
    return yield* Effect.provideService(Effect.result(write), FileSystem, { ...files, open });
  });

test("bug: the model was written in F32 without a word where its layout could not be read for a moment", async () => {
  const { path, remove } = temporary();
  const folder = await trained(path, 1);
  const fault = systemError({ _tag: "Unknown", module: "FileSystem", method: "open", cause: { code: "EIO" } });
  const written = await run(meanwhile(
    writeModel(folder, join(path, "model.safetensors")),
    (path) => path.endsWith("layout.json") ? Effect.fail(fault) : Effect.void,
  ));
  assert.ok(Result.isFailure(written));
  assert.match(written.failure.message, /layout.json/);
  assert.not(existsSync(join(path, "model.safetensors")));
  remove();
});

test("bug: no finished round was found while the only one was replaced by the next", async () => {
  const { path, remove } = temporary();
  const folder = await trained(path, 1);
  const out = join(path, "model.safetensors");
  let isNext = false;
  const written = await run(meanwhile(writeModel(folder, out), (opened) => {
    if (isNext || !opened.endsWith("round-1.safetensors")) return Effect.void;
    isNext = true;
    return Effect.promise(async () => void await run(nextRound(path)));
  }));
  assert.is(Result.getOrThrow(written).round, 2);
  remove();
});

test("bug: values that F16 cannot hold were written as infinities, and the command succeeded", async () => {
  const { path, remove } = temporary();
  writeFileSync(
    weightsOf(path),
    encodeTensors(new Map([["w", { shape: [100_000], values: new Float32Array(100_000).fill(70_000.5) }]])),
  );
  await run(nextRound(path));
  const { folder } = placeOf(path);
  writeFileSync(join(folder, "layout.json"), JSON.stringify({ version: 1, types: { w: "F16" } }));
  const before = readdirSync(path);
  const written = await run(Effect.result(writeModel(folder, join(path, "model.safetensors"))));
  assert.ok(Result.isFailure(written));
  assert.match(written.failure.message, /tensor "w" holds 70000\.\d+, which F16 cannot/);
  assert.equal(readdirSync(path), before);
  remove();
});

test("bug: a pipe or a device was replaced by the model's file", async () => {
  const { path, remove } = temporary();
  const folder = await trained(join(path, "one"), 1);
  const out = join(path, "pipe");
  execFileSync("mkfifo", [out]);
  const written = await run(Effect.result(writeModel(folder, out)));
  assert.ok(lstatSync(out).isFIFO());
  assert.ok(Result.isFailure(written));
  assert.is(written.failure.message, `Cannot write ${out}: it is no file but a fifo`);
  assert.equal(readdirSync(path).toSorted(), ["one", "pipe"], "nothing else remains");
  remove();
});

test("bug: the model was given out without its metadata, which other programs need", async () => {
  const { path, remove } = temporary();
  const metadata = { format: "pt", note: "ä" };
  writeFileSync(
    weightsOf(path),
    Buffer.concat([
      writeHeader([{ name: "w", dtype: "BF16", shape: [100_000] }], metadata),
      new Uint8Array(200_000),
    ]),
  );
  await run(nextRound(path));
  const { folder } = placeOf(path);
  const out = join(path, "model.safetensors");
  const metadataOf = () => Result.getOrThrow(layoutOf(readFileSync(out))).metadata;
  await run(writeModel(folder, out));
  assert.equal(metadataOf(), metadata);
  const { metadata: _, ...before } = JSON.parse(readFileSync(join(folder, "layout.json"), "utf8"));
  writeFileSync(join(folder, "layout.json"), JSON.stringify(before));
  await run(writeModel(folder, out));
  const { tensors } = Result.getOrThrow(layoutOf(readFileSync(out)));
  assert.equal([metadataOf(), tensors[0]?.dtype], [undefined, "BF16"], "an older layout");
  remove();
});

test("a folder without a finished round has no model", async () => {
  const { path, remove } = temporary();
  const written = await run(Effect.result(writeModel(path, join(path, "model.safetensors"))));
  assert.is(Result.isFailure(written) ? written.failure._tag : "written", "NoModel");
  remove();
});

test.run();
