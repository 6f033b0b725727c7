import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeStateDirectory } from "../../actors/files/state_directory.ts";

const test = suite("makeStateDirectory()");
const folder = mkdtempSync(join(tmpdir(), "hypha-state-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const make = (path: string) =>
  Effect.runPromise(Effect.result(makeStateDirectory(path)).pipe(Effect.provide(NodeFileSystem.layer)));

test("makes what is missing above it, closed to others, and leaves what is there", async () => {
  const path = join(folder, ".hypha", "gateway");
  for (let time = 0; time < 2; time += 1) assert.ok(Result.isSuccess(await make(path)));
  for (const made of [join(folder, ".hypha"), path]) assert.is(statSync(made).mode & 0o777, 0o700, made);
});

test("two processes that make it at once both find it", async () => {
  const made = await Promise.all(Array.from({ length: 8 }, () => make(join(folder, "a", "b", "c"))));
  assert.ok(made.every(Result.isSuccess));
});

// Node's recursive call goes round for ever there: the node never started.
if (existsSync("/proc/self")) {
  test("fails where the file system makes no folders", async () => {
    assert.ok(Result.isFailure(await make("/proc/hypha-state/gateway")));
  });
}

test.run();
