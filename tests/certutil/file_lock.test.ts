/** The lock of a record: what a full disk, a dead holder and a folder without hard links make of it. */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { holdLock, lockWaitMs } from "../../actors/certutil/file_lock.ts";

const test = suite("holdLock()");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-record-lock-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

/** Takes the lock of `record`, and gives it back: what it held, or the error. */
function lock(changed: (files: FileSystem) => Partial<FileSystem> = () => ({})) {
  const path = join(folder, "record");
  const held = Effect.scoped(Effect.andThen(holdLock(path), Effect.sync(() => readFileSync(`${path}.lock`, "utf8"))));
  const run = Effect.gen(function* () {
    const files = yield* FileSystem;
    return yield* Effect.result(Effect.provideService(held, FileSystem, { ...files, ...changed(files) }));
  });
  return Effect.runPromise(Effect.provide(run, NodeFileSystem.layer));
}

/** The owner that the lock named, once it was given back. */
async function taken(changed?: (files: FileSystem) => Partial<FileSystem>): Promise<string> {
  const owner = Result.getOrThrow(await lock(changed));
  assert.equal(readdirSync(folder), []);
  return owner;
}

/** A file system's error as Node reports it. */
const fault = (method: string, code: string) =>
  systemError({ _tag: "Unknown", module: "FileSystem", method, cause: { code } });

const own = new RegExp(`^\\S+ ${process.pid} \\S+\\n$`);

test("bug: a full disk left an empty lock, which was taken from then on", async () => {
  const refused = await lock((files) => ({
    // The file is made, and there is no room for what is written to it.
    writeFileString: (path, _text, options) =>
      Effect.andThen(files.writeFileString(path, "", options), Effect.fail(fault("write", "ENOSPC"))),
  }));
  assert.match(Result.isFailure(refused) ? refused.failure.message : "locked", "its disk is full");
  assert.equal(readdirSync(folder), []);
  assert.match(await taken(), own);
});

test("bug: an empty lock that a killed process left was taken forever", async () => {
  const path = join(folder, "record.lock");
  writeFileSync(path, "");
  const before = new Date(Date.now() - lockWaitMs - 1_000);
  utimesSync(path, before, before);
  assert.match(await taken(), own);
});

test("an empty lock of this moment is another one's that is being written", async () => {
  const path = join(folder, "record.lock");
  writeFileSync(path, "");
  const written = setTimeout(() => rmSync(path), 200);
  const start = Date.now();
  assert.match(await taken(), own);
  assert.ok(Date.now() - start >= 150);
  clearTimeout(written);
});

test("a folder without hard links", async () => {
  const withoutLinks = () => ({ link: () => Effect.fail(fault("link", "EPERM")) });
  assert.match(await taken(withoutLinks), own);
});

test.run();
