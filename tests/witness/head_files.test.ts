import { Buffer } from "node:buffer";
import { execFileSync, spawn } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HeldLog, OpenedHead } from "../../actors/witness/held_head.ts";
import { headFileBytesMax, headFiles, headPath, readHead } from "../../actors/witness/head_files.ts";
import { knownForks, knownForksMax } from "../../actors/witness/known_forks.ts";
import {
  auditChainBytesMax,
  auditChainMax,
  auditKeyBytesMax,
  auditNoteBytesMax,
  auditOriginBytesMax,
  auditSignatureBytesMax,
} from "../../transport/protocols/audit_schemas.ts";
import { forkedLog, headOf } from "../support/held_heads.ts";
import { needing } from "../support/prerequisites.ts";

const test = suite("headFiles()");

test("states outlast the process; files that hold none are moved aside", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const dir = join(folder, "witness");
  const store = headFiles(dir);
  try {
    assert.equal(await store.read(), { logs: [], damaged: [] });
    const head = headOf("a/audit/ca/one", 3);
    const plain: HeldLog = { head, isShared: true, at: 1_767_225_600_000, fork: undefined };
    const forked = forkedLog("a/audit/worker/two", 5_000);
    await store.write(plain);
    await store.write({ ...forked, fork: undefined });
    await store.write(forked);
    const { logs: read, damaged } = await store.read();
    assert.equal([read.length, damaged], [2, []]);
    for (const each of [plain, forked]) {
      const found = read.find(({ head: { origin } }) => origin === each.head.origin);
      assert.equal([found?.head.note, found?.isShared, found?.at], [each.head.note, each.isShared, each.at]);
      assert.equal(found?.fork?.other.note, each.fork?.other.note);
    }
    for (const name of await readdir(dir)) assert.is((await stat(join(dir, name))).mode & 0o077, 0, name);
    await writeFile(headPath(dir, "a/audit/ca/one"), JSON.stringify({ head: "nothing" }));
    await writeFile(headPath(dir, "a/audit/worker/large"), " ".repeat(headFileBytesMax + 1));
    const after = await store.read();
    assert.equal(after.logs.map(({ head: { origin } }) => origin), ["a/audit/worker/two"]);
    const sizes = await Promise.all(after.damaged.map(async (path) => (await stat(path)).size));
    assert.equal(sizes.toSorted((one, other) => one - other), [18, headFileBytesMax + 1]);
    for (const path of after.damaged) await rm(path);
    await store.remove("a/audit/worker/two");
    assert.equal(await store.read(), { logs: [], damaged: [] });
  } finally {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  }
});

