/** The machine of an audit log, over real files and a clock that is moved by hand. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { auditMachine } from "../../actors/audit/audit.ts";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { fileSigner, type Signer } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import { blockWrites, logNode, logStart, openTestLog, withLogFolder } from "../support/audit_logs.ts";
import { ManualClock } from "../support/manual_clock.ts";
import { until } from "../support/transports.ts";

const test = suite("The times of auditMachine");
const file = segmentFile(0);
const dayMs = 86_400_000;
/** A disk that takes no time, by the clock of these tests: this leaves one millisecond of the ten. */
const gatherMs = 9;
const event = { type: "job.started", outcome: "done" };

/** What happens does so within some milliseconds: files alone are waited for. */
const seen = (what: string, look: () => boolean) => until(what, look, 3_000);

type Part = "records" | "checkpoints" | "removals";

/** Keeps a log in a folder. Its clock stands until the test moves it. */
function keep(dir: string, signer?: Signer) {
  const clock = new ManualClock(logStart);
  const timers = {
    setTimeout: (run: () => void, ms: number) => clock.after(ms, run),
    clearTimeout: (timer: ReturnType<ManualClock["after"]>) => clock.cancel(timer),
  };
  const reports: Report[] = [];
  const ports = {
    ...makePorts((report) => void reports.push(report)),
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
  };
  const inbox = new AuditInbox(dir, ports.now);
  const actor = superviseRoot(auditMachine, {
    id: "audit",
    input: { ports, inbox, dir, node: logNode, keepMs: 30 * dayMs, signer },
    clock: timers as never,
    onError: (error) => {
      throw error;
    },
  });
  const parts = () => actor.getSnapshot().value as { readonly keeping?: Readonly<Record<string, string>> };
  const writer = () => actor.getSnapshot().children["records"]?.getSnapshot() as { readonly value: string } | undefined;
  const state = (part: Part) => part === "records" ? writer()?.value : parts().keeping?.[part];
  const log = {
    clock,
    inbox,
    said: (name: string) => reports.filter(({ event }) => event === name),
    root: () => actor.getSnapshot().value,
    failures: () => actor.getSnapshot().context.failures,
    isDone: () => actor.getSnapshot().status === "done",
    state,
    become: (part: Part, name: string) => seen(`${part} are ${name}`, () => state(part) === name),
    opened: async () => {
      await seen("the log is open", () => parts().keeping !== undefined);
      await seen("old records were looked for", () => state("removals") !== "removing");
    },
    /** Takes a record and writes it. */
    write: async () => {
      inbox.record(event);
      clock.pass(gatherMs);
      await log.become("records", "resting");
    },
    close: () => actor.send({ type: "audit.close" }),
    end: async () => {
      actor.send({ type: "audit.close" });
      await seen("the log is closed", () => actor.getSnapshot().status === "done");
      await ports.dispose();
    },
  };
  return log;
}

const linesIn = (dir: string) => readFileSync(join(dir, file), "utf8").split("\n").length - 1;
const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;

/** A signer whose signatures come when the test lets them. */
async function heldSigner() {
  const signer = fileSigner((await makeSigningKey()).keyPem);
  const held = { signs: 0, release: () => {}, isBroken: false };
  const sign = async (data: Uint8Array) => {
    held.signs += 1;
    if (held.isBroken) throw new Error("the token is away");
    await new Promise<void>((resolve) => held.release = resolve);
    return await signer.sign(data);
  };
  return { held, signer: { ...signer, sign } };
}

