import { Buffer } from "node:buffer";
import { chmod, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditLog, checkpointRecords } from "../../actors/audit/audit_log.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { readLine } from "../../actors/audit/audit_record.ts";
import type { LogChain } from "../../actors/audit/log_chain.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { fileSigner, type Signer } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import {
  blockWrites,
  logNode,
  logStart,
  openIn,
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
    assert.is(log.newest?.size, 27, "the checkpoint on disk");
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
    const path = join(dir, "audit.checkpoints");
    const whole = await readFile(path, "utf8");
    for (const kept of ["nothing", "audit.edge"]) {
      if (kept === "nothing") await rename(join(dir, "audit.edge"), join(dir, "kept"));
      await writeFile(path, "acme.example/audit/gateway/gateway-01\n2", { flag: "a" });
      log.close();
      (await openTestLog(dir)).close();
      assert.is(await readFile(path, "utf8"), whole);
      if (kept === "nothing") await rename(join(dir, "kept"), join(dir, "audit.edge"));
    }
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

/** A log with its chain, and how often it said that records wait. */
async function openCounted(dir: string, signer?: Signer) {
  const counts = { waits: 0, releases: 0 };
  const opened = await openLog({ dir, node: logNode, signer }, now);
  const release = () => {
    counts.releases += 1;
    opened.release();
  };
  const log = new AuditLog(dir, { ...opened, release }, { at: now, onWaiting: () => void (counts.waits += 1) });
  return { log, chain: opened.chain, counts };
}

/** As after writes that failed: so many bytes wait. */
function makeWait(chain: LogChain, bytes: number): void {
  chain.take();
  chain.putBack([{ segment: 0, offset: 0, lines: [], bytes }]);
}

test("records that wait have 32 MiB; those beyond are counted, and the log says how many once it takes records again", () =>
  withLogFolder(async (dir) => {
    const { log, chain } = await openCounted(dir);
    const add = (type: string) => log.record({ type, outcome: "done" }, now);
    for (const lost of [1, 3]) {
      const [before, sizeBefore] = [log.lost, log.size];
      makeWait(chain, 33_554_431);
      add("last");
      assert.equal([log.lost - before, log.size - sizeBefore], [0, 1]);
      makeWait(chain, 33_554_432);
      for (let index = 0; index < lost; index++) add("lost");
      assert.equal([log.lost - before, log.size - sizeBefore], [lost, 1]);
      chain.take();
      add("a");
      add("b");
      assert.is(log.size, sizeBefore + 4); // they have their places now
      const lines = Buffer.concat(chain.peek().flatMap(({ lines }) => lines)).toString().trimEnd().split("\n");
      const records = lines.map((line) => readLine(line)!);
      assert.equal(records.map(({ type }) => type), ["log.lost", "a", "b"]);
      assert.equal([records[0]?.outcome, { ...records[0]?.detail }], ["failed", { records: lost }]);
    }
    assert.is(log.lost, 4);
    log.close();
  }));

test("a log says that records wait when none did before, and with each act", () =>
  withLogFolder(async (dir) => {
    const { log, counts } = await openCounted(dir);
    const add = () => log.record({ type: "a", outcome: "done" }, now);
    add();
    assert.equal([counts.waits, log.isWaiting], [0, true], "the first record waited before");
    await log.write();
    assert.is(log.isWaiting, false);
    add();
    add();
    assert.is(counts.waits, 1);
    await log.write();
    log.recordNow([{ type: "b", outcome: "done" }, { type: "c", outcome: "done" }], now);
    assert.is(counts.waits, 2);
    assert.equal((await recordsOf(dir)).map(({ type }) => type), ["log.opened", "a", "a", "a", "b", "c"]);
    log.close();
  }));

test("64 records that wait get their places without a write: what waits is counted in bytes", () =>
  withLogFolder(async (dir) => {
    const { log, chain } = await openCounted(dir);
    const before = chain.size;
    for (const [count, places] of [[63, 0], [1, 64], [63, 64], [1, 128]] as const) {
      recordRefusals(log, count);
      assert.is(chain.size - before, places);
    }
    log.close();
  }));

test("a closed log has no file open", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await log.write();
    log.close();
    for (let left = 100; left > 0 && openIn(dir)?.includes(file) === true; left--) await setTimeout(10);
    assert.equal(openIn(dir) ?? [], []);
  }));

test("records keep the order and the times in which they were taken, however many wait, and acts come behind them", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const at = (seconds: number) => new Date(logStart + seconds * 1_000);
    recordRefusals(log, 150);
    log.recordNow([{ type: "act", outcome: "done" }], at(200));
    recordRefusals(log, 3, +at(300));
    assert.equal([log.size, log.newestAt, log.isUncovered], [155, +at(302), true]);
    log.record({ type: "last", outcome: "done" }, at(310));
    assert.is(log.isWaiting, true);
    await writeCovered(log, at(400));
    assert.equal([log.isWaiting, log.isUncovered], [false, false]);
    const records = (await recordsOf(dir)).slice(1);
    const seconds = records.map(({ ts }) => (Date.parse(ts) - logStart) / 1_000);
    assert.equal(seconds, [...Array(150).keys(), 200, 300, 301, 302, 310]);
    assert.equal([records[150]?.type, records.at(-1)?.type], ["act", "last"]);
    assert.is(verified(dir).records, 156);
    log.close();
  }));

