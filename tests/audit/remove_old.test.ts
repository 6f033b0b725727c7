/** Old segments are removed up to an exact instant, their hashes stay, and what fails leaves the records where they are. */
import { Buffer } from "node:buffer";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { genesisHash, lineBytesMax } from "../../actors/audit/audit_record.ts";
import { leafHash } from "../../actors/audit/merkle_tree.ts";
import { removeOld } from "../../actors/audit/remove_old.ts";
import { listSegments, segmentFile } from "../../actors/audit/segments.ts";
import { type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { logNode, logStart, openIn } from "../support/audit_logs.ts";
import { chainedLines, inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("removeOld()");
const dayMs = 86_400_000;

/** A log with a segment of four records for each of these days, which begins with the day's first record at noon. */
function days(dir: string, ...numbers: readonly number[]): WrittenLog {
  const log = new WrittenLog(dir, logStart + numbers[0]! * dayMs);
  for (const day of numbers) log.record(3, logStart + day * dayMs);
  log.cover();
  return log;
}

const kinds = (dir: string) => listSegments(dir).map(({ kind, first }) => `${first} ${kind}`);
const onDay = (day: number, ms = 0) => new Date(logStart + day * dayMs + ms);
const failure = (work: Promise<unknown>) => work.then(() => undefined, (error: Error) => error);

test("removes the segments that end before an instant, to the millisecond; their hashes stay", () =>
  inLogFolder(async (dir) => {
    const log = days(dir, 0, 1, 2, 3);
    const lines = readFileSync(join(dir, segmentFile(0)), "utf8").split("\n").slice(0, -1);
    // The last record before the newest segment is of day 2, two seconds past noon; that is earlier than now.
    const keepMs = dayMs + 2_000;
    assert.is(await removeOld(dir, { now: onDay(9), keepMs }), 0);
    assert.equal(kinds(dir), ["0 records", "4 records", "8 records", "12 records"]);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: keepMs - 1 }), 1);
    assert.equal(kinds(dir), ["0 leaves", "4 records", "8 records", "12 records"]);
    const leaves = join(dir, segmentFile(0, "leaves"));
    assert.equal(readFileSync(leaves), Buffer.concat(lines.map((line) => leafHash(Buffer.from(line)))));
    assert.is(statSync(leaves).mode & 0o777, 0o600);
    assert.equal(readdirSync(dir).filter((name) => name.endsWith(".tmp")), []);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: keepMs - 1 }), 0, "what was removed counts once");
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0 }), 1);
    assert.equal(kinds(dir), ["0 leaves", "4 leaves", "8 records", "12 records"]);
    const { records, removed } = verifyLog(dir, log.key) as VerifiedLog;
    assert.equal([records, removed], [16, 8]);
  }));

test("a clock that is behind the records counts from itself", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2, 3);
    assert.is(await removeOld(dir, { now: onDay(1), keepMs: 0 }), 0);
    assert.is(await removeOld(dir, { now: onDay(1, 1), keepMs: 0 }), 1);
    assert.equal(kinds(dir), ["0 leaves", "4 records", "8 records", "12 records"]);
  }));

test("the newest segment stays, and one behind removed ones is not removed twice", () =>
  inLogFolder(async (dir) => {
    const at = { now: onDay(9), keepMs: -9 * dayMs };
    assert.is(await removeOld(dir, at), 0);
    days(dir, 0);
    assert.is(await removeOld(dir, at), 0);
    assert.equal(kinds(dir), ["0 records"]);
    const two = join(dir, "two");
    mkdirSync(two);
    days(two, 0, 1);
    assert.is(await removeOld(two, { now: onDay(9), keepMs: -2 * dayMs }), 1);
    assert.equal(kinds(two), ["0 leaves", "4 records"]);
    assert.is(await removeOld(two, at), 0);
    assert.equal(kinds(two), ["0 leaves", "4 records"]);
  }));

test("a removal goes on behind several segments that were removed before", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2, 3, 4);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: dayMs }), 2);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0 }), 1);
    assert.equal(kinds(dir), ["0 leaves", "4 leaves", "8 leaves", "12 records", "16 records"]);
  }));

test("a removal that was cut short is finished", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2);
    writeFileSync(join(dir, segmentFile(0, "leaves")), "half");
    writeFileSync(join(dir, `${segmentFile(0, "leaves")}.tmp`), "x".repeat(1_000));
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0 }), 1);
    assert.equal(kinds(dir), ["0 leaves", "4 records", "8 records"]);
    assert.is(statSync(join(dir, segmentFile(0, "leaves"))).size, 128);
  }));

test("nothing is removed before a segment that does not begin with a record", () =>
  inLogFolder(async (dir) => {
    for (const text of ["", "no record\n"]) {
      const one = join(dir, String(text.length));
      mkdirSync(one);
      days(one, 0, 1, 2, 3);
      writeFileSync(join(one, segmentFile(4)), text);
      assert.is(await removeOld(one, { now: onDay(9), keepMs: 0 }), 0);
      assert.equal(kinds(one), ["0 records", "4 records", "8 records", "12 records"]);
    }
  }));