test("bug: a state that could not be read, or whose evidence was damaged, counted as none and was written over", async () => {
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const store = headFiles(dir);
  const rejects = () => store.read().then(() => false, () => true);
  try {
    await store.write(forkedLog("a/audit/worker/two", 5_000));
    const path = headPath(dir, "a/audit/worker/two");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace(/"problem": "\w+"/, '"problem": "none"'));
    const { logs, damaged } = await store.read();
    assert.equal([logs, damaged.length], [[], 1]);
    assert.match(await readFile(damaged[0]!, "utf8"), '"other"');
    await mkdir(path); // reading it fails, of root too
    assert.ok(await rejects());
    await rm(path, { recursive: true });
    assert.not.ok(await rejects());
    assert.ok(await headFiles(damaged[0]!).read().then(() => false, () => true), "a folder that is none");
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("bug: a damaged state was named once alone: not after another one could not be read, or the process was killed", async () => {
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const store = headFiles(dir);
  const path = (origin: string) => headPath(dir, origin);
  const origins = ["a/audit/worker/one", "a/audit/worker/two"];
  const [first, second] = origins.toSorted((one, other) => path(one).localeCompare(path(other))) as [string, string];
  try {
    await writeFile(path(first), "torn");
    await mkdir(path(second)); // reading it fails, of root too
    assert.ok(await store.read().then(() => false, () => true));
    await rm(path(second), { recursive: true });
    const { damaged } = await store.read();
    assert.is(damaged.length, 1);
    assert.is(await readFile(damaged[0]!, "utf8"), "torn");
    assert.equal(await store.read(), { logs: [], damaged }, "the process was killed before it reported");
    await store.write({ head: headOf(first, 3), isShared: false, at: 1_767_225_600_000, fork: undefined });
    assert.equal((await store.read()).damaged, [], "the log is witnessed again");
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("bug: the evidence of a fork was lost at the next start where its owner had filled the states up to their limits", async () => {
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const store = headFiles(dir);
  const { head: first, fork } = forkedLog("\x01".repeat(auditOriginBytesMax), 5_000);
  const certificate = new Uint8Array(Math.floor(auditChainBytesMax / auditChainMax));
  const chain = Array.from({ length: auditChainMax }, () => certificate);
  const full = (head: OpenedHead) => ({ ...head, binding: { ...head.binding, signature: new Uint8Array(512), chain } });
  const { held, other } = fork!;
  const forked = { ...fork!, held: full(held), other: full(other) };
  try {
    await store.write({ head: full(first), isShared: true, at: 1_000, fork: forked });
    const { logs, damaged } = await store.read();
    assert.equal(damaged, []);
    assert.equal([logs[0]?.fork?.held.note, logs[0]?.fork?.other.note], [held.note, other.note]);
    const tooLong = { ...forked, from: "x".repeat(headFileBytesMax) };
    const write = store.write({ head: first, isShared: true, at: 1_000, fork: tooLong });
    assert.match(await write.then(() => "written", String), "takes more than");
    assert.ok((await store.read()).logs[0]?.fork, "the former state is kept");
  } finally {
    await rm(dir, { recursive: true });
  }
});

/** A folder, which is removed at the end. */
async function inFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  try {
    await work(join(dir, "witness"));
  } finally {
    await rm(dir, { recursive: true });
  }
}

test("a file whose state or evidence has a wrong part holds none", () =>
  inFolder(async (dir) => {
    const origin = "a/audit/worker/two";
    const path = headPath(dir, origin);
    await headFiles(dir).write(forkedLog(origin, 5_000));
    const { head, fork, ...rest } = JSON.parse(await readFile(path, "utf8"));
    const readAs = async (value: unknown) => {
      await writeFile(path, JSON.stringify(value));
      return await readHead(path);
    };
    const intact = await readAs({ ...rest, head, fork });
    assert.ok(intact !== undefined && intact !== "damaged");
    assert.equal([intact.head.size, intact.isShared, intact.fork?.from], [4, false, "gateway-02 12D3KooW"]);
    const wrongHeads: readonly unknown[] = [
      null,
      "none",
      { ...head, checkpoint: [head.checkpoint] },
      { ...head, key: [head.key] },
      { ...head, signature: [1] },
      { ...head, chain: "AA==" },
      { ...head, chain: [[1]] },
      { ...head, chain: ["AA==", [1]] },
      { ...head, checkpoint: "none" },
    ];
    const another = written(headOf("a/audit/worker/three", 4));
    const wrong = [
      null,
      {},
      ...wrongHeads.map((each) => ({ ...rest, head: each, fork })),
      ...wrongHeads.map((each) => ({ ...rest, head: each })),
      { ...rest, head, fork, at: "never" },
      { ...rest, head, fork: null },
      { ...rest, head, fork: "none" },
      { ...rest, head, fork: {} },
      { ...rest, head, fork: { ...fork, problem: "none" } },
      { ...rest, head, fork: { ...fork, held: another } },
      { ...rest, head, fork: { ...fork, other: another } },
      { ...rest, head, fork: { ...fork, other: null } },
      { ...rest, head, fork: { ...fork, at: "never" } },
    ];
    for (const each of wrong) assert.is(await readAs(each), "damaged", JSON.stringify(each));
  }));

/** A head as files have it. */
function written({ note: checkpoint, binding: { key, signature, chain } }: OpenedHead) {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  return { checkpoint, key, signature: text(signature), chain: chain.map(text) };
}

test("a file may have three heads of the longest messages, each character six times, and no byte more", () =>
  inFolder(async (dir) => {
    const headMax = auditNoteBytesMax + auditKeyBytesMax + auditSignatureBytesMax + auditChainBytesMax;
    assert.is(headFileBytesMax, 18 * headMax);
    const { fork, ...log } = forkedLog("a/audit/worker/two", 5_000);
    const path = headPath(dir, "a/audit/worker/two");
    const write = (from: string) => headFiles(dir).write({ ...log, fork: { ...fork!, from } });
    await write("");
    const from = "x".repeat(headFileBytesMax - (await stat(path)).size);
    await write(from);
    assert.is((await stat(path)).size, headFileBytesMax);
    assert.not.equal(await readHead(path), "damaged");
    assert.match(await write(`${from}x`).then(() => "written", String), "takes more than");
    await writeFile(path, `${await readFile(path, "utf8")} `);
    assert.is(await readHead(path), "damaged");
  }));

test("the folder is its owner's alone; files that are no states are left alone", () =>
  inFolder(async (dir) => {
    await headFiles(dir).write({ ...forkedLog("a/audit/worker/two", 5_000), fork: undefined });
    assert.is((await stat(dir)).mode & 0o777, 0o700);
    const others = ["notes.txt", "other.1.damaged", `${headPath("", "a/audit/worker/three")}.tmp`];
    for (const name of others) await writeFile(join(dir, name), "torn");
    const { logs, damaged } = await headFiles(dir).read();
    assert.equal([logs.length, damaged], [1, []]);
    for (const name of others) assert.is(await readFile(join(dir, name), "utf8"), "torn");
  }));

test("a state that is gone when it is read counts as none", () =>
  inFolder(async (dir) => {
    const path = headPath(dir, "a/audit/worker/two");
    assert.is(await readHead(path), undefined);
    await mkdir(dir);
    await symlink(join(dir, "gone"), path); // the folder has its name, as when it is removed between both calls
    assert.equal(await headFiles(dir).read(), { logs: [], damaged: [] });
  }));

if (process.platform === "linux") {
  test("writing states leaves no file open", () =>
    inFolder(async (dir) => {
      const openFiles = async () => (await readdir("/proc/self/fd")).length;
      const log = { ...forkedLog("a/audit/worker/two", 5_000), fork: undefined };
      await headFiles(dir).write(log);
      const before = await openFiles();
      for (let round = 0; round < 20; round++) await headFiles(dir).write(log);
      assert.ok(await openFiles() < before + 10);
    }));
}

needing(test, "mkfifo")("bug: a disk that does not answer stopped the process while states were read", async () => {
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const fifo = headPath(dir, "a/audit/worker/one");
  execFileSync("mkfifo", [fifo]); // opening it waits for a writer
  let writer: ReturnType<typeof spawn> | undefined;
  try {
    let isRead = false;
    const reading = headFiles(dir).read().finally(() => (isRead = true));
    await setTimeout(50);
    assert.not.ok(isRead);
    writer = spawn("sh", ["-c", `echo torn > "$0"`, fifo]);
    assert.is((await reading).damaged.length, 1);
  } finally {
    writer?.kill();
    await rm(dir, { recursive: true });
  }
});

test("forks are shown with both checkpoints and their file, the newest first, a hundred at most", () => {
  const plain: HeldLog = { head: headOf("a/audit/ca/one", 3), isShared: true, at: 1_000, fork: undefined };
  const forked = forkedLog("a/audit/worker/two", 5_000);
  const { held, other } = forked.fork!;
  const shown = knownForks(
    [plain, forked, { ...forked, fork: { ...forked.fork!, at: 6_000 } }],
    (origin) => `/${origin}`,
  );
  assert.equal(shown.map(({ at }) => at), ["1970-01-01T00:00:06.000Z", "1970-01-01T00:00:05.000Z"]);
  assert.equal(shown[1], {
    origin: "a/audit/worker/two",
    problem: "split",
    at: "1970-01-01T00:00:05.000Z",
    from: "gateway-02 12D3KooW",
    held: held.note,
    other: other.note,
    file: "/a/audit/worker/two",
  });
  assert.is(knownForksMax, 100);
  assert.is(knownForks(Array.from({ length: 101 }, () => forked), () => "").length, 100);
});

test.run();
