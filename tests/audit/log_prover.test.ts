import { Buffer } from "node:buffer";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isConsistent } from "../../actors/audit/consistency.ts";
import { blockRecords, LogProver, NotProvable } from "../../actors/audit/log_prover.ts";
import { hashBytes } from "../../actors/audit/merkle_tree.ts";
import { firstPlace, readLeaves } from "../../actors/audit/read_leaves.ts";
import { removeOld } from "../../actors/audit/remove_old.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("LogProver");
const dayMs = 86_400_000;

test("proves each checkpoint by each later one, over segments, while the log grows, and after old segments were removed", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const states: { readonly size: number; readonly root: Uint8Array }[] = [];
    const prover = new LogProver(dir);
    const prove = (old: number, size: number) => prover.prove({ old, size }, log.newest!);
    const checkAll = async () => {
      for (const [index, after] of states.entries()) {
        for (const before of states.slice(0, index + 1)) {
          const path = await prove(before.size, after.size);
          assert.ok(isConsistent(before, after, path), `${before.size} → ${after.size}`);
        }
      }
    };
    const days = [[3, 0], [700, 0], [blockRecords - 704, 0], [900, 1], [blockRecords, 1], [2, 3], [1, 4]] as const;
    for (const [count, day] of days) {
      const at = logStart + day * dayMs;
      for (let left = count; left > 0; left -= 100) recordRefusals(log, Math.min(100, left), at);
      await writeCovered(log, new Date(at));
      states.push(log.newest!);
      await checkAll();
    }
    assert.is(states[2]?.size, blockRecords); // the size of a block itself is among them
    assert.is(await removeOld(dir, { now: new Date(logStart + 4 * dayMs), keepMs: 0 }), 2);
    await checkAll();
    assert.equal(await new LogProver(dir).prove({ old: 0, size: 7 }, log.newest!), []);
  }));

test("a log whose files were changed has no proof", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 20);
    await writeCovered(log, new Date(logStart));
    const path = join(dir, "audit-000000000000.jsonl");
    const text = await readFile(path, "utf8");
    await writeFile(path, Buffer.from(text.replace("unknown-issuer", "unknown-issueR")));
    const prover = new LogProver(dir);
    for (let times = 0; times < 2; times++) {
      const error: unknown = await prover.prove({ old: 3, size: 7 }, log.newest!).catch((reason: unknown) => reason);
      assert.instance(error, NotProvable);
    }
  }));

test("bug: the hashes of removed segments were read without a pause, one segment after the other", () =>
  withLogFolder(async (dir) => {
    const [records, segments] = [20_000, 3];
    for (let index = 0; index < segments; index++) {
      await writeFile(join(dir, segmentFile(index * records, "leaves")), Buffer.alloc(records * hashBytes, index));
    }
    let [turns, most, sinceTurn, seen] = [0, 0, 0, 0];
    const turn = () => {
      turns += 1;
      sinceTurn = 0;
      if (seen < records * segments) setImmediate(turn);
    };
    setImmediate(turn);
    const place = await readLeaves(dir, { from: firstPlace, count: records * segments }, (leaf, { seq }) => {
      assert.is(seq, seen);
      assert.is(leaf[0], Math.floor(seq / records));
      seen += 1;
      sinceTurn += 1;
      most = Math.max(most, sinceTurn);
    });
    assert.equal([place.seq, seen], [records * segments, records * segments]);
    assert.ok(most <= 1_000, `${most} hashes in one turn, ${turns} turns`);
  }));

test.run();
