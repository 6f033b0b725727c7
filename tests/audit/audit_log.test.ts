import { chmod, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditLog, checkpointRecords } from "../../actors/audit/audit_log.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { readLine } from "../../actors/audit/audit_record.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { fileSigner, type Signer } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import {
  blockWrites,
  logNode,
  logStart,
  openTestLog,
  recordRefusals,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";

const test = suite("AuditLog");
const file = "audit-000000000000.jsonl";
const now = new Date(logStart);

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;
const recordsOf = async (dir: string, name: string = file) =>
  (await readFile(join(dir, name), "utf8")).trimEnd().split("\n").map((line) => readLine(line)!);

/** As the machine does. */
async function writeDue(log: AuditLog, at: Date): Promise<void> {
  await log.write();
  if (log.isDue(at)) await log.cover(at);
}

async function failsWith(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, LogUnusable);
    return (error as LogUnusable).problem;
  }
  throw new Error("it did not fail");
}

test("the files are their owner's alone, and the first record names node and key", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    for (const name of await readdir(dir)) assert.is((await stat(join(dir, name))).mode & 0o077, 0, name);
    const [first] = await recordsOf(dir);
    assert.is(first?.node, logNode);
    assert.is(first?.type, "log.opened");
    assert.is(`${first?.detail["key"]}\n`, await readFile(join(dir, "audit.vkey"), "utf8"));
  }));

test("a checkpoint comes with every 1,000 records, after a minute, and at the end", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const coveredAfter = async (count: number, at: number) => {
      recordRefusals(log, count, logStart);
      await writeDue(log, new Date(at));
      return verified(dir).covered;
    };
    assert.is(await coveredAfter(checkpointRecords - 2, logStart), 0);
    assert.is(await coveredAfter(1, logStart), checkpointRecords);
    assert.is(await coveredAfter(1, logStart + 59_999), checkpointRecords);
    assert.is(await coveredAfter(1, logStart + 60_000), checkpointRecords + 2);
    recordRefusals(log, 1);
    await writeCovered(log, new Date(logStart + 60_001));
    assert.is(verified(dir).covered, checkpointRecords + 3);
    assert.is(log.isUncovered, false);
  }));

test("bug: after a clock had gone back, no checkpoint came for as long as it had been ahead", () =>
  withLogFolder(async (dir) => {
    const hourMs = 3_600_000;
    const log = await openTestLog(dir, logStart + hourMs);
    recordRefusals(log, 3);
    await writeDue(log, new Date(logStart + 1_000));
    assert.is(verified(dir).covered, 4);
    recordRefusals(log, 1);
    await writeDue(log, new Date(logStart + 2_000));
    assert.is(verified(dir).covered, 4);
    await writeDue(log, new Date(logStart + 61_000));
    assert.is(verified(dir).covered, 5);
    log.close();
  }));

test("a clock that goes back makes no record older than the one before", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    log.record({ type: "a", outcome: "done" }, new Date(logStart + 5_000));
    log.record({ type: "b", outcome: "done" }, new Date(logStart - 5_000));
    await writeCovered(log, now);
    assert.is((await recordsOf(dir)).at(-1)?.ts, "2026-01-31T12:00:05.000Z");
    assert.is(verified(dir).records, 3);
  }));

test("a detail that is too long is cut, and its hash is kept", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    log.record({ type: "a", outcome: "done", detail: { text: "\u0001".repeat(5_000) } }, now);
    await writeCovered(log, now);
    const { detail } = (await recordsOf(dir)).at(-1)!;
    assert.equal(Object.keys(detail), ["cut", "text"]);
    assert.is(verified(dir).records, 2);
  }));

test("a log goes on where it ended, with and without the state of its checkpoint", () =>
  withLogFolder(async (dir) => {
    for (const kept of ["audit.edge", "nothing"]) {
      const log = await openTestLog(dir);
      recordRefusals(log, 10);
      await writeCovered(log, now);
      recordRefusals(log, 5);
      await log.write();
      if (kept === "nothing") await rm(join(dir, "audit.edge"));
      log.close();
    }
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    const { records, covered, checkpoints } = verified(dir);
    assert.equal({ records, covered, checkpoints }, { records: 33, covered: 33, checkpoints: 3 });
  }));

test("a torn line is moved aside and recorded", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 10);
    await writeCovered(log, now);
    await writeFile(join(dir, file), '{"detail":{"add', { flag: "a" });
    assert.is(verified(dir).torn?.line, 12);
    log.close();
    const again = await openTestLog(dir);
    await writeCovered(again, now);
    assert.is(await readFile(join(dir, "audit-000000000000.torn"), "utf8"), '{"detail":{"add\n');
    const last = (await recordsOf(dir)).at(-1);
    assert.equal([last?.type, last?.detail], ["log.recovered", { bytes: 15, file: "audit-000000000000.torn" }]);
    assert.is(verified(dir).records, 13);
  }));

