import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ExistingFiles, type OutputFile, writeWhole } from "../../actors/files/write_whole.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot } from "../support/prerequisites.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("writeWhole()");
let dir = "";

test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-write-"));
});
test.after.each(() => rm(dir, { recursive: true, force: true }));

const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);

async function write(files: readonly OutputFile[], existing: ExistingFiles = "keep", unmovable = ""): Promise<string> {
  const writing = Effect.flatMap(FileSystem, (real) => {
    const refusing = (move: FileSystem["rename"]): FileSystem["rename"] => (from, to) =>
      to === unmovable
        ? Effect.fail(systemError({ _tag: "Busy", module: "FileSystem", method: "rename", pathOrDescriptor: to }))
        : move(from, to);
    const odd: FileSystem = { ...real, rename: refusing(real.rename), link: refusing(real.link) };
    return Effect.provideService(writeWhole(files, existing), FileSystem, odd);
  });
  const result = await Effect.runPromise(Effect.provide(Effect.result(writing), services));
  return Result.isSuccess(result)
    ? "written"
    : `${result.failure.problem} ${result.failure.path.slice(dir.length + 1)}`;
}

const at = (name: string) => join(dir, name);

test("writes several files, with their modes, and leaves nothing else behind", async () => {
  const files = [{ path: at("key.pem"), content: "key", mode: 0o600 }, { path: at("cert.pem"), content: "cert" }];
  assert.is(await write(files), "written");
  assert.is(await readFile(at("key.pem"), "utf8"), "key");
  assert.is((await stat(at("key.pem"))).mode & 0o777, 0o600);
  assert.is((await stat(at("cert.pem"))).mode & 0o777, 0o644 & ~process.umask());
  assert.equal((await readdir(dir)).sort(), ["cert.pem", "key.pem"]);
});

test("keeps a file that is there, and writes none of the others", async () => {
  await writeFile(at("cert.pem"), "old");
  const files = [{ path: at("key.pem"), content: "key" }, { path: at("cert.pem"), content: "new" }];
  assert.is(await write(files), "exists cert.pem");
  assert.is(await readFile(at("cert.pem"), "utf8"), "old");
  assert.equal(await readdir(dir), ["cert.pem"]);
});

test("replaces when told so, and narrows the mode of what it replaces", async () => {
  await writeFile(at("key.pem"), "old", { mode: 0o644 });
  assert.is(await write([{ path: at("key.pem"), content: "new", mode: 0o600 }], "replace"), "written");
  assert.is(await readFile(at("key.pem"), "utf8"), "new");
  assert.is((await stat(at("key.pem"))).mode & 0o777, 0o600);
  assert.equal(await readdir(dir), ["key.pem"]);
});

test("bug: under another umask a file that all read was closed to them when it was replaced", async () => {
  const modeOf = async (name: string) => (await stat(at(name))).mode & 0o777;
  await writeFile(at("crls.pem"), "old");
  await chmod(at("crls.pem"), 0o644);
  await writeFile(at("key.pem"), "old");
  await chmod(at("key.pem"), 0o666);
  const before = process.umask(0o077);
  try {
    const key = { path: at("key.pem"), content: "new", mode: 0o600 };
    const files = [{ path: at("crls.pem"), content: "new" }, key, { path: at("first.pem"), content: "new" }];
    assert.is(await write(files, "replace"), "written");
  } finally {
    process.umask(before);
  }
  assert.equal(await Promise.all(["crls.pem", "key.pem", "first.pem"].map(modeOf)), [0o644, 0o600, 0o600]);
});

asRoot(test)("bug: a file that root replaced was closed to the user whose it was", async () => {
  const accessOf = async (name: string) => {
    const { uid, gid, mode } = await stat(at(name));
    return `${uid} ${gid} ${(mode & 0o777).toString(8)}`;
  };
  await writeFile(at("config"), "old");
  await chmod(at("config"), 0o640);
  await chown(at("config"), 0, ordinaryUser);
  for (const name of ["crls.pem", "secret", "key.pem"]) {
    await writeFile(at(name), "old", { mode: 0o600 });
    await chown(at(name), ordinaryUser, ordinaryUser);
  }
  const before = process.umask(0o077);
  try {
    const files = [
      { path: at("config"), content: "new" },
      { path: at("crls.pem"), content: "new", accessAs: at("config") },
      { path: at("first.pem"), content: "new", accessAs: at("config") },
      { path: at("secret"), content: "new", mode: 0o600, accessAs: at("secret") },
      { path: at("key.pem"), content: "new", mode: 0o600 },
    ];
    assert.is(await write(files, "replace"), "written");
  } finally {
    process.umask(before);
  }
  const names = ["config", "crls.pem", "first.pem", "secret", "key.pem"];
  const [user, group] = [`${ordinaryUser} ${ordinaryUser}`, `0 ${ordinaryUser}`];
  const expected = [`${group} 640`, `${user} 600`, `${group} 640`, `${user} 600`, "0 0 600"];
  assert.equal(await Promise.all(names.map(accessOf)), expected);
});

test("writes none when the folder of one is missing", async () => {
  const files = [{ path: at("a"), content: "x" }, { path: at("gone/b"), content: "x" }];
  assert.is(await write(files), "missing-folder gone/b");
  assert.equal(await readdir(dir), []);
});

