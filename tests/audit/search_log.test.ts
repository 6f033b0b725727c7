/** Finding records of a log that is being written: the newest first, in parts, within bounds. */
import { Buffer } from "node:buffer";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminRoute } from "../../actors/admin/serve_admin.ts";
import { auditRoutes } from "../../actors/audit/audit_routes.ts";
import {
  type AuditQuery,
  foundMax,
  type FoundRecords,
  searchedBytesMax,
  searchLog,
  type SearchMark,
} from "../../actors/audit/search_log.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import {
  logStart,
  openTestLog,
  recordRefusals,
  removeRecords,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("searchLog()");
const dayMs = 86_400_000;
const seqs = ({ records }: FoundRecords) => records.map(({ seq }) => seq);

/** Runs a test with a log of some refusals. */
const withLog = (count: number, work: (dir: string) => Promise<void>) =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, count);
    await writeCovered(log, new Date(logStart + 3_600_000));
    await work(dir);
  });

test("finds by text in any case, type and time; the newest comes first", () =>
  withLog(50, async (dir) => {
    assert.equal((await searchLog(dir, { text: "WORKER-49" })).records.map(({ peer }) => peer), ["worker-49"]);
    const found = await searchLog(dir, {});
    assert.ok(found.records.length >= 50);
    assert.equal(seqs(found), seqs(found).toSorted((one, other) => other - one));
    assert.equal(await searchLog(dir, { type: "job" }), { records: [] });
    const some = await searchLog(dir, {
      ...{ type: "refusal", since: "2026-01-31T12:00:10Z", until: "2026-01-31T12:00:12Z" },
    });
    assert.equal(some.records.map(({ peer }) => peer), ["worker-11", "worker-10"]);
  }));

test("an answer has at most 100 records, and the next one goes on behind it, to the beginning", () =>
  withLog(250, async (dir) => {
    const all: number[] = [];
    let answers = 0;
    let found = await searchLog(dir, { type: "refusal" });
    for (;;) {
      answers += 1;
      assert.ok(found.records.length <= foundMax);
      all.push(...seqs(found));
      if (found.after === undefined) break;
      found = await searchLog(dir, { type: "refusal", after: found.after });
    }
    assert.is(answers, 3);
    assert.is(all.length, 250);
    assert.equal(all, all.toSorted((one, other) => other - one));
  }));

test("an answer is full with 100 records, and the log's beginning needs no further one", () =>
  inLogFolder(async (dir) => {
    assert.is(foundMax, 100);
    const log = new WrittenLog(dir);
    log.record(foundMax - 1);
    log.write();
    const whole = await searchLog(dir, {});
    assert.equal([whole.records.length, whole.after], [foundMax, undefined]);
    log.record(1);
    log.write();
    const { records, after } = await searchLog(dir, {});
    assert.equal(records.map(({ seq }) => seq), Array.from({ length: foundMax }, (_, index) => foundMax - index));
    const [firstLine = ""] = readFileSync(join(dir, segmentFile(0)), "utf8").split("\n");
    assert.equal(after, { segment: 0, offset: firstLine.length + 1 });
    assert.equal(seqs(await searchLog(dir, { after: after! })), [0]);
    // The next segment is a full answer too: the search goes on at the end of the one before.
    log.record(foundMax - 1, logStart + dayMs);
    log.write();
    const { after: behind } = await searchLog(dir, {});
    assert.equal(behind, { segment: 0, offset: statSync(join(dir, segmentFile(0))).size });
    assert.equal(seqs(await searchLog(dir, { after: behind! }))[0], foundMax);
  }));

/** A log of four days, four records a day. */
function fourDays(dir: string): void {
  const log = new WrittenLog(dir);
  for (const day of [0, 1, 2, 3]) log.record(3, logStart + day * dayMs);
  log.write();
}