test("a torn checkpoint is made again", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await writeCovered(log, now);
    await writeFile(join(dir, "audit.checkpoints"), "acme.example/audit/gateway/gateway-01\n2", { flag: "a" });
    log.close();
    const again = await openTestLog(dir);
    await writeCovered(again, now);
    assert.is(verified(dir).checkpoints, 2);
  }));

const damages: readonly (readonly [name: string, damage: (dir: string) => Promise<unknown>, problem: string])[] = [
  ["records before the newest checkpoint are cut off", async (dir) => {
    const path = join(dir, file);
    await writeFile(path, (await readFile(path, "utf8")).split("\n").slice(0, 5).join("\n") + "\n");
  }, "damaged"],
  ["a record was changed and the state is away", async (dir) => {
    const path = join(dir, file);
    await writeFile(path, (await readFile(path, "utf8")).replace("worker-3", "worker-4"));
    await rm(join(dir, "audit.edge"));
  }, "damaged"],
  ["a checkpoint is forged", async (dir) => {
    const path = join(dir, "audit.checkpoints");
    await writeFile(path, (await readFile(path, "utf8")).replace("\n11\n", "\n10\n"));
  }, "damaged"],
  ["the key is another one", (dir) => rm(join(dir, "audit.key")), "key"],
  ["the key is no key", (dir) => writeFile(join(dir, "audit.key"), "nothing"), "unreadable"],
];
for (const [name, damage, problem] of damages) {
  test(`a log is not continued where ${name}`, () =>
    withLogFolder(async (dir) => {
      const log = await openTestLog(dir);
      recordRefusals(log, 10);
      await writeCovered(log, now);
      log.close();
      await damage(dir);
      assert.is(await failsWith(() => openTestLog(dir)), problem);
    }));
}

test("bug: while a signature did not come, no record was written", () =>
  withLogFolder(async (dir) => {
    const { keyPem } = await makeSigningKey();
    const hanging: Signer = { ...fileSigner(keyPem), sign: () => new Promise(() => {}) };
    const log = new AuditLog(dir, await openLog({ dir, node: logNode, signer: hanging }, now), {
      at: now,
      onWaiting: () => {},
    });
    void writeCovered(log, now);
    log.record({ type: "a", outcome: "done" }, now);
    const written = await Promise.race([log.write().then(() => true), setTimeout(2_000, false)]);
    assert.ok(written);
    assert.equal((await recordsOf(dir)).map(({ type }) => type), ["log.opened", "a"]);
    log.recordNow([{ type: "b", outcome: "done" }], now);
    log.close();
  }));

test("recordNow() is on disk when it returns, with what waited before", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 3);
    log.recordNow([{ type: "certificate.issued", outcome: "done" }], now);
    assert.equal((await recordsOf(dir)).map(({ type }) => type).at(-1), "certificate.issued");
    assert.is(log.isWaiting, false);
    const inFlight = writeCovered(log, now);
    log.recordNow([{ type: "certificate.revoked", outcome: "done" }], now);
    await inFlight;
    await writeCovered(log, now);
    assert.is(verified(dir).records, 6);
  }));

test("recordNow() that fails leaves no record, and the log goes on", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 3);
    await writeCovered(log, now);
    const unblock = await blockWrites(dir);
    recordRefusals(log, 1);
    assert.is(
      await failsWith(() => log.recordNow([{ type: "certificate.issued", outcome: "done" }], now)),
      "unwritable",
    );
    await unblock();
    // As of a write that was cut short.
    await writeFile(join(dir, file), '{"detail":{},"type":"certificate.issued"}\n', { flag: "a" });
    log.recordNow([{ type: "certificate.revoked", outcome: "done" }], now);
    await writeCovered(log, now);
    assert.equal((await recordsOf(dir)).map(({ type }) => type).slice(-2), ["refusal", "certificate.revoked"]);
    assert.is(verified(dir).records, 6);
  }));

test("bug: two processes kept one log, and wrote over each other's records", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 3);
    await writeCovered(log, now);
    assert.is(await failsWith(() => openTestLog(dir)), "locked");
    assert.is(verified(dir).records, 4, "to verify it takes no lock");
    log.close();
    assert.is(await failsWith(() => log.write()), "unwritable");
    assert.is(await failsWith(() => log.recordNow([{ type: "a", outcome: "done" }], now)), "unwritable");
    const again = await openTestLog(dir);
    await writeCovered(again, now);
    assert.is(verified(dir).records, 5);
    again.close();
  }));

test("a log that cannot be opened is not locked", () =>
  withLogFolder(async (dir) => {
    await writeFile(join(dir, "audit.key"), "nothing");
    for (let times = 0; times < 2; times++) assert.is(await failsWith(() => openTestLog(dir)), "unreadable");
  }));

test("a folder that cannot be made is an error with its path", () =>
  withLogFolder(async (dir) => {
    await writeFile(join(dir, "audit"), "");
    await chmod(join(dir, "audit"), 0o600);
    assert.is(await failsWith(() => openTestLog(join(dir, "audit"))), "unreadable");
  }));

test.run();
