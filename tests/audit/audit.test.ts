/** The machine of an audit log, over real files and the real clock. */
import { Buffer } from "node:buffer";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { alarmEveryMs, auditMachine } from "../../actors/audit/audit.ts";
import { AuditInbox, inboxMax } from "../../actors/audit/audit_inbox.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { checkpointRecords } from "../../actors/audit/audit_log.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { fileSigner, type Signer } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import { logNode, logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";
import { until } from "../support/transports.ts";

const test = suite("auditMachine");
const file = "audit-000000000000.jsonl";
const dayMs = 86_400_000;
const event = { type: "job.started", outcome: "done" };

/** Timers of a minute and more end at once. */
const fastClock = {
  setTimeout: (end: (...args: unknown[]) => void, ms: number) => setTimeout(end, ms < alarmEveryMs ? ms : 20),
  clearTimeout: (id: number) => clearTimeout(id),
};

function start(dir: string, now: () => number = Date.now, signer?: Signer) {
  const reports: Report[] = [];
  const ports = { ...makePorts((report) => void reports.push(report)), now };
  const inbox = new AuditInbox(dir, now);
  const actor = superviseRoot(auditMachine, {
    id: "audit",
    input: { ports, inbox, dir, node: logNode, keepMs: 30 * dayMs, signer },
    clock: fastClock as never,
    onError: (error) => {
      throw error;
    },
  });
  const said = (name: string) => reports.filter(({ event }) => event === name);
  return {
    inbox,
    said,
    opened: () => until("the log is open", () => said("audit.opened").length > 0, 20_000),
    state: () => actor.getSnapshot().value,
    isResting: () =>
      (actor.getSnapshot().children["records"]?.getSnapshot() as { readonly value?: string } | undefined)?.value ===
        "resting",
    isRemoved: () => actor.getSnapshot().matches({ keeping: { removals: "resting" } }),
    failures: () => actor.getSnapshot().context.failures,
    close: () => actor.send({ type: "audit.close" }),
    end: async () => {
      actor.send({ type: "audit.close" });
      await until("the log is closed", () => actor.getSnapshot().status === "done", 20_000);
      await ports.dispose();
    },
  };
}

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;

test("what is recorded before the log is open is in it, and the end is covered", () =>
  withLogFolder(async (dir) => {
    const log = start(dir);
    for (let index = 0; index < inboxMax + 2; index++) log.inbox.record(event);
    await log.opened();
    log.inbox.record(event);
    await until("it is written", () => log.isResting(), 20_000);
    log.inbox.record(event);
    await log.end();
    const { records, covered } = verified(dir);
    // The first record, those that waited, how many did not fit, and two.
    assert.equal([records, covered], [1 + inboxMax + 1 + 2, 1 + inboxMax + 1 + 2]);
    assert.match(await readFile(join(dir, file), "utf8"), '"detail":{"records":2}');
  }));

test("a log that ends before it is open ends at once", () =>
  withLogFolder(async (dir) => {
    const log = start(dir);
    await log.end();
  }));

test("bug: records that waited for a log that was never open were dropped without a line", () =>
  withLogFolder(async (dir) => {
    await writeFile(join(dir, "audit.key"), "no key");
    const log = start(dir);
    for (let index = 0; index < inboxMax + 2; index++) log.inbox.record(event);
    await until("it is not open", () => log.failures() > 0, 20_000);
    await log.end();
    const [, dropped, ...more] = log.said("audit.unwritten");
    assert.match(`${dropped?.message}`, `Audit log ${dir} was not open when the program ended; records lost: 1026`);
    assert.is(dropped?.fields?.["lost"], inboxMax + 2);
    assert.is(more.length, 0);
  }));

test("acts that must be recorded are refused before the log is open", () =>
  withLogFolder(async (dir) => {
    const inbox = new AuditInbox(dir, Date.now);
    assert.throws(() => inbox.recordNow([event]), (error: unknown) => error instanceof LogUnusable);
    const log = start(dir);
    await log.opened();
    log.inbox.recordNow([event]);
    assert.is((await readFile(join(dir, file), "utf8")).split("\n").length, 3);
    await log.end();
  }));

test("a disk that takes nothing is one alarm; it is tried again, and nothing is lost", () =>
  withLogFolder(async (dir) => {
    const log = start(dir);
    await log.opened();
    await until("it is written", () => log.isResting(), 20_000);
    await rename(join(dir, file), join(dir, "kept"));
    await mkdir(join(dir, file));
    log.inbox.record(event);
    await until("two writes failed", () => log.failures() >= 2, 20_000);
    assert.is(log.said("audit.unwritten").length, 1);
    await rm(join(dir, file), { recursive: true });
    await rename(join(dir, "kept"), join(dir, file));
    await until("it is written", () => log.isResting(), 20_000);
    await log.end();
    assert.is(verified(dir).records, 2);
  }));

test("a log that was changed is not continued, and the node is not held up", () =>
  withLogFolder(async (dir) => {
    const before = await openTestLog(dir);
    recordRefusals(before, 5);
    await writeCovered(before, new Date(logStart));
    before.close();
    const path = join(dir, file);
    const text = await readFile(path, "utf8");
    await writeFile(path, text.split("\n").slice(0, 3).join("\n") + "\n");
    const log = start(dir);
    await until("it is refused", () => log.state() === "unusable", 20_000);
    log.inbox.record(event);
    assert.match(log.said("audit.unwritten")[0]?.message ?? "", "Verify it: hypha-certutil audit verify");
    assert.is((await readFile(path, "utf8")).split("\n").length, 4);
    await log.end();
  }));

test("bug: a signature that does not come kept records from the disk, and a stop lost them", () =>
  withLogFolder(async (dir) => {
    const { keyPem } = await makeSigningKey();
    let signs = 0;
    const sign = () => new Promise<never>(() => signs += 1);
    const log = start(dir, Date.now, { ...fileSigner(keyPem), sign });
    await log.opened();
    for (let index = 0; index < checkpointRecords; index++) log.inbox.record(event);
    await until("a checkpoint is being signed", () => signs > 0, 20_000);
    const lines = () => readFileSync(join(dir, file), "utf8").split("\n").length - 1;
    log.inbox.record(event);
    await until("the next record is written", () => lines() === checkpointRecords + 2, 5_000);
    log.inbox.record(event);
    log.close();
    await until("the last record is written", () => lines() === checkpointRecords + 3, 5_000);
    assert.is(signs, 1);
  }));

const segmentsOf = async (dir: string) => (await readdir(dir)).filter((name) => /^audit-\d/.test(name)).toSorted();

/** Records on several days. */
async function recordOn(dir: string, days: readonly number[]): Promise<void> {
  for (const day of days) {
    const log = start(dir, () => logStart + day * dayMs);
    await log.opened();
    await until("it is written", () => log.isResting(), 20_000);
    await log.end();
  }
}

test("old segments become leaf hashes while records are kept; checkpoints and proofs hold", () =>
  withLogFolder(async (dir) => {
    let now = logStart;
    const log = start(dir, () => now);
    await log.opened();
    for (const day of [0, 1, 2, 40, 41]) {
      now = logStart + day * dayMs;
      log.inbox.record(event);
      await until("it is written", () => log.isResting(), 20_000);
    }
    await until("old ones are removed", () => !existsSync(join(dir, "audit-000000000002.jsonl")), 20_000);
    await log.end();
    const names = await segmentsOf(dir);
    assert.equal(names, [
      "audit-000000000000.leaves",
      "audit-000000000002.leaves",
      "audit-000000000004.jsonl",
      "audit-000000000006.jsonl",
      "audit-000000000008.jsonl",
    ]);
    assert.is(verified(dir).records, 10);
    const leaves = await readFile(join(dir, names[0]!));
    await writeFile(join(dir, names[0]!), Buffer.from(leaves).fill(1, 0, 4));
    assert.is((verifyLog(dir, readVerifierKey(dir) as AuditKey) as { readonly code?: string }).code, "checkpoint-root");
  }));

test("bug: an old segment that could not be removed kept the log shut, and was then forgotten", () =>
  withLogFolder(async (dir) => {
    await recordOn(dir, [0, 1]);
    const block = join(dir, "audit-000000000000.leaves.tmp");
    await mkdir(block);
    await recordOn(dir, [40, 41]);
    const log = start(dir, () => logStart + 42 * dayMs);
    await log.opened();
    await until("it is reported", () => log.said("audit.unremoved").length > 1, 5_000);
    assert.match(log.said("audit.unremoved")[0]?.message ?? "", "audit-000000000000.jsonl: EISDIR");
    assert.is(log.failures(), 0);
    await rm(block, { recursive: true });
    await until("it is removed", () => !existsSync(join(dir, file)), 5_000);
    await log.end();
  }));

test("bug: a clock that jumped ahead once removed the history", () =>
  withLogFolder(async (dir) => {
    await recordOn(dir, [0, 1, 2, 400]);
    assert.is((await segmentsOf(dir)).filter((name) => name.endsWith(".jsonl")).length, 4);
    let now = logStart + 400 * dayMs;
    const log = start(dir, () => now);
    await log.opened();
    await until("it is tried again", () => log.isRemoved(), 5_000);
    assert.is(log.said("audit.clock-behind").length, 0);
    now = logStart + 3 * dayMs;
    for (let times = 0; times < 2; times++) {
      log.inbox.record(event);
      await until("it is written", () => log.isResting(), 20_000);
    }
    assert.is(log.said("audit.clock-behind").length, 1);
    await log.end();
    assert.is((await segmentsOf(dir)).filter((name) => name.endsWith(".jsonl")).length, 4);
    assert.is(verified(dir).covered, verified(dir).records);
  }));

test("bug: an act that was recorded while the last checkpoint was signed was in none", () =>
  withLogFolder(async (dir) => {
    const signer = fileSigner((await makeSigningKey()).keyPem);
    const signing = Promise.withResolvers<void>();
    let signs = 0;
    const sign = async (data: Uint8Array) => {
      signs += 1;
      await signing.promise;
      return await signer.sign(data);
    };
    const log = start(dir, Date.now, { ...signer, sign });
    await log.opened();
    log.close();
    await until("the last checkpoint is being signed", () => signs > 0, 20_000);
    log.inbox.recordNow([event]);
    signing.resolve();
    await log.end();
    assert.equal([verified(dir).records, verified(dir).covered], [2, 2]);
  }));

test("bug: acts alone were in no checkpoint", () =>
  withLogFolder(async (dir) => {
    let now = logStart;
    const log = start(dir, () => now);
    await log.opened();
    await until("it is written", () => log.isResting(), 20_000);
    for (const day of [1, 40]) {
      now = logStart + day * dayMs;
      log.inbox.recordNow([event]);
      await until("it is covered", () => verified(dir).covered === log.inbox.log?.size, 5_000);
    }
    await log.end();
  }));

test.run();
