import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import { formatAuditKey } from "../../actors/audit/checkpoint.ts";
import { isConsistent } from "../../actors/audit/consistency.ts";
import { NotProvable } from "../../actors/audit/log_prover.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { witnessedLog } from "../../actors/audit/witnessed_log.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("witnessedLog()");

test("a log that is not open, or has no checkpoint yet, has nothing to ask about", () =>
  withLogFolder(async (dir) => {
    const inbox = new AuditInbox(dir, () => logStart);
    const witnessed = witnessedLog(dir, inbox);
    assert.is(witnessed.newest(), undefined);
    assert.equal(await witnessed.prove({ old: 1, size: 1 }), []);
    const log = await openTestLog(dir);
    inbox.connect(log);
    assert.is(witnessed.newest(), undefined);
    assert.equal(await witnessed.prove({ old: 1, size: 1 }), []);
    log.close();
  }));

test("gives the newest checkpoint with its key, and proves each by each later one", () =>
  withLogFolder(async (dir) => {
    const inbox = new AuditInbox(dir, () => logStart);
    const witnessed = witnessedLog(dir, inbox);
    const log = await openTestLog(dir);
    inbox.connect(log);
    recordRefusals(log, 2);
    await writeCovered(log, new Date(logStart));
    const before = log.newest!;
    recordRefusals(log, 4);
    await writeCovered(log, new Date(logStart));
    const after = log.newest!;
    assert.equal(witnessed.newest(), { ...after, key: formatAuditKey(log.key) });
    assert.equal([before.size, after.size], [3, 7]);
    assert.ok(isConsistent(before, after, await witnessed.prove({ old: 3, size: 7 })));
    const path = join(dir, segmentFile(0));
    writeFileSync(path, readFileSync(path, "utf8").replace("worker-1", "worker-2"));
    const restarted = witnessedLog(dir, inbox);
    assert.instance(await restarted.prove({ old: 3, size: 7 }).catch((error: unknown) => error), NotProvable);
    log.close();
  }));

test.run();