test("a search goes on before its mark, and passes over removed records", () =>
  inLogFolder(async (dir) => {
    fourDays(dir);
    const ends = readFileSync(join(dir, segmentFile(8)), "utf8").split("\n").map(({ length }) => length + 1);
    const after = { segment: 8, offset: ends[0]! + ends[1]! };
    assert.equal(seqs(await searchLog(dir, { after })), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert.equal(seqs(await searchLog(dir, { after: { segment: 8, offset: 0 } })), [7, 6, 5, 4, 3, 2, 1, 0]);
    assert.equal(seqs(await searchLog(dir, { after: { segment: 9, offset: 1 } })), [
      ...[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ]);
    await removeRecords(dir, 0);
    assert.equal(await searchLog(dir, { after: { segment: 4, offset: 0 } }), { records: [] });
    assert.equal(seqs(await searchLog(dir, {})).at(-1), 4);
  }));

test("`since` is included, `until` is not; both are instants, however they are written", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir, logStart - 60_000);
    log.record(5);
    log.write();
    const found = async (query: AuditQuery) => seqs(await searchLog(dir, query));
    const at = (seconds: number, rest = ".000Z") => `2026-01-31T12:00:0${seconds}${rest}`;
    assert.equal(await found({ since: at(2), until: at(4) }), [4, 3]);
    assert.equal(await found({ since: at(2, ".001Z") }), [5, 4]);
    assert.equal(await found({ until: at(1, ".001Z") }), [2, 1, 0]);
    assert.equal(await found({ since: "2026-01-31T13:00:02+01:00", until: "2026-01-31T11:00:04-01:00" }), [4, 3]);
    assert.equal(await found({ since: at(4, "Z") }), [5]);
    assert.equal(await found({ since: "x" }), []);
    assert.equal(await found({ until: "x" }), [5, 4, 3, 2, 1, 0]);
  }));

test("type is the beginning of the type, and text any part of the line", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    for (const type of ["ca.alarm", "ca.issued", "job.ca."]) log.record(1, logStart, { type });
    log.write();
    const found = async (query: AuditQuery) => seqs(await searchLog(dir, query));
    assert.equal(await found({ type: "ca." }), [2, 1]);
    assert.equal(await found({ text: "CA." }), [3, 2, 1]);
    assert.equal(await found({ text: "ca.", type: "job" }), [3]);
    assert.equal(await found({ type: "log.opened" }), [0]);
    assert.equal(await found({ text: "" }), [3, 2, 1, 0]);
    assert.equal(await found({ text: "log.opened" }), [0]);
  }));

test("the hashes that stayed of removed records are not read", () =>
  inLogFolder(async (dir) => {
    fourDays(dir);
    await removeRecords(dir, 0);
    rmSync(join(dir, segmentFile(0, "leaves")));
    mkdirSync(join(dir, segmentFile(0, "leaves")));
    assert.is(seqs(await searchLog(dir, {})).at(-1), 4);
  }));

test("segments before `since` are not opened", () =>
  inLogFolder(async (dir) => {
    fourDays(dir);
    rmSync(join(dir, segmentFile(4)));
    mkdirSync(join(dir, segmentFile(4)));
    const since = (ms: number) => searchLog(dir, { since: new Date(logStart + 2 * dayMs + ms).toISOString() });
    assert.equal(seqs(await since(1)), [15, 14, 13, 12, 11, 10]);
    const error = await since(0).then(() => "found", String);
    assert.match(error, "EISDIR", "an earlier record may have that time too");
  }));

test("one search reads 16 MiB in pieces of 256 KiB, and the next goes on there", () =>
  inLogFolder(async (dir) => {
    const lineBytes = 256;
    const [pieceBytes, pieces] = [262_144, 64];
    assert.is(searchedBytesMax, pieces * pieceBytes);
    const size = searchedBytesMax + 2 * pieceBytes;
    writeFileSync(join(dir, segmentFile(0)), Buffer.alloc(size, `${"x".repeat(lineBytes - 1)}\n`));
    // The first line of a piece may have begun before it: it belongs to the next piece.
    const { records, after } = await searchLog(dir, { text: "nothing" });
    assert.equal([records, after], [[], { segment: 0, offset: size - pieces * (pieceBytes - lineBytes) }]);
    assert.equal(await searchLog(dir, { text: "nothing", after: after! }), { records: [] });
    truncateSync(join(dir, segmentFile(0)), searchedBytesMax - (pieces - 1) * lineBytes);
    assert.equal(await searchLog(dir, { text: "nothing" }), { records: [] }, "the limit is reached at the beginning");
    truncateSync(join(dir, segmentFile(0)), searchedBytesMax - (pieces - 2) * lineBytes);
    assert.equal((await searchLog(dir, { text: "nothing" })).after, { segment: 0, offset: 2 * lineBytes });
  }));

test("lines that lie across two pieces are found, once each", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    for (let index = 0; index < 500; index++) {
      log.record(1, logStart, { detail: { filling: "x".repeat(index * 37 % 3_000) } });
    }
    log.write();
    const all: number[] = [];
    let after: SearchMark | undefined;
    do {
      const found: FoundRecords = await searchLog(dir, after === undefined ? {} : { after });
      all.push(...seqs(found));
      after = found.after;
    } while (after !== undefined);
    assert.equal(all, Array.from({ length: 501 }, (_, index) => 500 - index));
  }));