test("records are gathered for what the last write left of 10 ms", () =>
  withLogFolder(async (dir) => {
    const log = keep(dir);
    await log.opened();
    const [opened, ...more] = log.said("audit.opened");
    assert.equal([opened?.level, opened?.fields, more], ["info", { dir, records: 1 }, []]);
    assert.is(log.said("audit.recovered").length, 0);
    /** Gathers for so long, and for no millisecond less; the write takes so long by the test's clock. */
    const writes = async (afterMs: number, takesMs: number) => {
      assert.is(log.state("records"), "gathering");
      log.clock.pass(afterMs - 1);
      assert.is(log.state("records"), "gathering");
      log.clock.pass(1);
      assert.is(log.state("records"), "writing");
      log.clock.pass(takesMs);
      await log.become("records", "resting");
    };
    await writes(9, 0);
    let [lines, gatherFor] = [1, 9];
    for (const [takesMs, then] of [[0, 9], [1, 9], [3, 7], [8, 2], [9, 2], [5_000, 2], [0, 9]] as const) {
      log.inbox.record(event);
      await writes(gatherFor, takesMs);
      gatherFor = then;
      lines += 1;
      assert.is(linesIn(dir), lines);
    }
    log.inbox.record(event);
    log.clock.pass(gatherMs);
    for (let turns = 0; turns < 10; turns++) await null; // what waits is being written
    log.inbox.record(event);
    assert.is(log.state("records"), "writing");
    await seen("it is written", () => log.state("records") !== "writing");
    assert.equal([log.state("records"), linesIn(dir)], ["gathering", lines + 1]);
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    assert.is(linesIn(dir), lines + 2);
    assert.equal([log.failures(), log.said("audit.unwritten").length], [0, 0]);
    await log.end();
  }));

test("a write that fails is tried again after a second; there is one alarm a minute", () =>
  withLogFolder(async (dir) => {
    const log = keep(dir);
    await log.opened();
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    const unblock = await blockWrites(dir);
    log.inbox.record(event);
    log.clock.pass(gatherMs);
    await log.become("records", "failing");
    const alarms = () => log.said("audit.unwritten");
    const [alarm] = alarms();
    assert.equal([alarm?.level, alarm?.fields], ["error", { dir, failures: 1, lost: 0 }]);
    const detail = alarm!.message.slice(alarm!.message.indexOf("EISDIR"));
    assert.is(alarm?.message, new LogUnusable({ dir, problem: "unwritable", detail }).message);
    log.clock.pass(999);
    assert.is(log.state("records"), "failing");
    const alarmedAt = logStart + 2 * gatherMs;
    let failures = 1;
    /** The next try fails at this time, in milliseconds after the first alarm. */
    const alarmsAfter = async (ms: number) => {
      log.clock.wallAt += alarmedAt + ms - log.clock.now() - (failures === 1 ? 1 : 1_000);
      log.clock.pass(failures === 1 ? 1 : 1_000);
      failures += 1;
      await seen("it failed again", () => log.failures() === failures && log.state("records") === "failing");
      return alarms().length;
    };
    assert.is(await alarmsAfter(0), 1);
    assert.is(await alarmsAfter(59_999), 1);
    assert.is(await alarmsAfter(60_000), 2);
    assert.is(alarms()[1]?.fields?.["failures"], 4);
    assert.is(await alarmsAfter(119_999), 2);
    assert.is(await alarmsAfter(-1), 3, "a clock that was set back does not silence alarms");
    await unblock();
    log.clock.pass(1_000);
    await log.become("records", "resting");
    assert.is(linesIn(dir), 2);
    await log.end();
  }));

test("a log that cannot be opened is tried again after a minute, and takes what waited", () =>
  withLogFolder(async (dir) => {
    writeFileSync(join(dir, "audit.key"), "nothing");
    const log = keep(dir);
    await seen("it is refused", () => log.root() === "unusable");
    assert.equal([log.failures(), log.said("audit.unwritten").length], [1, 1]);
    const [alarm] = log.said("audit.unwritten");
    assert.equal(alarm?.fields, { dir, failures: 1, lost: 0 });
    assert.is(alarm?.message.indexOf(`Cannot continue audit log ${dir}: `), 0, "the reason is the opening's own");
    log.inbox.record(event);
    rmSync(join(dir, "audit.key"));
    log.clock.pass(59_999);
    assert.is(log.root(), "unusable");
    log.clock.pass(1);
    await log.opened();
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    assert.equal([linesIn(dir), log.inbox.unkept], [2, 0]);
    await log.end();
    assert.is(log.said("audit.unwritten").length, 1);
  }));

