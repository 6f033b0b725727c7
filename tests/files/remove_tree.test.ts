// What a job left is removed, and nothing else, whatever still changes in it. Deep trees and odd names: tests/job/work_directory.test.ts.
import { spawn } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { removeTree } from "../../actors/files/remove_tree.ts";
import { temporary } from "../support/job_world.ts";
import { needing } from "../support/prerequisites.ts";

const node = resolve(dirname(fileURLToPath(import.meta.url)), "../../node_modules/.bin/node");
const place = temporary();
const test = suite("removeTree()");
test.after(() => place.remove());
const remove = (path: string, signal = new AbortController().signal) => removeTree(path, signal);

function tree(name: string, files: number): string {
  const path = join(place.path, name);
  mkdirSync(join(path, "d/e"), { recursive: true });
  for (let made = 0; made < files; made++) writeFileSync(join(path, "d/e", `f${made}`), "");
  return path;
}

test("a tree that is not there is removed; every descriptor is closed", async () => {
  await remove(join(place.path, "missing"));
  if (!existsSync("/proc/self/fd")) return;
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  for (let round = 0; round < 20; round++) await remove(tree("small", 3));
  assert.ok(open() < before + 10, `${open()} descriptors, ${before} before`);
});

test("an aborted removal ends between two files, and the next one removes the rest", async () => {
  const path = tree("aborted", 2_000), aborting = new AbortController();
  const left = () => readdirSync(join(path, "d/e")).length;
  const removed = remove(path, aborting.signal).then(() => "removed", () => "aborted");
  while (left() === 2_000) await setImmediate();
  aborting.abort();
  assert.is(await removed, "aborted");
  assert.ok(left() > 0, "it went on to the last file");
  await remove(path);
  assert.is(existsSync(path), false);
});

for (const kind of ["file", "link", "link in a loop"]) {
  test(`bug: a job that replaced its directory by a ${kind} was not removed`, async () => {
    const path = join(place.path, kind.replaceAll(" ", "-")), kept = tree(`kept by ${kind}`, 2);
    if (kind === "file") writeFileSync(path, "");
    else symlinkSync(kind === "link" ? join(kept, "d") : path, path);
    await remove(path);
    assert.is(lstatSync(path, { throwIfNoEntry: false }), undefined);
    assert.equal(readdirSync(join(kept, "d/e")).sort(), ["f0", "f1"]);
  });
}

needing(test, "node")(
  "a directory that is moved away while it is emptied ends the removal: what it lies in then stays",
  async () => {
    if (!existsSync("/proc/self/fd")) return;
    const path = tree("moved", 5_000), other = tree("other", 1);
    const removed = remove(path).then(() => "removed", (error: Error) => error.message);
    while (readdirSync(join(path, "d/e")).length === 5_000) await setImmediate();
    renameSync(join(path, "d/e"), join(other, "moved"));
    assert.match(await removed, /was moved/);
    assert.equal([readdirSync(other).sort(), readdirSync(join(other, "d/e"))], [["d", "moved"], ["f0"]]);
  },
);

needing(test, "node")("a directory that is swapped for a link leads nowhere", async () => {
  const path = tree("swapped", 1), outside = tree("outside", 3);
  const swapper = spawn(node, [
    "-e",
    `const { mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } = require("node:fs");
     process.chdir(${JSON.stringify(place.path)});
     console.log("on");
     const attempt = (run) => { try { run(); } catch {} };
     for (;;) {
       attempt(() => mkdirSync("swapped/d/e", { recursive: true }));
       attempt(() => writeFileSync("swapped/d/e/f", ""));
       attempt(() => renameSync("swapped/d", "aside"));
       attempt(() => symlinkSync("../outside/d", "swapped/d"));
       attempt(() => unlinkSync("swapped/d"));
       attempt(() => renameSync("aside", "swapped/d"));
     }`,
  ], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((exit) => swapper.once("exit", exit));
  try {
    await new Promise((on) => swapper.stdout.once("data", on));
    for (const until = Date.now() + 2_000; Date.now() < until;) await remove(path).catch(() => {});
  } finally {
    swapper.kill("SIGKILL");
    await ended;
  }
  await remove(path);
  assert.is(existsSync(path), false);
  assert.equal(readdirSync(join(outside, "d/e")), ["f0", "f1", "f2"]);
});

test("links are removed, not what they lead to", async () => {
  const path = tree("links", 1), kept = tree("kept", 2);
  symlinkSync(join(kept, "d"), join(path, "d/e/directory"));
  symlinkSync(join(kept, "d/e/f0"), join(path, "d/file"));
  symlinkSync("nowhere", join(path, "dangling"));
  await remove(path);
  assert.is(existsSync(path), false);
  assert.equal(readdirSync(join(kept, "d/e")).sort(), ["f0", "f1"]);
});

test.run();
