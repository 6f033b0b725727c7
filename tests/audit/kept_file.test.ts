/** A file that stays open between writes, and is left when it is no longer the one at its path. */
import { Buffer } from "node:buffer";
import {
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KeptFile, writeSynced } from "../../actors/audit/kept_file.ts";
import { openIn, withLogFolder } from "../support/audit_logs.ts";

const test = suite("KeptFile");
const text = (path: string) => readFileSync(path, "utf8");
const withFile = (use: (kept: KeptFile, path: string, dir: string) => Promise<void>) =>
  withLogFolder(async (dir) => {
    const kept = new KeptFile();
    await use(kept, join(dir, "some"), dir);
    await kept.close();
    assert.equal(openIn(dir) ?? [], [], "nothing stays open");
  });

test("a file is made for its owner alone, stays open, and has the bytes at their places", () =>
  withFile(async (kept, path, dir) => {
    await kept.write(path, Buffer.from("one two"), 0);
    assert.is(statSync(path).mode & 0o777, 0o600);
    for (const [at, word] of [[4, "TWO"], [7, " three"]] as const) {
      assert.is(openIn(dir)?.length ?? 1, 1);
      await kept.write(path, Buffer.from(word), at);
    }
    assert.is(text(path), "one TWO three");
  }));

test("bytes come to the file that is at the path, where the open one was moved away or removed", () =>
  withFile(async (kept, path) => {
    await kept.write(path, Buffer.from("one"), 0);
    renameSync(path, `${path}.moved`);
    await kept.write(path, Buffer.from("two"), 0);
    assert.is(text(path), "two", "none was at the path");
    writeFileSync(`${path}.new`, "------");
    renameSync(`${path}.new`, path);
    await kept.write(path, Buffer.from("six"), 3);
    assert.is(text(path), "---six", "another one was");
    rmSync(path);
    await kept.write(path, Buffer.from("ten"), 0);
    assert.is(text(path), "ten");
  }));

test("a write fails where its file cannot be opened, and the next one opens it", () =>
  withFile(async (kept, path, dir) => {
    await kept.write(path, Buffer.from("one"), 0);
    renameSync(path, `${path}.moved`);
    mkdirSync(path);
    const error = await kept.write(path, Buffer.from("two"), 0).catch((reason: unknown) => reason);
    assert.is((error as { code?: string }).code, "EISDIR");
    assert.equal(openIn(dir) ?? [], []);
    rmdirSync(path);
    await kept.write(path, Buffer.from("two"), 0);
    assert.is(text(path), "two");
    renameSync(path, `${path}.moved`);
    symlinkSync(path, path);
    const looped = await kept.write(path, Buffer.from("six"), 0).catch((reason: unknown) => reason);
    assert.is((looped as { code?: string }).code, "ELOOP", "what is at the path cannot be looked at");
    rmSync(path);
    await kept.write(path, Buffer.from("six"), 0);
    assert.is(text(path), "six");
  }));

test("a file that takes no bytes does not stay open", () =>
  withFile(async (kept, path) => {
    if (!existsSync("/dev/full")) return;
    symlinkSync("/dev/full", path);
    for (const attempt of [1, 2]) {
      const error = await kept.write(path, Buffer.from("one"), 0).catch((reason: unknown) => reason);
      assert.is((error as { code?: string }).code, "ENOSPC", `attempt ${attempt}`);
      assert.equal(openIn("/dev")?.filter((name) => name === "full") ?? [], []);
    }
  }));

test("one file is open at a time", () =>
  withFile(async (kept, path, dir) => {
    await kept.write(path, Buffer.from("one"), 0);
    await kept.write(`${path}.next`, Buffer.from("two"), 0);
    assert.equal([text(path), text(`${path}.next`)], ["one", "two"]);
    assert.is(openIn(dir)?.length ?? 1, 1);
    await kept.close();
    await kept.close();
    await kept.write(path, Buffer.from("!"), 3);
    assert.is(text(path), "one!");
  }));

/** Flags with which a file below a folder is open here; undefined where the system does not show them. */
function flagsIn(dir: string): readonly number[] | undefined {
  const own = "/proc/self/fd";
  if (!existsSync("/proc/self/fdinfo")) return undefined;
  const open = readdirSync(own).filter((fd) =>
    existsSync(join(own, fd)) && readlinkSync(join(own, fd)).startsWith(dir)
  );
  return open.map((fd) => parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]!, 8));
}

test("bug: on Deno the event loop waited for the disk with each batch of an audit log", () =>
  withFile(async (kept, path, dir) => {
    const probe = await open(join(dir, "probe"), "w");
    const handles = Object.getPrototypeOf(probe) as FileHandle;
    await probe.close();
    const { datasync } = handles;
    let syncs = 0;
    handles.datasync = function () {
      syncs += 1;
      return datasync.call(this);
    };
    try {
      for (const at of [0, 3, 6]) await kept.write(path, Buffer.from("one"), at);
      await writeSynced(`${path}.other`, Buffer.from("two"), 0);
    } finally {
      handles.datasync = datasync;
    }
    // Deno writes on its loop, and syncs elsewhere; Node does neither on its loop.
    const deno = "Deno" in globalThis;
    assert.is(syncs, deno ? 4 : 0);
    const flags = flagsIn(dir);
    assert.equal(flags?.map((each) => (each & constants.O_DSYNC) !== 0) ?? [!deno], [!deno]);
  }));

test("writeSynced() leaves nothing open, and fails where there is no folder", () =>
  withLogFolder(async (dir) => {
    const path = join(dir, "some");
    await writeSynced(path, Buffer.from("one"), 0);
    await writeSynced(path, Buffer.from("two"), 3);
    assert.is(text(path), "onetwo");
    assert.is(statSync(path).mode & 0o777, 0o600);
    const error = await writeSynced(join(path, "deeper"), Buffer.from("x"), 0).catch((reason: unknown) => reason);
    assert.is((error as { code?: string }).code, "ENOTDIR");
    assert.equal(openIn(dir) ?? [], []);
  }));

test.run();
