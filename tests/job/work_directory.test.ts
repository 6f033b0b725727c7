import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { Effect, type Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  makeWorkDirectory,
  recordExecutor,
  removeWorkDirectory,
  sweepLeftovers,
} from "../../actors/job/work_directory.ts";
import { readOwner } from "../../actors/job/owner_record.ts";
import { identifyProcess } from "../../actors/job/process_identity.ts";
import { eventually, failureOf, holdOpen, runOf, temporary } from "../support/job_world.ts";
import { mountDisk, unmountDisk } from "../../actors/job/cell/disk.ts";
import { asRoot, needing } from "../support/prerequisites.ts";

const here = dirname(fileURLToPath(import.meta.url));
const node = resolve(here, "../../node_modules/.bin/node");
const test = suite("makeWorkDirectory(), sweepLeftovers()");

test("makes <work_dir>/hypha-<uuid> of mode 0700 with its owner beside it, and removes both", async () => {
  const place = temporary();
  const root = join(place.path, "missing/too"), uuid = randomUUID();
  const held = await holdOpen(makeWorkDirectory(root, uuid));
  const path = join(root, `hypha-${uuid}`);
  assert.is(held.value.path, path);
  assert.is(statSync(path).mode & 0o777, 0o700);
  assert.is(statSync(`${path}.owner`).mode & 0o777, 0o600);
  const { worker } = JSON.parse(readFileSync(`${path}.owner`, "utf8"));
  assert.equal(worker, identifyProcess(process.pid));
  mkdirSync(join(path, "a/b"), { recursive: true });
  writeFileSync(join(path, "a/b/c"), "x");
  symlinkSync(place.path, join(path, "a/out"));
  await held.close();
  assert.equal(readdirSync(root), []);
  assert.ok(existsSync(place.path), "what a link led to stays");
  place.remove();
});

test("a directory that is there already is a typed failure, and is left alone", async () => {
  const place = temporary();
  const uuid = randomUUID();
  mkdirSync(join(place.path, `hypha-${uuid}`));
  assert.is((await failureOf(scoped(makeWorkDirectory(place.path, uuid)))).code, "EEXIST");
  assert.equal(readdirSync(place.path), [`hypha-${uuid}`]);
  writeFileSync(join(place.path, "file"), "");
  assert.is((await failureOf(scoped(makeWorkDirectory(join(place.path, "file"), uuid))))._tag, "WorkFileFailed");
  place.remove();
});