test("an incomplete line is reported with the file that keeps it", () =>
  withLogFolder(async (dir) => {
    const before = await openTestLog(dir);
    await before.write();
    before.close();
    appendFileSync(join(dir, file), "a part");
    const log = keep(dir);
    await log.opened();
    const [recovered, ...more] = log.said("audit.recovered");
    assert.equal([recovered?.level, recovered?.fields, more], [
      "warn",
      { dir, file: "audit-000000000000.torn" },
      [],
    ]);
    await log.end();
  }));

test("records are in a checkpoint after a minute, not with each write", () =>
  withLogFolder(async (dir) => {
    const log = keep(dir);
    await log.opened();
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    log.clock.pass(60_000 - gatherMs - 1);
    assert.equal([log.state("checkpoints"), verified(dir).covered], ["resting", 0]);
    log.clock.pass(1);
    await seen("it is covered", () => verified(dir).covered === 1);
    await log.become("checkpoints", "resting");
    log.clock.pass(10_000);
    await log.write();
    assert.is(verified(dir).covered, 1);
    log.clock.pass(50_000 - gatherMs);
    await seen("it is covered", () => verified(dir).covered === 2);
    await log.become("checkpoints", "resting");
    log.clock.pass(120_000);
    assert.equal([log.state("checkpoints"), verified(dir).checkpoints], ["resting", 2]);
    await log.write();
    await seen("it is covered", () => verified(dir).covered === 3);
    await log.end();
    assert.is(verified(dir).checkpoints, 3);
  }));

test("1,000 records are in a checkpoint at once, and 1,000 more that came meanwhile in the next", () =>
  withLogFolder(async (dir) => {
    const { held, signer } = await heldSigner();
    const log = keep(dir, signer);
    await log.opened();
    for (let index = 0; index < 999; index++) log.inbox.record(event);
    log.clock.pass(gatherMs);
    await seen("a checkpoint is signed", () => held.signs === 1);
    for (let index = 0; index < 999; index++) log.inbox.record(event);
    await log.write();
    assert.is(held.signs, 1);
    held.release();
    await seen("the next one is signed", () => held.signs === 2);
    held.release();
    await seen("both are there", () => verified(dir).covered === 2_000);
    await log.become("checkpoints", "resting");
    await log.write();
    assert.is(held.signs, 2);
    log.close();
    await seen("the last one is signed", () => held.signs === 3);
    held.release();
    await log.end();
    assert.is(verified(dir).covered, 2_001);
  }));

test("a signature that fails is an alarm, and is tried again after a second; records are written meanwhile", () =>
  withLogFolder(async (dir) => {
    const { held, signer } = await heldSigner();
    const log = keep(dir, signer);
    await log.opened();
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    held.isBroken = true;
    log.clock.pass(60_000 - gatherMs);
    await log.become("checkpoints", "failing");
    assert.equal([held.signs, log.failures(), log.said("audit.unwritten").length], [1, 1, 1]);
    await log.write();
    assert.is(linesIn(dir), 2);
    log.clock.pass(1_000 - gatherMs - 1);
    assert.is(log.state("checkpoints"), "failing");
    held.isBroken = false;
    log.clock.pass(1);
    await seen("it is signed", () => held.signs === 2);
    held.release();
    await seen("it is covered", () => verified(dir).covered === 2);
    await log.end();
    assert.is(log.said("audit.unwritten").length, 1);
  }));

test("old records are looked for every hour, and a minute after a removal that failed", () =>
  withLogFolder(async (dir) => {
    const log = keep(dir);
    await log.opened();
    assert.is(log.state("removals"), "resting");
    log.clock.pass(gatherMs);
    await log.become("records", "resting");
    for (const day of [1, 40, 41]) {
      log.clock.wallAt = logStart + day * dayMs;
      await log.write();
    }
    const block = join(dir, "audit-000000000000.leaves.tmp");
    mkdirSync(block);
    log.clock.pass(3_600_000 - 4 * gatherMs - 1);
    assert.is(log.state("removals"), "resting");
    log.clock.pass(1);
    assert.is(log.state("removals"), "removing");
    await log.become("removals", "failing");
    const [unremoved] = log.said("audit.unremoved");
    assert.equal([unremoved?.level, unremoved?.fields], ["error", { dir }]);
    assert.match(unremoved!.message, `Cannot remove old records of audit log ${dir}: ${file}: EISDIR`);
    rmdirSync(block);
    log.clock.pass(59_999);
    assert.is(log.state("removals"), "failing");
    log.clock.pass(1);
    await log.become("removals", "resting");
    assert.equal([existsSync(join(dir, file)), existsSync(join(dir, segmentFile(0, "leaves")))], [false, true]);
    assert.equal([log.failures(), log.said("audit.unremoved").length], [0, 1]);
    await log.end();
  }));