test("the error names the file, and the records are where they were", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2);
    const text = readFileSync(join(dir, segmentFile(4)), "utf8");
    writeFileSync(join(dir, segmentFile(4)), `${text}no record\n`);
    const at = { now: onDay(9), keepMs: 0 };
    const damaged = await failure(removeOld(dir, at));
    assert.is(damaged?.message, `${segmentFile(4)}: its last line is no record`);
    assert.instance(damaged?.cause, Error);
    writeFileSync(join(dir, segmentFile(4)), text);
    mkdirSync(join(dir, `${segmentFile(0, "leaves")}.tmp`));
    assert.match(String(await failure(removeOld(dir, at))), `${segmentFile(0)}: EISDIR`);
    assert.equal(kinds(dir), ["0 records", "4 records", "8 records"]);
  }));

test("one that is ended removes no records: another process may write the log then", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2);
    const reason = new Error("ended");
    const error = await failure(removeOld(dir, { now: onDay(9), keepMs: 0, signal: AbortSignal.abort(reason) }));
    assert.is(error?.cause, reason);
    assert.equal(kinds(dir), ["0 records", "4 records", "8 records"]);
    const { signal } = new AbortController();
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0, signal }), 1);
  }));

test("the last record of a segment is found, however long its line is", () =>
  inLogFolder(async (dir) => {
    const records = [{ ts: "2026-01-01T00:00:00.000Z" }, { ts: "2026-01-02T00:00:00.000Z" }].map((record, index) => ({
      ...record,
      detail: { filling: "x".repeat(index === 0 ? 10 : lineBytesMax) },
    }));
    const [, long = ""] = chainedLines(records, genesisHash(logNode, ""));
    const excess = Buffer.byteLength(long) - lineBytesMax;
    records[1]!.detail.filling = "x".repeat(lineBytesMax - excess);
    const lines = chainedLines([...records, { ts: "2026-02-01T00:00:00.000Z" }], genesisHash(logNode, ""));
    assert.is(Buffer.byteLength(lines[1]!), lineBytesMax);
    for (const [index, line] of lines.entries()) writeFileSync(join(dir, segmentFile(index)), `${line}\n`);
    writeFileSync(join(dir, segmentFile(1)), `${lines[1]}\n${lines[1]}\n`);
    const keepMs = dayMs / 2;
    assert.is(await removeOld(dir, { now: new Date("2026-03-01T00:00:00Z"), keepMs }), 0);
    assert.is(await removeOld(dir, { now: new Date("2026-03-01T00:00:00Z"), keepMs: -1 }), 1);
  }));

test("a segment may have a single record", () =>
  inLogFolder(async (dir) => {
    const records = ["2026-01-01", "2026-01-02", "2026-01-03"].map((day) => ({ ts: `${day}T00:00:00.000Z` }));
    for (const [index, line] of chainedLines(records, genesisHash(logNode, "")).entries()) {
      writeFileSync(join(dir, segmentFile(index)), `${line}\n`);
    }
    const now = new Date("2026-02-01T00:00:00Z");
    assert.is(await removeOld(dir, { now, keepMs: 0 }), 0);
    assert.is(await removeOld(dir, { now, keepMs: -1 }), 1);
  }));

test("other work has its turn while a long segment is removed", async () => {
  // Nearly all of the time goes into the hashes: some 10 % are the longest turn, and 80 % without a pause.
  let share = 1;
  for (let attempt = 0; attempt < 3 && share >= 0.5; attempt++) share = Math.min(share, await longestTurn());
  assert.ok(share < 0.5, `${share} of the time without a pause`);
});

/** The share of a long segment's removal that its longest piece of work takes. */
async function longestTurn(): Promise<number> {
  let share = 1;
  await inLogFolder(async (dir) => {
    days(dir, 0, 1, 2);
    const lines = 100_000;
    writeFileSync(join(dir, segmentFile(0)), "x\n".repeat(lines));
    const begin = performance.now();
    let [longestMs, lastAt, isOver] = [0, begin, false];
    const turn = () => {
      longestMs = Math.max(longestMs, performance.now() - lastAt);
      lastAt = performance.now();
      if (!isOver) setImmediate(turn);
    };
    setImmediate(turn);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0 }), 1);
    isOver = true;
    share = longestMs / (performance.now() - begin);
    assert.is(statSync(join(dir, segmentFile(0, "leaves"))).size, lines * 32);
  });
  return share;
}

test("no file stays open", () =>
  inLogFolder(async (dir) => {
    days(dir, 0, 1, 2, 3, 4, 5);
    assert.is(await removeOld(dir, { now: onDay(9), keepMs: 0 }), 4);
    assert.equal(openIn(dir) ?? [], []);
  }));

test.run();