test("a checkpoint is due after a minute with a record, or with 1,000 records", () =>
  withLogFolder(async (dir) => {
    const { log } = await openCounted(dir);
    const dueAfter = (ms: number) => log.isDue(new Date(logStart + ms));
    assert.equal([dueAfter(0), dueAfter(120_000)], [false, false], "nothing is on disk");
    await log.cover(new Date(logStart));
    assert.is(log.newest, undefined);
    await log.write();
    assert.equal([dueAfter(0), dueAfter(59_999), dueAfter(60_000), dueAfter(-60_000)], [false, false, true, true]);
    await log.cover(new Date(logStart + 30_000));
    assert.equal([log.newest?.size, log.isUncovered, dueAfter(120_000)], [1, false, false]);
    await log.cover(new Date(logStart + 30_000));
    assert.is(verified(dir).checkpoints, 1, "one of as many records is not made again");
    recordRefusals(log, 999);
    assert.equal([dueAfter(120_000), log.isUncovered], [false, true], "only what is on disk is covered");
    await log.write();
    assert.equal([dueAfter(30_000), dueAfter(89_999), dueAfter(90_000)], [false, false, true]);
    recordRefusals(log, 1);
    await log.write();
    assert.is(dueAfter(30_000), true);
    await log.cover(new Date(logStart + 30_000));
    assert.is(log.newest?.size, 1_001);
    assert.ok((await readFile(join(dir, "audit.checkpoints"), "utf8")).endsWith(`\n\n${log.newest?.note}\n`));
    log.close();
  }));

test("records that are on disk are not written again with an act", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await log.write();
    const length = (await stat(join(dir, file))).size;
    await writeFile(join(dir, file), "x".repeat(length));
    log.recordNow([{ type: "a", outcome: "done" }], now);
    assert.ok((await readFile(join(dir, file), "utf8")).startsWith("x".repeat(length)));
    log.close();
  }));

test("what could not be written waits, and is written with what came meanwhile", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await log.write();
    const unblock = await blockWrites(dir);
    for (const type of ["a", "b"]) {
      log.record({ type, outcome: "done" }, now);
      assert.is(await failsWith(() => log.write()), "unwritable");
      assert.is(log.isWaiting, true);
    }
    await unblock();
    await writeCovered(log, now);
    assert.equal((await recordsOf(dir)).map(({ type }) => type), ["log.opened", "a", "b"]);
    assert.equal([log.isWaiting, log.lost, verified(dir).covered], [false, 0, 3]);
    log.close();
  }));

test("errors name the folder and the cause", () =>
  withLogFolder(async (dir) => {
    const signer = fileSigner((await makeSigningKey()).keyPem);
    const sign = () => Promise.reject(new Error("the token is away"));
    const { log } = await openCounted(dir, { ...signer, sign });
    const messageOf = async (work: () => unknown): Promise<string> => {
      try {
        await work();
      } catch (error) {
        assert.instance(error, LogUnusable);
        assert.equal([(error as LogUnusable).dir, (error as LogUnusable).problem], [dir, "unwritable"]);
        return (error as LogUnusable).message;
      }
      throw new Error("it did not fail");
    };
    await log.write();
    assert.is(await messageOf(() => log.cover(now)), `Cannot write to audit log ${dir}: the token is away`);
    const unblock = await blockWrites(dir);
    recordRefusals(log, 1);
    const act = [{ type: "a", outcome: "done" }];
    for (const work of [() => log.write(), () => log.recordNow(act, now)]) {
      const message = await messageOf(work);
      assert.match(message, "EISDIR");
      assert.is(/Error: /.test(message), false, message);
    }
    await unblock();
    log.close();
    const [first, ...others] = await Promise.all(
      [() => log.write(), () => log.recordNow(act, now)].map((work) => messageOf(work)),
    );
    assert.match(first!, /it is closed$/);
    assert.equal(others, [first]);
  }));

test("a log that was closed while its checkpoint was signed writes none", () =>
  withLogFolder(async (dir) => {
    const signer = fileSigner((await makeSigningKey()).keyPem);
    const signing = Promise.withResolvers<void>();
    const sign = async (data: Uint8Array) => {
      await signing.promise;
      return await signer.sign(data);
    };
    const { log, counts } = await openCounted(dir, { ...signer, sign });
    await log.write();
    const covered = log.cover(now).then(() => "covered", (error: LogUnusable) => error.message);
    log.close();
    log.close();
    assert.is(counts.releases, 1);
    signing.resolve();
    const written = await log.write().then(() => "written", (error: LogUnusable) => error.message);
    assert.is(await covered, written);
    assert.match(written, /it is closed$/);
    assert.equal((await readdir(dir)).filter((name) => /checkpoints|edge/.test(name)), []);
  }));

test("checkpoints that are asked for at once are made one after the other", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    await log.write();
    await Promise.all([log.cover(now), log.cover(now)]);
    recordRefusals(log, 2);
    await Promise.all([log.write(), log.write(), log.cover(now)]);
    await log.cover(now);
    assert.equal([verified(dir).checkpoints, verified(dir).covered], [2, 3]);
    log.close();
  }));

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