needing(test, "node")(
  "is removed though the job took its own rights away, and though something still writes in it",
  async () => {
    const place = temporary();
    const held = await holdOpen(makeWorkDirectory(place.path, randomUUID()));
    mkdirSync(join(held.value.path, "locked/deep"), { recursive: true });
    writeFileSync(join(held.value.path, "locked/deep/file"), "x");
    chmodSync(join(held.value.path, "locked"), 0);
    const writer = spawn(node, [
      "-e",
      `const fs = require("node:fs"); console.log("on"); setTimeout(() => process.exit(), 600);
     const write = () => { for (let i = 0; i < 20; i++) try {
       fs.mkdirSync(process.argv[1] + "/w/" + i, { recursive: true }); fs.writeFileSync(process.argv[1] + "/w/" + i + "/f", "x"); } catch {}
       setImmediate(write); }; write();`,
      held.value.path,
    ], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((exit) => writer.once("exit", exit));
    await new Promise((on) => writer.stdout.once("data", on));
    await held.close();
    await ended;
    // The writer makes its directories again after the removal, as long as it lives: a worker ends it first.
    await runOf(removeWorkDirectory(held.value.path));
    assert.equal(readdirSync(place.path), []);
    place.remove();
  },
);

needing(test, "bash", "mkfifo")(
  "bug: a directory stayed for ever where a path in it was longer than the system takes; no limit counted its bytes",
  async () => {
    const place = temporary();
    const held = await holdOpen(makeWorkDirectory(place.path, randomUUID()));
    const outside = join(place.path, "outside");
    mkdirSync(join(outside, "kept"), { recursive: true });
    const script = `set -e; name=$(printf '%0200d' 0); cd "$1"
      for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        : > file; ln -s "$2" link; mkdir "$name" side side/below; chmod 0 side; cd "$name"
      done
      mkfifo fifo; mkdir "$(printf '\\377')" "$(printf '\\357\\277\\275')"; cd "$(printf '\\377')"; : > "$(printf 'a\\376')"
      mkdir "$(printf '\\375')"; chmod 0 "$(printf '\\375')"`;
    const made = spawnSync("bash", ["-c", script, "bash", held.value.path, outside], { encoding: "utf8" });
    assert.is(made.status, 0, made.stderr);
    await runOf(Effect.timeout(removeWorkDirectory(held.value.path), "8 seconds"));
    assert.equal(readdirSync(place.path), ["outside"]);
    assert.equal(readdirSync(outside), ["kept"]);
    await held.close();
    place.remove();
  },
);

// Node removes such a directory by itself.
if ("Deno" in globalThis) {
  asRoot(test)(
    "bug: as root a worker ran `find … chmod` where a process of the job could swap directories for links",
    async () => {
      const place = temporary(), path = process.env["PATH"];
      const held = await holdOpen(makeWorkDirectory(join(place.path, "work"), randomUUID()));
      spawnSync("sh", ["-c", "mkdir -m 0 $(printf '\\377')"], { cwd: held.value.path });
      assert.is(readdirSync(held.value.path).length, 1);
      const tools = join(place.path, "tools"), log = join(place.path, "log");
      mkdirSync(tools);
      for (const tool of ["find", "rm"]) {
        const script = `#!/bin/sh\necho ${tool} >> ${log}\nPATH=${path} exec ${tool} "$@"\n`;
        writeFileSync(join(tools, tool), script, { mode: 0o755 });
      }
      process.env["PATH"] = `${tools}:${path}`;
      try {
        await runOf(removeWorkDirectory(held.value.path));
      } finally {
        process.env["PATH"] = path;
      }
      assert.equal([readFileSync(log, "utf8"), existsSync(held.value.path)], ["rm\n", false]);
      await held.close();
      place.remove();
    },
  );
}

/** Another worker's process, which makes a directory, starts an executor there and stays. */
function worker(root: string, uuid: string) {
  const program = `
    import { Effect } from "effect";
    import { spawn } from "node:child_process";
    import { makeWorkDirectory, recordExecutor } from ${
    JSON.stringify(resolve(here, "../../actors/job/work_directory.ts"))
  };
    const executor = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
    Effect.runFork(Effect.scoped(Effect.gen(function* () {
      const directory = yield* makeWorkDirectory(${JSON.stringify(root)}, ${JSON.stringify(uuid)});
      yield* recordExecutor(directory, executor.pid);
      console.log(executor.pid);
      return yield* Effect.never;
    })));
    setInterval(() => {}, 1e6);`;
  const child = spawn(node, ["--input-type=module", "-e", program], {
    cwd: resolve(here, "../.."),
    stdio: ["ignore", "pipe", "inherit"],
  });
  const executor = new Promise<number>((told) => child.stdout.once("data", (text) => told(Number(text))));
  const ended = new Promise((exit) => child.once("exit", exit));
  return { child, ended, executor };
}

needing(test, "node", "sleep")(
  "what a killed worker left is swept, with the executor it left running; a living one's is kept",
  async () => {
    const place = temporary();
    const dead = randomUUID(), living = randomUUID(), foreign = randomUUID(), orphan = randomUUID();
    const killed = worker(place.path, dead), stays = worker(place.path, living);
    const [left, kept] = await Promise.all([killed.executor, stays.executor]);
    killed.child.kill("SIGKILL");
    await killed.ended;
    assert.ok(identifyProcess(left) !== undefined, "the executor outlives its worker");
    // Another program's directory, a record without a directory, half a record, and names that are not ours.
    mkdirSync(join(place.path, `hypha-${foreign}`));
    const record = readFileSync(join(place.path, `hypha-${dead}.owner`), "utf8");
    writeFileSync(join(place.path, `hypha-${orphan}.owner`), record);
    writeFileSync(join(place.path, `hypha-${dead}.owner.${killed.child.pid}.tmp`), "{");
    writeFileSync(join(place.path, `hypha-${living}.owner.${stays.child.pid}.tmp`), "{");
    for (const name of ["hypha-notes", "data", "hypha-..", `hypha-${dead}x`]) mkdirSync(join(place.path, name));

    const swept = await runOf(sweepLeftovers(place.path, { isLocked: false }));
    const names = (paths: readonly string[]) => paths.map((path) => basename(path)).sort();
    assert.equal(names(swept.removed), [`hypha-${dead}`, `hypha-${orphan}`].sort());
    assert.equal(names(swept.kept), [`hypha-${living}`]);
    assert.equal(names(swept.unowned), [`hypha-${foreign}`]);
    assert.equal(swept.failed, []);
    assert.equal(
      readdirSync(place.path).sort(),
      [
        "data",
        "hypha-..",
        `hypha-${dead}x`,
        `hypha-${foreign}`,
        `hypha-${living}`,
        `hypha-${living}.owner`,
        `hypha-${living}.owner.${stays.child.pid}.tmp`,
        "hypha-notes",
      ].sort(),
    );
    await eventually("the left executor's end", () => identifyProcess(left) === undefined);
    assert.ok(identifyProcess(kept) !== undefined);
    process.kill(-kept, "SIGKILL");
    stays.child.kill("SIGKILL");
    await stays.ended;
    assert.equal(names((await runOf(sweepLeftovers(place.path, { isLocked: false }))).removed), [`hypha-${living}`]);
    place.remove();
  },
);

test("a number that came back is not taken for the worker, nor for its executor", async () => {
  const place = temporary();
  const uuid = randomUUID(), path = join(place.path, `hypha-${uuid}`);
  mkdirSync(path);
  const self = identifyProcess(process.pid);
  assert.ok(self !== undefined);
  const earlier = { ...self, startTime: "1" };
  writeFileSync(`${path}.owner`, JSON.stringify({ worker: earlier, executor: earlier }));
  // Had it been taken for the executor, this process would not live to say so.
  assert.equal((await runOf(sweepLeftovers(place.path, { isLocked: false }))).removed, [path]);
  place.remove();
});

test("a record that cannot be read, or names everybody, is nobody's: the directory stays", async () => {
  const place = temporary();
  const records = ["", "{", "null", "{}", '{"worker":{"bootId":"","pid":-1,"startTime":""}}', '{"worker":{"pid":1}}'];
  for (const record of records) {
    const path = join(place.path, `hypha-${randomUUID()}`);
    mkdirSync(path);
    writeFileSync(`${path}.owner`, record);
  }
  const swept = await runOf(sweepLeftovers(place.path, { isLocked: false }));
  assert.equal([swept.removed.length, swept.unowned.length], [0, records.length]);
  assert.equal(await runOf(sweepLeftovers(join(place.path, "missing"), { isLocked: false })), {
    removed: [],
    kept: [],
    unowned: [],
    failed: [],
  });
  place.remove();
});

test("bug: a directory stayed for ever where a power cut had left its record empty or in part", async () => {
  const place = temporary();
  const make = (record: string | undefined) => {
    const path = join(place.path, `hypha-${randomUUID()}`);
    mkdirSync(path);
    if (record !== undefined) writeFileSync(`${path}.owner`, record);
    return path;
  };
  const damaged = ["", "{", '{"worker":{"bootId":"', "\0".repeat(64)].map(make);
  // No worker of this release wrote these whole: they may be another program's, or of a later release.
  const foreign = [undefined, "null", "{}", '{"worker":{"pid":1}}'].map(make);
  const elsewhere = join(place.path, "elsewhere");
  writeFileSync(elsewhere, "");
  const linked = make(undefined), folder = make(undefined);
  symlinkSync(elsewhere, `${linked}.owner`);
  mkdirSync(`${folder}.owner`);
  const kept = [...foreign, linked, folder];

  const unlocked = await runOf(sweepLeftovers(place.path, { isLocked: false }));
  assert.equal([unlocked.removed, [...unlocked.unowned].sort()], [[], [...damaged, ...kept].sort()]);
  const swept = await runOf(sweepLeftovers(place.path, { isLocked: true }));
  assert.equal([[...swept.removed].sort(), [...swept.unowned].sort()], [damaged.sort(), kept.sort()]);
  assert.is(damaged.some((path) => existsSync(path) || existsSync(`${path}.owner`)), false);
  assert.ok(kept.every((path) => existsSync(path)));
  place.remove();
});

test("the executor is written down beside the worker", async () => {
  const place = temporary();
  const held = await holdOpen(makeWorkDirectory(place.path, randomUUID()));
  await runOf(recordExecutor(held.value, process.pid));
  const self = identifyProcess(process.pid);
  assert.equal(readOwner(held.value.path), { worker: self, executor: self });
  // What a power cut leaves of the second line, and the one line of older releases.
  for (const rest of ["", '{"exec', "\0\0"]) {
    writeFileSync(`${held.value.path}.owner`, `${JSON.stringify({ worker: self })}\n${rest}`);
    assert.equal(readOwner(held.value.path), { worker: self }, rest);
  }
  writeFileSync(`${held.value.path}.owner`, JSON.stringify({ worker: self, executor: self }));
  assert.equal(readOwner(held.value.path), { worker: self, executor: self });
  await held.close();
  assert.is((await failureOf(recordExecutor(held.value, process.pid))).code, "ENOENT");
  assert.equal(readdirSync(place.path), []);
  place.remove();
});

asRoot(needing(test, "mount", "umount"))(
  "bug: the disk of a worker that was killed before it left a record stayed mounted; also behind a link to work_dir",
  async () => {
    const place = temporary();
    const work = join(place.path, "work"), link = join(place.path, "link");
    mkdirSync(work);
    symlinkSync(work, link);
    const name = `hypha-${randomUUID()}`;
    mkdirSync(join(work, name));
    await runOf(mountDisk(join(work, name), { bytes: 1 << 20, inodes: 16, user: 0 }));
    const kept = `hypha-${randomUUID()}`;
    mkdirSync(join(work, kept));
    const swept = await runOf(sweepLeftovers(link, { isLocked: false }));
    assert.equal([swept.removed, swept.unowned], [[join(link, name)], [join(link, kept)]]);
    assert.not(readFileSync("/proc/self/mountinfo", "utf8").includes(name));
    place.remove();
  },
);

asRoot(needing(test, "mount", "umount"))(
  "bug: a sweep removed one directory after the other, so those that could not be removed kept a worker from its cell",
  async () => {
    const place = temporary();
    const owner = identifyProcess(process.pid);
    assert.ok(owner !== undefined);
    const paths = [1, 2, 3].map((n) => join(place.path, `hypha-${n}0000000-0000-4000-8000-000000000000`));
    for (const path of paths) {
      mkdirSync(join(path, "inner"), { recursive: true });
      writeFileSync(`${path}.owner`, JSON.stringify({ worker: { ...owner, startTime: "1" } }));
    }
    const [first = "", ...others] = paths;
    await runOf(mountDisk(join(first, "inner"), { bytes: 1 << 20, inodes: 16, user: 0 }));
    let unmounted = false;
    const swept = runOf(sweepLeftovers(place.path, { isLocked: false })).then((outcome) => ({ outcome, unmounted }));
    await eventually("the others were removed", () => others.every((path) => !existsSync(path)));
    assert.ok(existsSync(first));
    unmounted = true;
    await runOf(unmountDisk(join(first, "inner")));
    const end = await swept;
    assert.ok(end.unmounted, "the sweep waits for the first one");
    assert.equal([[...end.outcome.removed].sort(), end.outcome.failed], [paths, []]);
    place.remove();
  },
);

asRoot(needing(test, "mount", "umount"))(
  "bug: a disk that was mounted while its directory was removed stayed mounted",
  async () => {
    const place = temporary();
    const path = join(place.path, `hypha-${randomUUID()}`), inner = join(path, "inner");
    mkdirSync(inner, { recursive: true });
    const size = { bytes: 1 << 20, inodes: 16, user: 0 };
    await runOf(mountDisk(inner, size)); // the removal fails until it is unmounted
    const removed = runOf(removeWorkDirectory(path));
    await new Promise((done) => setTimeout(done, 50));
    await runOf(mountDisk(path, size));
    await eventually("the disk was unmounted", () => existsSync(inner));
    await runOf(unmountDisk(inner));
    await removed;
    assert.not(readFileSync("/proc/self/mountinfo", "utf8").includes(path));
    place.remove();
  },
);

test.run();

function scoped<A, E>(effect: Effect.Effect<A, E, Scope.Scope>) {
  return Effect.scoped(effect);
}
