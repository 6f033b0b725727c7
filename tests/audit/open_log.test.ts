/** What a log is opened with: its files. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import type { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { removeOld } from "../../actors/audit/remove_old.ts";
import { keyPath, segmentFile, verifierKeyPath } from "../../actors/audit/segments.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import {
  logStart,
  openTestLog,
  recordRefusals,
  removeRecords,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";

const test = suite("openLog()");
const dayMs = 86_400_000;

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;

const messageOf = (dir: string) =>
  openTestLog(dir).then((log) => {
    log.close();
    return "opened";
  }, (error: LogUnusable) => error.message);

for (const path of [keyPath, verifierKeyPath]) {
  test(
    `bug: a full disk or a crash at the first start left an empty ${path("")} for good`,
    () =>
      withLogFolder(async (dir) => {
        writeFileSync(path(dir), "");
        const log = await openTestLog(dir);
        await writeCovered(log, new Date(logStart));
        log.close();
        assert.is(verified(dir).covered, 1);
        writeFileSync(path(dir), "");
        assert.match(await messageOf(dir), path(""), "with records the file is not replaced");
        assert.is(readFileSync(path(dir), "utf8"), "");
      }),
  );

  test(`bug: a part of ${path("")} could be written`, () =>
    withLogFolder(async (dir) => {
      mkdirSync(`${path(dir)}.tmp`);
      assert.is.not(await messageOf(dir), "opened");
      assert.is(existsSync(path(dir)), false);
      rmSync(`${path(dir)}.tmp`, { recursive: true });
      assert.is(await messageOf(dir), "opened");
    }));
}

test(
  "bug: a log whose newest checkpoint is in a removed segment was called damaged",
  () =>
    withLogFolder(async (dir) => {
      const log = await openTestLog(dir);
      recordRefusals(log, 3);
      await writeCovered(log, new Date(logStart));
      for (const day of [1, 40, 41]) recordRefusals(log, 3, logStart + day * dayMs);
      await log.write();
      log.close();
      assert.is(await removeOld(dir, { now: new Date(logStart + 41 * dayMs), keepMs: 30 * dayMs }), 1);
      assert.is(existsSync(join(dir, segmentFile(0))), false);
      assert.is(await messageOf(dir), "opened");
      assert.is(verified(dir).records, 16);
    }),
);

test(
  "a log without some of its records is not continued, and the line says what to do",
  () =>
    withLogFolder(async (dir) => {
      const log = await openTestLog(dir);
      for (const day of [0, 1, 2]) recordRefusals(log, 3, logStart + day * dayMs);
      await log.write();
      log.close();
      const text = readFileSync(join(dir, segmentFile(4)));
      await removeRecords(dir, 4);
      const message = await messageOf(dir);
      for (const part of ["restore audit-000000000004.jsonl from a copy", "audit verify", "move the folder away"]) {
        assert.match(message, part);
      }
      writeFileSync(join(dir, segmentFile(4)), text);
      assert.is(await messageOf(dir), "opened");
    }),
);

test.run();