test("a clock that is a minute behind the newest record is reported, once until it is right again", () =>
  withLogFolder(async (dir) => {
    const log = keep(dir);
    await log.opened();
    await log.write();
    const newest = logStart;
    const saidBehind = async (ms: number) => {
      log.clock.wallAt += newest - ms - log.clock.now() - gatherMs;
      await log.write();
      return log.said("audit.clock-behind").length;
    };
    assert.is(await saidBehind(59_999), 0);
    assert.is(await saidBehind(60_000), 1);
    const [behind] = log.said("audit.clock-behind");
    assert.equal([behind?.level, behind?.fields], ["error", { dir, until: new Date(newest).toISOString() }]);
    assert.is(await saidBehind(90_000), 1);
    assert.is(await saidBehind(59_999), 1);
    log.clock.wallAt += newest - 60_000 - log.clock.now() - gatherMs;
    log.inbox.record(event);
    log.clock.pass(gatherMs);
    for (let turns = 0; turns < 10; turns++) await null; // what waits is being written
    log.inbox.record(event);
    await log.become("records", "gathering");
    assert.is(log.said("audit.clock-behind").length, 2, "where more waits too");
    await log.end();
  }));

test("a log is locked while it is kept, and not when it ended, also where it ended while it was opened", () =>
  withLogFolder(async (dir) => {
    const isLocked = () =>
      openTestLog(dir).then((other) => {
        other.close();
        return false;
      }, (error: LogUnusable) => error.problem === "locked");
    const log = keep(dir);
    await log.opened();
    assert.is(await isLocked(), true);
    await log.end();
    assert.is(await isLocked(), false);
    const early = keep(dir);
    early.close();
    assert.is(early.isDone(), true);
    await early.end();
    for (let looks = 0; looks < 50 && await isLocked(); looks++) await new Promise((wake) => setTimeout(wake, 10));
    assert.is(await isLocked(), false);
  }));

test("a log that ends before it is open reports its records, if it has any", () =>
  withLogFolder(async (dir) => {
    for (const count of [0, 1, 2]) {
      const log = keep(join(dir, `${count}`));
      for (let index = 0; index < count; index++) log.inbox.record(event);
      await log.end();
      const fields = log.said("audit.unwritten").map(({ level, fields }) => [level, fields]);
      const expected = ["error", { dir: join(dir, `${count}`), failures: 0, lost: count }];
      assert.equal(fields, count === 0 ? [] : [expected]);
    }
  }));

test("an end whose checkpoint is not signed is an alarm; the records are on disk, and the log is unlocked", () =>
  withLogFolder(async (dir) => {
    const { held, signer } = await heldSigner();
    const log = keep(dir, signer);
    await log.opened();
    log.inbox.record(event);
    held.isBroken = true;
    await log.end();
    const alarms = log.said("audit.unwritten");
    assert.is(alarms.length, 1);
    assert.match(alarms[0]!.message, "the token is away");
    assert.equal([verified(dir).records, verified(dir).covered, held.signs], [2, 0, 1]);
    const again = keep(dir, signer);
    await again.opened();
    again.close();
    await until("it ends", again.isDone);
  }));

test("an end while the last checkpoint is signed is one end", () =>
  withLogFolder(async (dir) => {
    const { held, signer } = await heldSigner();
    const log = keep(dir, signer);
    await log.opened();
    log.close();
    await seen("the last checkpoint is signed", () => held.signs === 1);
    log.close();
    assert.is(log.isDone(), false);
    held.release();
    await log.end();
    assert.equal([held.signs, verified(dir).covered, log.said("audit.unwritten").length], [1, 1, 0]);
  }));

test.run();
