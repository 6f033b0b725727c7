/** Records that are written at once, with others that are written in the background, and where the disk fails. */
import { Buffer } from "node:buffer";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditLog, checkpointMs } from "../../actors/audit/audit_log.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { KeptFile } from "../../actors/audit/kept_file.ts";
import { type Chunk, LogChain } from "../../actors/audit/log_chain.ts";
import { cutFile, removeTakenBack, writeChunks, writeChunksNow } from "../../actors/audit/log_files.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import {
  logNode,
  logStart,
  openIn,
  openTestLog,
  recordRefusals,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";

const test = suite("Writes in the background and at once");
const file = "audit-000000000000.jsonl";
const now = new Date(logStart);
const nextDay = new Date(logStart + 86_400_000);
const issued = [{ type: "certificate.issued", outcome: "done" }];

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;
const typesIn = (dir: string, name: string = file) =>
  readFileSync(join(dir, name), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line).type);
const isUnusable = (error: unknown) => error instanceof LogUnusable;
const fails = (log: AuditLog, at: Date) => assert.throws(() => log.recordNow(issued, at), isUnusable);

test("bug: a record was written over an act that was recorded while the write before failed", () =>
  withLogFolder(async (dir) => {
    const before = await openTestLog(dir);
    await writeCovered(before, now);
    before.close();
    const log = await openTestLog(dir); // it has not opened its file yet
    recordRefusals(log, 1);
    const path = join(dir, file);
    renameSync(path, `${path}.kept`);
    mkdirSync(path);
    const written = log.write().catch((error: unknown) => error);
    for (let turns = 0; turns < 10; turns++) await null;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200); // it fails, and the log does not know yet
    rmdirSync(path);
    renameSync(`${path}.kept`, path);
    log.recordNow(issued, now);
    assert.ok(isUnusable(await written));
    recordRefusals(log, 1);
    await writeCovered(log, now);
    assert.equal(typesIn(dir).slice(2), ["refusal", "certificate.issued", "refusal"]);
    assert.is(verified(dir).covered, 5);
  }));

test("a record is joined to those that wait only where it follows them", () => {
  const chain = LogChain.begin(logNode, { random: "", key: "", at: now });
  const first = chain.take();
  const append = () => chain.append({ type: "a", outcome: "done" }, now);
  append();
  const [second] = chain.take();
  chain.putBack(first);
  append();
  append();
  const end = second!.offset + second!.bytes;
  assert.equal(chain.peek().map(({ offset, lines }) => [offset, lines.length]), [[0, 2], [end, 4]]);
});

test("bug: acts alone were in no checkpoint until the log ended", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    log.recordNow(issued, now);
    log.recordNow(issued, now);
    assert.ok(log.isDue(new Date(logStart + checkpointMs)));
    await log.cover(now);
    assert.is(verified(dir).covered, 3);
  }));

test("an act during a write in the background is in the next checkpoint", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const written = log.write();
    await null;
    log.recordNow(issued, now);
    await written;
    await log.cover(now);
    assert.is(verified(dir).covered, 2);
  }));

test("bug: an act that failed after midnight left an empty segment, and the next start refused the log", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    mkdirSync(join(dir, file));
    recordRefusals(log, 1, +nextDay);
    fails(log, nextDay);
    log.close();
    rmdirSync(join(dir, file));
    const again = await openTestLog(dir, +nextDay);
    await writeCovered(again, nextDay);
    assert.is(verified(dir).records, 1);
    again.close();
  }));

test("bug: a segment that began with an act that failed stayed where it could not be removed at once", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    const begun = join(dir, "audit-000000000001.jsonl");
    mkdirSync(begun);
    fails(log, nextDay);
    rmdirSync(begun);
    // As of a write that was cut short.
    writeFileSync(begun, '{"detail":{},"type":"certificate.issued"}\n');
    log.recordNow(issued, now);
    await writeCovered(log, now);
    assert.equal(typesIn(dir), ["log.opened", "certificate.issued"]);
    assert.is(verified(dir).records, 2);
    log.close();
  }));

test("of acts that failed one after the other, the segment that the first one began is removed", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    const begun = join(dir, "audit-000000000001.jsonl");
    mkdirSync(begun);
    fails(log, nextDay);
    fails(log, now);
    rmdirSync(begun);
    // As of a write that was cut short.
    writeFileSync(begun, '{"detail":{},"type":"certificate.issued"}\n');
    log.recordNow(issued, now);
    await writeCovered(log, now);
    assert.is(verified(dir).records, 2);
    log.close();
  }));