test("a line is found wherever a piece begins in it, its line feed included", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(1);
    log.write();
    const path = join(dir, segmentFile(0));
    const text = readFileSync(path);
    // The piece at the file's end has 262,144 bytes, and begins at most 3 bytes before or behind the last record's line feed.
    for (let behind = -3; behind <= 3; behind++) {
      const filling = Buffer.alloc(262_144 - 1 + behind, "x".repeat(255) + "\n");
      filling[filling.length - 1] = 10;
      writeFileSync(path, Buffer.concat([text, filling]));
      assert.equal(seqs(await searchLog(dir, {})), [1, 0], `${behind} bytes behind it`);
    }
  }));

test("empty lines, and one that is cut off, are passed over, at the beginning too", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(1);
    log.write();
    const path = join(dir, segmentFile(0));
    const text = readFileSync(path, "utf8");
    for (const [begin, end] of [["\n", ""], ["\n\n", "\n"], ["x\n", "\n\n"], ["\n", '{"detail"'], ["", "\r\n"]]) {
      writeFileSync(path, `${begin}${text}${end}`);
      const since = new Date(logStart).toISOString();
      for (const query of [{}, { since }]) {
        assert.equal(seqs(await searchLog(dir, query)), [1, 0], JSON.stringify([begin, end, query]));
      }
    }
    writeFileSync(path, text.trimEnd());
    assert.equal(seqs(await searchLog(dir, {})), [1, 0]);
    for (const only of ["\n", "x", ""]) {
      writeFileSync(path, only);
      assert.equal(await searchLog(dir, {}), { records: [] });
    }
  }));

test("its files are closed", () =>
  inLogFolder(async (dir) => {
    fourDays(dir);
    const open = () => process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
    const before = open();
    for (let times = 0; times < 10; times++) await searchLog(dir, {});
    assert.ok(open() < before + 10, `${open() - before} files are open`);
  }));

test("bug: a search went on behind `since`, to the log's beginning", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    for (const day of [0, 1]) {
      for (let index = 0; index < 5_000; index++) {
        const detail = { index, filling: "x".repeat(3_900) };
        log.record({ type: "refusal", outcome: "unknown-issuer", detail }, new Date(logStart + day * dayMs + index));
      }
      await log.write();
    }
    const lastRecords = new Date(logStart + dayMs + 4_950).toISOString();
    for (const query of [{ text: "nothing" }, { type: "job" }]) {
      assert.equal(await searchLog(dir, { ...query, since: lastRecords }), { records: [] });
    }
    assert.is((await searchLog(dir, { since: lastRecords })).after, undefined);
    assert.is((await searchLog(dir, { since: lastRecords })).records.length, 50);
    const secondDay = { text: "nothing", since: new Date(logStart + dayMs).toISOString() };
    const { after } = await searchLog(dir, secondDay);
    assert.is(after?.segment, 5_001, "a search reads a part of the day");
    assert.equal(await searchLog(dir, { ...secondDay, after: after! }), { records: [] });
  }));

test("a line that is being written, or is no record, is left out", () =>
  withLog(3, async (dir) => {
    const [file = ""] = readdirSync(dir).filter((name) => name.endsWith(".jsonl"));
    appendFileSync(join(dir, file), `no record\n{"detail":{"half":`);
    assert.is((await searchLog(dir, { type: "refusal" })).records.length, 3);
  }));

test("a file without a line feed, and a mark that lies, end the search", () =>
  withLog(3, async (dir) => {
    appendFileSync(join(dir, "audit-000000000099.jsonl"), "x".repeat(600_000));
    assert.is((await searchLog(dir, { type: "refusal" })).records.length, 3);
    assert.equal(await searchLog(dir, { after: { segment: 0, offset: 0 } }), { records: [] });
    assert.is((await searchLog(dir, { type: "refusal", after: { segment: 0, offset: 2 ** 50 } })).records.length, 3);
  }));

test("the route refuses what is no query, says when the log cannot be read, and searches once at a time", () =>
  withLog(3, async (dir) => {
    const ask = (folder: string, body: unknown) => (auditRoutes(folder)["POST /audit/search"] as AdminRoute)(body);
    const bodies = [{ since: "yesterday" }, { text: "x".repeat(257) }, { after: { segment: -1, offset: 0 } }, {
      dir: "/",
    }];
    for (const body of bodies) assert.is((await ask(dir, body)).status, 400, JSON.stringify(body));
    const { status, body } = await ask(join(dir, "none"), {});
    assert.equal([status, (body as { code: string }).code], [500, "log-unreadable"]);
    const route = auditRoutes(dir)["POST /audit/search"] as AdminRoute;
    const both = await Promise.all([route({}), route({})]);
    assert.equal(both.map((answer) => answer.status), [200, 503]);
  }));

test.run();