test("puts the old files back when a later one cannot be moved", async () => {
  await writeFile(at("a"), "old");
  const files = [{ path: at("a"), content: "new" }, { path: at("b"), content: "x" }, { path: at("c"), content: "x" }];
  assert.is(await write(files, "replace", at("c")), "other c");
  assert.is(await readFile(at("a"), "utf8"), "old");
  assert.equal(await readdir(dir), ["a"]);
});

test("takes new files away again when a later one cannot be moved", async () => {
  const files = [{ path: at("a"), content: "new" }, { path: at("b"), content: "x" }];
  assert.is(await write(files, "keep", at("b")), "other b");
  assert.equal(await readdir(dir), []);
});

/** A file system whose operation number `failing` fails; `calls` counts them. */
function failingAt(real: FileSystem, failing: number, calls: string[]): FileSystem {
  const broken = (method: string) =>
    Effect.suspend(() => {
      calls.push(method);
      return calls.length === failing
        ? Effect.fail(systemError({ _tag: "Unknown", module: "FileSystem", method }))
        : Effect.void;
    });
  return {
    ...real,
    stat: (path) => Effect.andThen(broken("stat"), real.stat(path)),
    link: (from, to) => Effect.andThen(broken("link"), real.link(from, to)),
    rename: (from, to) => Effect.andThen(broken("rename"), real.rename(from, to)),
    open: (path, options) =>
      Effect.andThen(
        broken("open"),
        Effect.map(real.open(path, options), (handle) => ({
          ...handle,
          writeAll: (bytes: Uint8Array) => Effect.andThen(broken("writeAll"), handle.writeAll(bytes)),
          sync: Effect.andThen(broken("sync"), handle.sync),
        })),
      ),
  };
}

for (const existing of ["keep", "replace"] as const) {
  test(`is all or nothing whichever operation fails (${existing})`, async () => {
    const files = ["a", "b", "c"].map((name) => ({ path: at(name), content: "new" }));
    let failures = 0;
    for (let failing = 1;; failing++) {
      if (existing === "replace") { for (const name of ["a", "b"]) await writeFile(at(name), "old"); }
      const calls: string[] = [];
      const writing = Effect.flatMap(
        FileSystem,
        (real) => Effect.provideService(writeWhole(files, existing), FileSystem, failingAt(real, failing, calls)),
      );
      const result = await Effect.runPromise(Effect.provide(Effect.result(writing), services));
      const there = (await readdir(dir)).sort();
      const contents = await Promise.all(there.map((name) => readFile(at(name), "utf8")));
      const expected = Result.isSuccess(result) ? "a new,b new,c new" : existing === "replace" ? "a old,b old" : "";
      const seen = there.map((name, index) => `${name} ${contents[index]}`).join();
      assert.is(seen, expected, `operation ${failing}: ${calls[failing - 1]}`);
      if (Result.isFailure(result)) failures++;
      for (const name of there) await rm(at(name));
      if (calls.length < failing) break;
    }
    assert.ok(failures >= 9, `${failures} failures`); // three times open, write, sync, at least
  });
}

test("refuses a folder in the file's place", async () => {
  await mkdir(at("cert.pem"));
  assert.is(await write([{ path: at("cert.pem"), content: "x" }], "replace"), "other cert.pem");
});

test("replaces a symbolic link, not what it names", async () => {
  await writeFile(at("target"), "old");
  await symlink(at("target"), at("link"));
  assert.is(await write([{ path: at("link"), content: "new" }], "replace"), "written");
  assert.is(await readFile(at("target"), "utf8"), "old");
  assert.is(await readFile(at("link"), "utf8"), "new");
});

test("lets one of many writers of a path win, whole", async () => {
  const contents = Array.from({ length: 16 }, (_, index) => String(index).repeat(100_000));
  const outcomes = await Promise.all(contents.map((content) => write([{ path: at("one"), content }])));
  assert.is(outcomes.filter((outcome) => outcome === "written").length, 1);
  assert.is(outcomes.filter((outcome) => outcome === "exists one").length, 15);
  assert.is(await readFile(at("one"), "utf8"), contents[outcomes.indexOf("written")]);
  assert.equal(await readdir(dir), ["one"]);
});

test("says that a folder may not be written", async () => {
  await chmod(dir, 0o555);
  assert.is(await unprivileged(() => write([{ path: at("a"), content: "x" }])), "not-permitted a");
  assert.equal(await readdir(dir), []);
  await chmod(dir, 0o700);
});

test("says in words why the disk takes no more, and leaves nothing behind", async () => {
  // /dev/full fails each write as a disk without space does.
  const writing = Effect.flatMap(FileSystem, (real) => {
    const open: FileSystem["open"] = (path, options) =>
      real.open(path.endsWith(".tmp") ? "/dev/full" : path, path.endsWith(".tmp") ? { flag: "w" } : options);
    const full: FileSystem = { ...real, open };
    return Effect.provideService(writeWhole([{ path: at("a.pem"), content: "a" }], "keep"), FileSystem, full);
  });
  const result = await Effect.runPromise(Effect.provide(Effect.flip(writing), services));
  assert.is(result.detail, "its disk is full");
  assert.equal(await readdir(dir), []);
  const long = Effect.flip(writeWhole([{ path: at("x".repeat(300)), content: "a" }], "keep"));
  assert.is((await Effect.runPromise(Effect.provide(long, services))).detail, "its name is too long");
});

test.run();