/** An act fails while the log's folder is away; lines as of a write that was cut short are left. */
function failsWhileAway(log: AuditLog, dir: string): void {
  renameSync(dir, `${dir}.away`);
  fails(log, now);
  renameSync(`${dir}.away`, dir);
  writeFileSync(join(dir, file), '{"detail":{},"type":"certificate.issued"}\n'.repeat(100), { flag: "a" });
}

test("what an act that failed has left is removed before the next write in the background", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    failsWhileAway(log, dir);
    recordRefusals(log, 1);
    await writeCovered(log, now);
    assert.equal(typesIn(dir), ["log.opened", "refusal"]);
    log.close();
  }));

test("what an act that failed has begun is removed at once, where the disk takes that", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    // A link into a folder that is missing can be removed, but not written to.
    symlinkSync(join(dir, "missing", "file"), join(dir, "audit-000000000001.jsonl"));
    fails(log, nextDay);
    assert.is(readdirSync(dir).includes("audit-000000000001.jsonl"), false);
    log.close();
  }));

test("an act that failed is removed where its folder was away meanwhile", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    failsWhileAway(log, dir);
    log.recordNow(issued, now);
    await writeCovered(log, now);
    assert.is(verified(dir).records, 2);
    log.close();
  }));

const bytesAt = (segment: number, offset: number, text: string): Chunk => {
  const lines = [Buffer.from(text)];
  return { segment, offset, lines, bytes: lines[0]!.length };
};
const writers = [
  ["in the background", async (dir: string, chunks: readonly Chunk[]) => {
    const kept = new KeptFile();
    await writeChunks(dir, chunks, kept);
    await kept.close();
  }],
  ["at once", (dir: string, chunks: readonly Chunk[]) => Promise.resolve(writeChunksNow(dir, chunks))],
] as const;
for (const [name, write] of writers) {
  test(`chunks come to their places ${name}, over what is there, in files of their owner`, () =>
    withLogFolder(async (dir) => {
      await write(dir, [bytesAt(0, 0, "one\ntwo\n"), bytesAt(0, 8, "three\n"), bytesAt(3, 0, "four\n")]);
      await write(dir, [bytesAt(0, 4, "TWO\n")]);
      const names = readdirSync(dir).toSorted();
      assert.equal(names, ["audit-000000000000.jsonl", "audit-000000000003.jsonl"]);
      assert.equal(names.map((each) => readFileSync(join(dir, each), "utf8")), ["one\nTWO\nthree\n", "four\n"]);
      assert.equal(names.map((each) => statSync(join(dir, each)).mode & 0o777), [0o600, 0o600]);
      assert.equal(openIn(dir) ?? [], []);
    }));
}

test("a file is cut to a length; a shorter one and a missing one stay as they are", () =>
  withLogFolder(async (dir) => {
    const path = join(dir, "some");
    for (const length of [0, 1]) cutFile(path, length);
    assert.is(existsSync(path), false);
    writeFileSync(path, "12345");
    for (const [length, left] of [[6, "12345"], [5, "12345"], [2, "12"]] as const) {
      cutFile(path, length);
      assert.is(readFileSync(path, "utf8"), left);
    }
    assert.equal(openIn(dir) ?? [], []);
    await Promise.resolve();
  }));

test("records that were taken back are removed with the segment that they began", () =>
  withLogFolder(async (dir) => {
    const [first, begun] = [join(dir, file), join(dir, "audit-000000000009.jsonl")];
    for (const path of [first, begun]) writeFileSync(path, "one\ntwo\n");
    removeTakenBack(dir, { segment: 0, end: 4, begun: undefined });
    assert.equal([readFileSync(first, "utf8"), existsSync(begun)], ["one\n", true]);
    for (let times = 0; times < 2; times++) removeTakenBack(dir, { segment: 0, end: 0, begun: 9 });
    assert.equal([readFileSync(first, "utf8"), existsSync(begun)], ["", false]);
    assert.throws(() => removeTakenBack(join(dir, "away"), { segment: 0, end: 0, begun: undefined }), /ENOENT/);
    await Promise.resolve();
  }));

test.run();
