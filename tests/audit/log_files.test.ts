/** Records that are written at once, with others that are written in the background, and where the disk fails. */
import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditLog, checkpointMs } from "../../actors/audit/audit_log.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { LogChain } from "../../actors/audit/log_chain.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { logNode, logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

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
    const log = await openTestLog(dir);
    await writeCovered(log, now);
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
    assert.equal(typesIn(dir).slice(1), ["refusal", "certificate.issued", "refusal"]);
    assert.is(verified(dir).covered, 4);
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

test("an act that failed is removed where its folder was away meanwhile", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    renameSync(dir, `${dir}.away`);
    fails(log, now);
    renameSync(`${dir}.away`, dir);
    // As of a write that was cut short.
    writeFileSync(join(dir, file), '{"detail":{},"type":"certificate.issued"}\n'.repeat(100), { flag: "a" });
    log.recordNow(issued, now);
    await writeCovered(log, now);
    assert.is(verified(dir).records, 2);
    log.close();
  }));

test.run();
