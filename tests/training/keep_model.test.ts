/** The model on disk: what is there after each round, after kill -9 at every moment of one, and after files were damaged. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Services } from "../../actors/runtime/ports.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { newestCheckpoint } from "../../actors/training/checkpoints.ts";
import { openModel } from "../../actors/training/keep_model.ts";
import { nextRound, overriding, placeOf, weightsOf, writeWeights } from "../support/keeping_child.ts";
import { temporary } from "../support/job_world.ts";

const run = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.runPromise(Effect.provide(effect, realServices));
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
const names = (folder: string) => readdirSync(join(folder, "training")).sort();
const kept = (round: number) => [
  "layout.json",
  ...[".json", ".result.safetensors", ".safetensors", ".velocity.safetensors"].map((end) => `round-${round}${end}`),
];

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const { path, remove } = temporary();
  try {
    writeWeights(path);
    await use(path);
  } finally {
    remove();
  }
}

const test = suite("keepRound()");

test("a round is parameters, velocity and record; of older ones nothing is left with keep_rounds = 1", () =>
  inFolder(async (folder) => {
    const opened = await run(openModel(placeOf(folder), { weights: weightsOf(folder), run: 4 }));
    assert.equal([opened.record.round, opened.record.run, opened.record.velocity], [0, 4, null]);
    assert.equal(names(folder), ["layout.json", "round-0.json", "round-0.safetensors"]);
    assert.ok(readFileSync(opened.parameters).equals(readFileSync(weightsOf(folder))), "F32 is kept as it is");
    const first = await run(nextRound(folder));
    const second = await run(nextRound(folder));
    assert.is(second.record.round, 2);
    assert.equal(names(folder), kept(2));
    assert.equal([second.record.parameters.sha256, second.record.velocity?.sha256], [
      sha256(second.parameters),
      sha256(second.velocity),
    ]);
    assert.is.not(first.record.parameters.sha256, second.record.parameters.sha256);
    const again = await run(openModel(placeOf(folder), { weights: weightsOf(folder), run: 5 }));
    assert.equal(again, second, "what is opened later is the same");
  }));

const child = fileURLToPath(new URL("../support/keeping_child.ts", import.meta.url));
const flags = "Deno" in globalThis ? ["run", "-A", "--no-check", "-q"] : ["--no-warnings"];
const moments: readonly (readonly [operation: string, name: string, newest: number])[] = [
  ["write", "incoming.safetensors", 1],
  ["write", "round-2.safetensors", 1],
  ["sync", "round-2.velocity.safetensors", 1],
  ["rename", "round-2.safetensors", 1],
  ["rename", "round-2.velocity.safetensors", 1],
  ["rename", "round-2.result.safetensors", 1],
  ["write", "round-2.json", 1],
  ["rename", "round-2.json", 1],
];
for (const [operation, name, newest] of moments) {
  test(`kill -9 in mid-checkpoint, at the ${operation} of ${name}: the round before is whole, and goes on to the same bits`, () =>
    inFolder(async (folder) => {
      const args = [...flags, child, folder, operation, name];
      const { signal, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 });
      assert.is(signal, "SIGKILL", stderr);
      const found = await run(newestCheckpoint(placeOf(folder).folder));
      assert.is(found?.record.round, newest);
      assert.is(found?.record.parameters.sha256, sha256(found?.parameters ?? ""));
      const second = await run(nextRound(folder));
      assert.is(second.record.round, 2);
      assert.equal(names(folder), kept(2), "nothing of the dead process is left");
      const { path: other, remove } = temporary();
      try {
        writeWeights(other);
        await run(nextRound(other));
        const undisturbed = await run(nextRound(other));
        assert.equal(second.record.parameters, undisturbed.record.parameters);
        assert.equal(second.record.velocity, undisturbed.record.velocity);
      } finally {
        remove();
      }
    }));
}

test("a full disk at any write of a round fails it, changes nothing, and the round is kept once there is room", () =>
  inFolder(async (folder) => {
    const first = await run(nextRound(folder));
    for (let room = 0;; room++) {
      let writes = 0;
      const limited = Effect.gen(function* () {
        const files = yield* FileSystem;
        const full = systemError({ _tag: "Unknown", module: "FileSystem", method: "write", cause: { code: "ENOSPC" } });
        const write = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.suspend((): Effect.Effect<A, E | typeof full, R> => writes++ < room ? effect : Effect.fail(full));
        const service: FileSystem = {
          ...files,
          open: (path, options) =>
            Effect.map(
              options?.flag === "wx" ? write(files.open(path, options)) : files.open(path, options),
              (handle): File =>
                overriding(handle, {
                  sync: options?.flag === "wx" ? write(handle.sync) : handle.sync,
                  writeAll: (bytes) => write(handle.writeAll(bytes)),
                }),
            ),
        };
        return yield* Effect.result(Effect.provideService(nextRound(folder), FileSystem, service));
      });
      const outcome = await run(limited);
      if (Result.isSuccess(outcome)) {
        assert.is(outcome.success.record.round, 2);
        assert.ok(room > 10, `${room} writes`);
        break;
      }
      assert.match(outcome.failure.message, /disk is full/);
      const newest = await run(newestCheckpoint(placeOf(folder).folder));
      assert.equal(newest?.record, first.record, `after ${room} writes`);
    }
    assert.equal(names(folder), kept(2));
  }));

const damages: readonly (readonly [name: string, damage: (folder: string) => void])[] = [
  ["a record that is cut short", (folder) => truncateSync(join(folder, "round-2.json"), 40)],
  ["a record of another round", (folder) => {
    writeFileSync(join(folder, "round-2.json"), readFileSync(join(folder, "round-1.json")));
  }],
  ["parameters that are cut short", (folder) => truncateSync(join(folder, "round-2.safetensors"), 1_000)],
  ["one wrong octet of the velocity", (folder) => {
    const path = join(folder, "round-2.velocity.safetensors");
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(path, bytes);
  }],
  ["no velocity", (folder) => rmSync(join(folder, "round-2.velocity.safetensors"))],
  ["parameters of a tebibyte", (folder) => truncateSync(join(folder, "round-2.safetensors"), 2 ** 40)],
  ["parameters that are a link to an endless file", (folder) => {
    replace(join(folder, "round-2.safetensors"), (path) => symlinkSync("/dev/zero", path));
  }],
  ["a velocity that is a pipe", (folder) => {
    replace(join(folder, "round-2.velocity.safetensors"), (path) => void execFileSync("mkfifo", [path]));
  }],
  ["a velocity that is a folder", (folder) => {
    replace(join(folder, "round-2.velocity.safetensors"), (path) => mkdirSync(path));
  }],
  ["a record that is a link to an endless file", (folder) => {
    replace(join(folder, "round-2.json"), (path) => symlinkSync("/dev/zero", path));
  }],
  ["a record of a tebibyte", (folder) => truncateSync(join(folder, "round-2.json"), 2 ** 40)],
  ["a record that claims more than there is", (folder) => {
    const record = JSON.parse(readFileSync(join(folder, "round-2.json"), "utf8"));
    record.parameters.sizeBytes = Number.MAX_SAFE_INTEGER;
    writeFileSync(join(folder, "round-2.json"), JSON.stringify(record));
  }],
  ["parameters of the round before", (folder) => {
    writeFileSync(join(folder, "round-2.safetensors"), readFileSync(join(folder, "round-1.safetensors")));
  }],
];

function replace(path: string, make: (path: string) => void): void {
  rmSync(path);
  make(path);
}

for (const [name, damage] of damages) {
  test(`${name}: the round before counts`, () =>
    inFolder(async (folder) => {
      const place = { ...placeOf(folder), keepRounds: 3 };
      await run(nextRound(folder));
      const copy = readdirSync(place.folder).filter((each) => each.startsWith("round-1"))
        .map((each) => [each, readFileSync(join(place.folder, each))] as const);
      await run(nextRound(folder));
      for (const [each, bytes] of copy) writeFileSync(join(place.folder, each), bytes);
      assert.is((await run(newestCheckpoint(place.folder)))?.record.round, 2);
      damage(place.folder);
      const opened = await run(openModel(place, { weights: weightsOf(folder), run: 2 }));
      assert.is(opened.record.round, 1);
      assert.not.ok(existsSync(join(place.folder, "round-2.json")));
    }));
}

const unreadable: readonly (readonly [name: string, wrong: string])[] = [
  ...["round-2.json", "round-2.safetensors", "round-2.velocity.safetensors", "training"].map((name) =>
    [name, "a finished round was removed"] as const
  ),
  ["init.safetensors", "a training failed"],
];
for (const [name, wrong] of unreadable) {
  test(`bug: ${wrong} because ${name} could not be read for a moment`, () =>
    inFolder(async (folder) => {
      await run(nextRound(folder));
      await run(nextRound(folder));
      const before = names(folder);
      const fault = systemError({ _tag: "Unknown", module: "FileSystem", method: "open", cause: { code: "EIO" } });
      const failing = Effect.gen(function* () {
        const files = yield* FileSystem;
        const at = <A, E, R>(path: string, effect: Effect.Effect<A, E, R>) =>
          path.endsWith(name) ? Effect.fail(fault) : effect;
        const service: FileSystem = {
          ...files,
          open: (path, options) => at(path, files.open(path, options)),
          readDirectory: (path, options) => at(path, files.readDirectory(path, options)),
        };
        const opening = openModel(placeOf(folder), { weights: weightsOf(folder), run: 3 });
        return yield* Effect.result(Effect.provideService(opening, FileSystem, service));
      });
      const outcome = await run(failing);
      assert.ok(Result.isFailure(outcome));
      assert.is(outcome.failure._tag, "CheckpointFailed", "another try may succeed");
      assert.match(outcome.failure.message, name);
      assert.equal(names(folder), before);
      const opened = await run(openModel(placeOf(folder), { weights: weightsOf(folder), run: 3 }));
      assert.is(opened.record.round, 2);
    }));
}

test("bug: a training whose only round was damaged lost all of its files, and began at round 0 without a word", () =>
  inFolder(async (folder) => {
    await run(nextRound(folder));
    truncateSync(join(folder, "training", "round-1.velocity.safetensors"), 10);
    const before = names(folder);
    const outcome = await run(Effect.result(openModel(placeOf(folder), { weights: weightsOf(folder), run: 2 })));
    assert.ok(Result.isFailure(outcome));
    assert.is(outcome.failure._tag, "WeightsRefused");
    assert.match(outcome.failure.message, /round 1 .* damaged.*move that folder away/);
    assert.equal(names(folder), before);
  }));

test("weights that are gone are refused: no other try finds them", () =>
  inFolder(async (folder) => {
    rmSync(weightsOf(folder));
    const outcome = await run(Effect.result(openModel(placeOf(folder), { weights: weightsOf(folder), run: 2 })));
    assert.is(Result.isFailure(outcome) ? outcome.failure._tag : "opened", "WeightsRefused");
  }));

test("a round of another training is refused, and not removed", () =>
  inFolder(async (folder) => {
    await run(nextRound(folder));
    const { path: other, remove } = temporary();
    try {
      writeWeights(other);
      const weights = readFileSync(weightsOf(other));
      weights[weights.length - 1] = (weights.at(-1) ?? 0) ^ 1;
      writeFileSync(weightsOf(other), weights);
      await run(nextRound(other));
      await run(nextRound(other));
      for (const name of readdirSync(placeOf(other).folder).filter((each) => each.startsWith("round-2"))) {
        copyFileSync(join(placeOf(other).folder, name), join(placeOf(folder).folder, name));
      }
    } finally {
      remove();
    }
    const before = names(folder);
    const outcome = await run(Effect.result(openModel(placeOf(folder), { weights: weightsOf(folder), run: 2 })));
    assert.ok(Result.isFailure(outcome));
    assert.match(outcome.failure.message, /holds round 2 of a training that began with other weights/);
    assert.equal(names(folder), before);
  }));

test("refuses to go on with other weights, and touches nothing", () =>
  inFolder(async (folder) => {
    await run(nextRound(folder));
    const before = names(folder);
    writeFileSync(weightsOf(folder), readFileSync(join(folder, "training", "round-1.safetensors")));
    const outcome = await run(Effect.result(openModel(placeOf(folder), { weights: weightsOf(folder), run: 2 })));
    assert.ok(Result.isFailure(outcome));
    assert.is(outcome.failure._tag, "WeightsRefused");
    assert.match(outcome.failure.message, /holds round 1 .* other weights/);
    assert.equal(names(folder), before);
  }));

const strange: readonly (readonly [name: string, bytes: Uint8Array, detail: RegExp])[] = [
  ["no safetensors", new Uint8Array(100).fill(7), /header/],
  ["nothing", new Uint8Array(0), /8 bytes/],
];
for (const [name, bytes, detail] of strange) {
  test(`refuses weights that are ${name}`, () =>
    inFolder(async (folder) => {
      writeFileSync(weightsOf(folder), bytes);
      const outcome = await run(Effect.result(openModel(placeOf(folder), { weights: weightsOf(folder), run: 2 })));
      assert.ok(Result.isFailure(outcome));
      assert.is(outcome.failure._tag, "WeightsRefused");
      assert.match(outcome.failure.message, detail);
    }));
}
test.run();
