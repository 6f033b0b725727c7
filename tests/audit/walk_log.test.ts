/** A walk reads each record once, in its place, and ends at the first that does not follow from those before. */
import { Buffer } from "node:buffer";
import { appendFileSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditRecord, genesisHash, lineBytesMax } from "../../actors/audit/audit_record.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { leafHash } from "../../actors/audit/merkle_tree.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import {
  type LogState,
  type WalkedLog,
  type WalkedRecord,
  walkLog,
  type WalkOptions,
  walkSegments,
} from "../../actors/audit/walk_log.ts";
import { logNode, logStart, removeRecords } from "../support/audit_logs.ts";
import { chainedLines, inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("walkLog()");
const dayMs = 86_400_000;
const first = segmentFile(0);

/** Records 0 to 3, 4 to 7 and 8 to 11, a day each. */
function threeDays(dir: string): WrittenLog {
  const log = new WrittenLog(dir);
  for (const day of [0, 1, 2]) log.record(3, logStart + day * dayMs);
  log.write();
  return log;
}

const linesOf = (dir: string, segment: number) =>
  readFileSync(join(dir, segmentFile(segment)), "utf8").split("\n").slice(0, -1);

/** A state as plain data. */
const plain = (state: LogState | undefined) =>
  state && { ...state, edge: [state.edge.size, ...state.edge.hashes.map((each) => each.toString("hex"))] };

const walked = (dir: string, options?: WalkOptions) => walkLog(dir, options) as WalkedLog;

/** A finding as `file:line code detail`; empty where the log is in order. */
function found(dir: string, options?: WalkOptions): string {
  const outcome = walkLog(dir, options);
  return outcome instanceof AuditFinding ? `${outcome.file}:${outcome.line} ${outcome.code} ${outcome.detail}` : "";
}

/** Writes a log of one segment with these fields. */
function writeRecords(dir: string, records: readonly Partial<AuditRecord>[], prev = genesisHash(logNode, "")): void {
  writeFileSync(join(dir, first), chainedLines(records, prev).map((line) => `${line}\n`).join(""));
}

test("tells each record with its place, each leaf with its tree, and ends in the state of the log", () =>
  inLogFolder((dir) => {
    const log = threeDays(dir);
    const records: WalkedRecord[] = [];
    const leaves: string[] = [];
    const { state, torn } = walked(dir, {
      onRecord: (each) => void records.push(each),
      onLeaf: (leaf, edge) => {
        assert.is(edge.size, leaves.push(leaf.toString("hex")));
        assert.is(records.length, leaves.length, "the record comes first");
        return undefined;
      },
    });
    assert.is(torn, undefined);
    assert.equal(plain(state), plain(log.chain.state));
    const lines = [0, 4, 8].flatMap((segment) => linesOf(dir, segment));
    assert.equal(records.map(({ text }) => text), lines);
    assert.equal(leaves, lines.map((line) => leafHash(Buffer.from(line)).toString("hex")));
    assert.equal(records.map(({ file, line }) => [file, line]), [
      ...[0, 4, 8].flatMap((segment) => [1, 2, 3, 4].map((line) => [segmentFile(segment), line])),
    ]);
    assert.equal(records.map(({ record }) => record.seq), [...lines.keys()]);
    assert.equal(walked(dir).state?.ts, state?.ts);
  }));

test("stops behind each segment, so that a caller can print", () =>
  inLogFolder((dir) => {
    threeDays(dir);
    const seen: number[] = [];
    const steps = walkSegments(dir, { onRecord: ({ record }) => void seen.push(record.seq) });
    for (const count of [4, 8, 12]) {
      assert.is(steps.next().done, false);
      assert.is(seen.length, count);
    }
    assert.is(steps.next().done, true);
  }));

test("an empty folder has no state", () =>
  inLogFolder((dir) => {
    assert.equal(walked(dir), { state: undefined, torn: undefined });
    writeFileSync(join(dir, first), "");
    assert.equal(walked(dir), { state: undefined, torn: undefined });
  }));

test("goes on from a state in the midst of a segment, and reads nothing before it", () =>
  inLogFolder((dir) => {
    const log = new WrittenLog(dir);
    const states: LogState[] = [];
    for (const day of [0, 1, 2]) {
      for (let index = 0; index < 3; index++) {
        log.record(1, logStart + day * dayMs + index * 1_000);
        states.push(log.chain.state);
      }
    }
    log.write();
    const end = plain(log.chain.state);
    for (const from of states) {
      const { size } = from.edge;
      const seqs: number[] = [];
      const lines: number[] = [];
      const { state } = walked(dir, {
        from,
        onRecord: ({ record, line }) => {
          seqs.push(record.seq);
          lines.push(line);
        },
      });
      assert.equal(plain(state), end, `from ${size}`);
      assert.is(from.edge.size, size, "the walk has a tree of its own");
      assert.equal(seqs, Array.from({ length: 12 - size }, (_, index) => size + index));
      if (size < 12) assert.is(lines[0], size % 4 + 1);
    }
    const [from] = states.slice(4);
    writeFileSync(join(dir, first), "no record\n");
    writeFileSync(join(dir, segmentFile(4)), readFileSync(join(dir, segmentFile(4)), "utf8").replace("{", "x"));
    assert.equal(plain(walked(dir, { from: from! }).state), end);
  }));

test("the first record behind a state has to follow from it", () =>
  inLogFolder((dir) => {
    const log = new WrittenLog(dir);
    log.record(1);
    const { state } = log.chain;
    log.record(2, logStart + 5_000);
    log.write();
    assert.is(found(dir, { from: state }), "");
    assert.match(found(dir, { from: { ...state, last: "other" } }), `${first}:3 chain`);
    assert.match(found(dir, { from: { ...state, node: "other" } }), `${first}:3 node`);
    assert.match(found(dir, { from: { ...state, ts: "2026-02-01T00:00:00.000Z" } }), `${first}:3 clock-back`);
    assert.match(found(dir, { from: { ...state, offset: state.offset + 1 } }), `${first}:3 malformed`);
    const beginning = { ...state, line: 0, offset: 0 };
    assert.match(found(dir, { from: beginning }), `${first}:1 sequence record 0 stands where record 2 belongs`);
  }));

test("a folder, or a segment, that cannot be read is named", () =>
  inLogFolder((dir) => {
    const none = join(dir, "none");
    assert.match(found(none), `${none}:undefined unreadable it cannot be read (ENOENT`);
    threeDays(dir);
    rmSync(join(dir, segmentFile(4)));
    mkdirSync(join(dir, segmentFile(4)));
    assert.match(found(dir), `${segmentFile(4)}:undefined unreadable it cannot be read (EISDIR`);
  }));

test("a segment that is missing, or begins before the one before it ends, is named", () =>
  inLogFolder((dir) => {
    threeDays(dir);
    const text = readFileSync(join(dir, segmentFile(4)));
    rmSync(join(dir, segmentFile(4)));
    assert.is(
      found(dir),
      `${segmentFile(8)}:undefined segment records 4 to 7 are missing: there is no ${segmentFile(4)}`,
    );
    writeFileSync(join(dir, segmentFile(4)), text);
    writeFileSync(join(dir, segmentFile(3)), text);
    assert.is(found(dir), `${segmentFile(3)}:undefined segment record 4 should begin the next segment`);
    rmSync(join(dir, segmentFile(3)));
    rmSync(join(dir, first));
    assert.is(found(dir), `${segmentFile(4)}:undefined segment records 0 to 3 are missing: there is no ${first}`);
  }));

test("hashes of removed records are taken, and the first record behind them is held by the tree alone", () =>
  inLogFolder(async (dir) => {
    const log = threeDays(dir);
    await removeRecords(dir, 0);
    await removeRecords(dir, 4);
    const leaves: string[] = [];
    const records: number[] = [];
    const { state } = walked(dir, {
      onRecord: ({ record }) => void records.push(record.seq),
      onLeaf: (leaf, edge) => {
        assert.is(edge.size, leaves.push(leaf.toString("hex")));
        return undefined;
      },
    });
    assert.equal(plain(state), plain(log.chain.state));
    assert.equal([records, leaves.length], [[8, 9, 10, 11], 12]);
    assert.is(leaves[3], readFileSync(join(dir, segmentFile(0, "leaves"))).subarray(96).toString("hex"));
    // The record before is not there: what `prev` has to be is not known.
    const [line = "", ...rest] = linesOf(dir, 8);
    const other = line.replace(/"prev":"[^"]*"/, '"prev":"other"');
    writeFileSync(join(dir, segmentFile(8)), [other, ...rest, ""].join("\n"));
    assert.match(found(dir), `${segmentFile(8)}:2 chain`);
  }));

test("records are not removed behind older ones, nor all of them", () =>
  inLogFolder(async (dir) => {
    threeDays(dir);
    const text = readFileSync(join(dir, first));
    await removeRecords(dir, 0);
    await removeRecords(dir, 4);
    assert.is(found(dir), "");
    writeFileSync(join(dir, first), text);
    const file = segmentFile(4, "leaves");
    const restore = `restore ${segmentFile(4)} from a copy`;
    assert.is(found(dir), `${file}:undefined segment its records were removed, and older ones are there: ${restore}`);
    rmSync(join(dir, first));
    rmSync(join(dir, segmentFile(8)));
    assert.is(
      found(dir),
      `${file}:undefined segment its records were removed, and no newer ones are there: ${restore}`,
    );
  }));

test("a file of hashes holds whole ones", () =>
  inLogFolder(async (dir) => {
    threeDays(dir);
    await removeRecords(dir, 0);
    const path = join(dir, segmentFile(0, "leaves"));
    for (const bytes of [0, 33, 127]) {
      truncateSync(path, bytes);
      assert.is(
        found(dir),
        `${segmentFile(0, "leaves")}:undefined segment its ${bytes} bytes are no whole number of hashes`,
      );
    }
    truncateSync(path, 96);
    assert.match(found(dir), `${segmentFile(4)}:undefined segment records 3 to 3 are missing`);
  }));

test("a finding of the caller ends the walk at its leaf", () =>
  inLogFolder(async (dir) => {
    threeDays(dir);
    await removeRecords(dir, 0);
    for (const at of [1, 3, 5, 8, 12]) {
      const finding = new AuditFinding({ code: "checkpoint-root", file: "checkpoints", line: at, detail: "" });
      let most = 0;
      const onLeaf: WalkOptions["onLeaf"] = (_, { size }) => {
        most = size;
        return size === at ? finding : undefined;
      };
      assert.is(walkLog(dir, { onLeaf }), finding);
      assert.is(most, at);
    }
  }));

test("an incomplete line at the end is reported with its place; elsewhere it is no record", () =>
  inLogFolder((dir) => {
    const log = threeDays(dir);
    const { offset } = log.chain.state;
    const path = join(dir, segmentFile(8));
    appendFileSync(path, '{"detail"');
    const { state, torn } = walked(dir);
    assert.equal(torn, { file: segmentFile(8), line: 5, offset });
    assert.equal(plain(state), plain(log.chain.state));
    assert.equal(walked(dir, { from: log.chain.state }).torn, torn);
    truncateSync(path, offset);
    appendFileSync(join(dir, segmentFile(4)), '{"detail"');
    assert.is(found(dir), `${segmentFile(4)}:5 malformed it is no canonical record`);
    // A whole record without its line feed is incomplete too.
    writeFileSync(join(dir, segmentFile(4)), linesOf(dir, 4).join("\n"));
    assert.is(found(dir), `${segmentFile(4)}:4 malformed it is no canonical record`);
  }));

test("a line that is no record, or is too long, is named", () =>
  inLogFolder((dir) => {
    threeDays(dir);
    const lines = linesOf(dir, 4);
    const long = lines[2]!.replace('"index":1', `"index":"${"x".repeat(lineBytesMax)}"`);
    for (const wrong of [` ${lines[2]}`, "", "{}", long]) {
      writeFileSync(join(dir, segmentFile(4)), [...lines.with(2, wrong), ""].join("\n"));
      const seen: number[] = [];
      const onRecord = ({ record }: WalkedRecord) => void seen.push(record.seq);
      assert.is(found(dir, { onRecord }), `${segmentFile(4)}:3 malformed it is no canonical record`);
      assert.is(seen.length, 6);
    }
  }));

const at = (seconds: number) => ({ ts: `2026-01-31T12:00:0${seconds}.000Z` });

test("records have their number, the hash of the line before, one node, and times that do not go back", () =>
  inLogFolder((dir) => {
    const finding = (...records: readonly Partial<AuditRecord>[]) => {
      writeRecords(dir, records);
      return found(dir);
    };
    assert.is(finding(at(1), at(1), at(2)), "");
    assert.is(finding({}, {}, { seq: 3 }), `${first}:3 sequence record 3 stands where record 2 belongs`);
    assert.is(finding({ seq: 1 }), `${first}:1 sequence record 1 stands where record 0 belongs`);
    assert.is(finding({}, { seq: 0 }), `${first}:2 sequence record 0 stands where record 1 belongs`);
    assert.is(
      finding({}, { prev: "other" }),
      `${first}:2 chain its \`prev\` is not the SHA-256 of the line before: one of the two was changed`,
    );
    assert.is(
      finding({ prev: "other" }),
      `${first}:1 chain its \`prev\` does not follow from its node and its random bytes`,
    );
    assert.is(finding({}, { node: "b" }), `${first}:2 node it is a record of b in the log of ${logNode}`);
    assert.is(finding(at(2), at(1)), `${first}:2 clock-back its time ${at(1).ts} is before ${at(2).ts}`);
    assert.is(finding(at(1), at(3), at(2)), `${first}:3 clock-back its time ${at(2).ts} is before ${at(3).ts}`);
  }));

test("what does not follow across two segments is found too", () =>
  inLogFolder((dir) => {
    const lines = chainedLines([at(1), at(3), at(3)], genesisHash(logNode, ""));
    const write = (text: string) => {
      writeFileSync(join(dir, first), `${lines[0]}\n${lines[1]}\n`);
      writeFileSync(join(dir, segmentFile(2)), `${text}\n`);
      return found(dir);
    };
    const last = lines[2]!;
    assert.is(write(last), "");
    assert.match(write(last.replace(/"prev":"./, '"prev":"-')), `${segmentFile(2)}:1 chain`);
    assert.match(write(last.replace(":03", ":02")), `${segmentFile(2)}:1 clock-back`);
    assert.match(write(last.replace(logNode, "other")), `${segmentFile(2)}:1 node`);
  }));

test("the first record follows from its node and its random bytes; what is no text counts as none", () =>
  inLogFolder((dir) => {
    const outcome = (detail: AuditRecord["detail"], random: string) => {
      writeRecords(dir, [{ detail }, {}], genesisHash(logNode, random));
      return found(dir).split(" ").slice(0, 2).join(" ");
    };
    assert.is(outcome({ random: "5eed" }, "5eed"), "");
    assert.is(outcome({ random: "5eee" }, "5eed"), `${first}:1 chain`);
    assert.is(outcome({}, ""), "");
    assert.is(outcome({ random: 5 }, ""), "");
    assert.is(outcome({ random: 5 }, "5"), `${first}:1 chain`);
  }));

test.run();
