/** A log whose disk takes nothing until the memory for it is full. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditLog, waitingBytesMax } from "../../actors/audit/audit_log.ts";
import { readLine } from "../../actors/audit/audit_record.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import type { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { blockWrites, logStart, openTestLog, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("AuditLog without a disk");
const now = new Date(logStart);

test("what the disk does not take waits, and what does not fit is counted and said", () =>
  withLogFolder(async (dir) => {
    const log: AuditLog = await openTestLog(dir);
    const unblock = await blockWrites(dir);
    const detail = { text: "x".repeat(4_000) };
    let given = 0;
    for (; log.lost < 3; given++) log.record({ type: "a", outcome: "done", detail }, now);
    assert.ok(given * 4_000 > waitingBytesMax * 0.9 && given * 4_000 < waitingBytesMax * 1.1, String(given));
    const error = await log.write().catch((error: unknown) => error);
    assert.is((error as LogUnusable).problem, "unwritable");
    await unblock();
    await log.write();
    assert.is(log.isWaiting, false);
    log.record({ type: "b", outcome: "done" }, now);
    await writeCovered(log, now);
    const lines = (await readFile(join(dir, "audit-000000000000.jsonl"), "utf8")).trimEnd().split("\n");
    const newest = lines.slice(-2).map((line) => readLine(line)!);
    assert.equal(newest.map(({ type, detail }) => [type, detail["records"]]), [["log.lost", 3], ["b", undefined]]);
    assert.is((verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog).records, 1 + given - 3 + 2);
  }));

test.run();
