import { Buffer } from "node:buffer";
import { appendFileSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setImmediate } from "node:timers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hashBytes, leafHash } from "../../actors/audit/merkle_tree.ts";
import { firstPlace, type LeafPlace, readLeaves } from "../../actors/audit/read_leaves.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { logStart, removeRecords } from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("readLeaves()");
const dayMs = 86_400_000;

/** Records 0 to 3, 4 to 7 and 8 to 11, a day each. Returns the hash and the place of each. */
function threeDays(dir: string): { leaf: string; place: LeafPlace }[] {
  const log = new WrittenLog(dir);
  for (const day of [0, 1, 2]) log.record(3, logStart + day * dayMs);
  log.write();
  let seq = 0;
  return [0, 4, 8].flatMap((segment) => {
    let offset = 0;
    return readFileSync(join(dir, segmentFile(segment)), "utf8").split("\n").slice(0, -1).map((line) => {
      const found = { leaf: leafHash(Buffer.from(line)).toString("hex"), place: { seq, segment, offset } };
      seq += 1;
      offset += Buffer.byteLength(line) + 1;
      return found;
    });
  });
}

async function read(dir: string, from: LeafPlace, count: number) {
  const found: { leaf: string; place: LeafPlace }[] = [];
  const end = await readLeaves(dir, { from, count }, (leaf, place) => {
    found.push({ leaf: leaf.toString("hex"), place });
  });
  return { found, end };
}

const failure = (dir: string, from: LeafPlace, count: number) =>
  read(dir, from, count).then(() => "", (error: Error) => error.message);

test("reads any range of records, each with its place, and returns the place behind it", () =>
  inLogFolder(async (dir) => {
    const all = threeDays(dir);
    for (let start = 0; start < 12; start++) {
      for (let count = 0; start + count <= 12; count++) {
        const { found, end } = await read(dir, all[start]!.place, count);
        assert.equal(found, all.slice(start, start + count), `${start} to ${start + count}`);
        assert.is(end.seq, start + count);
        // It is the next record's place, or the end of the segment before it.
        const rest = await read(dir, end, 12 - end.seq);
        assert.equal(rest.found, all.slice(end.seq));
      }
    }
  }));

test("of removed records the hashes are read; the places of the records behind them stay", () =>
  inLogFolder(async (dir) => {
    const all = threeDays(dir);
    await removeRecords(dir, 0);
    await removeRecords(dir, 4);
    const expected = all.map(({ leaf, place }) => ({ leaf, place: place.seq < 8 ? { ...place, offset: 0 } : place }));
    for (const start of [0, 1, 3, 4, 6, 8, 10]) {
      const { found, end } = await read(dir, all[start]!.place, 12 - start);
      assert.equal(found, expected.slice(start), `from ${start}`);
      assert.is(end.seq, 12);
    }
    assert.equal((await read(dir, all[2]!.place, 4)).end, { seq: 6, segment: 4, offset: 0 });
    // A place within records that were removed meanwhile.
    assert.equal((await read(dir, all[5]!.place, 2)).found, expected.slice(5, 7));
  }));

test("lines behind a segment's last record are not taken for the next segment's", () =>
  inLogFolder(async (dir) => {
    const all = threeDays(dir);
    appendFileSync(join(dir, segmentFile(0)), "more\n");
    assert.equal((await read(dir, firstPlace, 12)).found, all);
  }));

test("records that are not there are named", () =>
  inLogFolder(async (dir) => {
    const all = threeDays(dir);
    const last = segmentFile(8);
    assert.is(await failure(dir, firstPlace, 13), `${last} ends before record 12`);
    const torn = join(dir, last);
    truncateSync(torn, readFileSync(torn).length - 1);
    assert.is(await failure(dir, firstPlace, 12), `${last} ends before record 11`);
    assert.is((await read(dir, firstPlace, 11)).end.seq, 11);
    await removeRecords(dir, 0);
    truncateSync(join(dir, segmentFile(0, "leaves")), 3 * hashBytes + 31);
    assert.is(await failure(dir, firstPlace, 4), `${segmentFile(0, "leaves")} ends before record 3`);
    rmSync(join(dir, segmentFile(0, "leaves")));
    assert.is(await failure(dir, firstPlace, 1), "record 0 is in no file");
    assert.match(await failure(join(dir, "none"), firstPlace, 1), "ENOENT");
    assert.equal(await read(join(dir, "none"), all[3]!.place, 0), { found: [], end: all[3]!.place });
  }));

test("bug: a place within a segment whose file begins elsewhere now is not known", () =>
  inLogFolder(async (dir) => {
    const all = threeDays(dir);
    const { seq } = all[6]!.place;
    const message = `the place of record ${seq} in ${segmentFile(4)} is not known`;
    assert.is(await failure(dir, { seq, segment: 5, offset: 17 }, 1), message);
    assert.is(await failure(dir, { seq, segment: 4, offset: 0 }, 1), message);
  }));

/** The most records that were read in one turn of the event loop. */
async function mostInATurn(dir: string, count: number): Promise<number> {
  let [most, sinceTurn, isOver] = [0, 0, false];
  const turn = () => {
    sinceTurn = 0;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await readLeaves(dir, { from: firstPlace, count }, () => {
    sinceTurn += 1;
    most = Math.max(most, sinceTurn);
  });
  isOver = true;
  return most;
}

test("other work has its turn after 500 records, whether their lines or their hashes are read", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(2_999, logStart);
    log.write();
    assert.is(await mostInATurn(dir, 3_000), 500);
    await removeRecords(dir, 0);
    assert.is(await mostInATurn(dir, 3_000), 500);
  }));

test("its files are closed, whether they have all records or not", () =>
  inLogFolder(async (dir) => {
    threeDays(dir);
    await removeRecords(dir, 0);
    const open = () => process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
    const before = open();
    for (let times = 0; times < 25; times++) {
      await read(dir, firstPlace, 6);
      await failure(dir, firstPlace, 13);
    }
    assert.ok(open() < before + 20, `${open() - before} files are open`);
  }));

test.run();
