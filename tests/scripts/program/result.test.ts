/** `result`, stopped while it writes. */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Services } from "../../../actors/runtime/ports.ts";
import { realServices } from "../../../actors/runtime/real_ports.ts";
import { trainingFolder } from "../../../actors/training/checkpoints.ts";
import { result } from "../../../scripts/program/result.ts";
import { temporary } from "../../support/job_world.ts";
import { nextRound, overriding, placeOf, writeWeights } from "../../support/keeping_child.ts";

const test = suite("result()");
const run = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.runPromise(Effect.provide(effect, realServices));

/** Files whose writes wait for ever: what opens one calls `begun`. */
const unwritable = (begun: () => void) =>
  Effect.map(FileSystem, (files): FileSystem => ({
    ...files,
    open: (path, options) =>
      Effect.map(files.open(path, options), (handle) => {
        if (options?.flag !== "wx") return handle;
        begun();
        return overriding(handle, { sync: handle.sync, writeAll: () => Effect.never });
      }),
  }));

for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
  test(`bug: ${signal} left part of a model in a hidden file`, async () => {
    const { path, remove } = temporary();
    const listeners = process.listenerCount(signal);
    writeWeights(path);
    await run(nextRound(path));
    const folder = trainingFolder(join(path, "state"), "t-1");
    mkdirSync(join(folder, ".."), { recursive: true });
    renameSync(placeOf(path).folder, folder);
    const [config, out] = [join(path, "scheduler.toml"), join(path, "out")];
    writeFileSync(config, `state_dir = ${JSON.stringify(join(path, "state"))}\n`);
    mkdirSync(out);
    const output = join(out, "model.safetensors");
    writeFileSync(output, "an earlier model");
    const begun = () => {
      assert.is(readdirSync(out).length, 2);
      process.kill(process.pid, signal);
    };
    const written = await run(Effect.gen(function* () {
      const files = yield* unwritable(begun);
      return yield* Effect.provideService(Effect.result(result({ id: "t-1", output, config })), FileSystem, files);
    }));
    assert.ok(Result.isFailure(written));
    assert.equal([written.failure.exitCode, written.failure.notice], [code, `Stopped by ${signal}`]);
    assert.equal(readdirSync(out), ["model.safetensors"]);
    assert.is(readFileSync(output, "utf8"), "an earlier model");
    assert.is(process.listenerCount(signal), listeners);
    remove();
  });
}

test.run();
