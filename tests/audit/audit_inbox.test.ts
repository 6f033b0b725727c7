import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditInbox, inboxMax } from "../../actors/audit/audit_inbox.ts";
import { AuditLog, waitingBytesMax } from "../../actors/audit/audit_log.ts";
import { readLine } from "../../actors/audit/audit_record.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { logNode, logStart, openTestLog, withLogFolder } from "../support/audit_logs.ts";

const test = suite("AuditInbox");
const recordsIn = (dir: string) =>
  readFileSync(join(dir, "audit-000000000000.jsonl"), "utf8").trimEnd().split("\n").map((line) => readLine(line)!);

/** An inbox whose clock goes on by a second with each look at it. */
function inboxOf(dir: string): AuditInbox {
  let now = logStart;
  return new AuditInbox(dir, () => now += 1_000);
}

test("1,024 records wait for the log with their own times, and the lost ones are counted", () =>
  withLogFolder(async (dir) => {
    const inbox = inboxOf(dir);
    assert.is(inboxMax, 1_024);
    for (let index = 0; index < 1_024; index++) inbox.record({ type: `a${index}`, outcome: "done" });
    assert.equal([inbox.lost, inbox.unkept, inbox.log], [0, 1_024, undefined]);
    for (let index = 0; index < 3; index++) inbox.record({ type: "b", outcome: "done" });
    assert.equal([inbox.lost, inbox.unkept], [3, 1_027]);
    const log = await openTestLog(dir);
    inbox.connect(log);
    assert.equal([inbox.lost, inbox.unkept, inbox.log], [3, 3, log]);
    await log.write();
    const records = recordsIn(dir).slice(1);
    const seconds = (ts: string) => (Date.parse(ts) - logStart) / 1_000;
    assert.is(records.length, 1_024 + 1);
    assert.equal(records.slice(0, -1).map(({ type, ts }) => [type, seconds(ts)]), [
      ...Array.from({ length: 1_024 }, (_, index) => [`a${index}`, index + 1]),
    ]);
    const last = records.at(-1)!;
    assert.equal([last.type, last.outcome, last.detail["records"], seconds(last.ts)], ["log.lost", "failed", 3, 1_028]);
    log.close();
  }));

test("one lost record is in the log too, and none is where none was lost", () =>
  withLogFolder(async (dir) => {
    for (const lost of [1, 0]) {
      const folder = join(dir, `${lost}`);
      const inbox = inboxOf(folder);
      for (let index = 0; index < 1_024 + lost; index++) inbox.record({ type: "a", outcome: "done" });
      const log = await openTestLog(folder);
      inbox.connect(log);
      await log.write();
      assert.is(recordsIn(folder).filter(({ type }) => type === "log.lost").length, lost);
      log.close();
    }
  }));

test("records that the open log lost are counted too", () =>
  withLogFolder(async (dir) => {
    const opened = await openLog({ dir, node: logNode }, new Date(logStart));
    const inbox = inboxOf(dir);
    inbox.connect(new AuditLog(dir, opened, { at: new Date(logStart), onWaiting: () => {} }));
    // As after writes that failed.
    opened.chain.putBack([{ segment: 0, offset: 0, lines: [], bytes: waitingBytesMax }]);
    for (let index = 0; index < 2; index++) inbox.record({ type: "a", outcome: "done" });
    assert.equal([inbox.lost, inbox.unkept], [2, 2]);
    opened.release();
  }));

test("records go to the log once it is open, acts at once", () =>
  withLogFolder(async (dir) => {
    const inbox = inboxOf(dir);
    const act = [{ type: "certificate.issued", outcome: "done" }];
    assert.throws(() => inbox.recordNow(act), (error: unknown) => {
      assert.instance(error, LogUnusable);
      return (error as LogUnusable).dir === dir;
    });
    const log = await openTestLog(dir);
    inbox.connect(log);
    inbox.record({ type: "a", outcome: "done" });
    assert.is(log.size, 2);
    assert.equal([inbox.lost, inbox.unkept], [0, 0]);
    inbox.recordNow(act);
    assert.equal(recordsIn(dir).map(({ type }) => type), ["log.opened", "a", "certificate.issued"]);
    assert.is(recordsIn(dir)[2]?.ts, new Date(logStart + 2_000).toISOString());
    log.close();
  }));

test.run();
