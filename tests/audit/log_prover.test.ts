import { Buffer } from "node:buffer";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isConsistent, type SizedRoot } from "../../actors/audit/consistency.ts";
import { blockRecords, LogProver, NotProvable } from "../../actors/audit/log_prover.ts";
import { hashBytes } from "../../actors/audit/merkle_tree.ts";
import { firstPlace, readLeaves } from "../../actors/audit/read_leaves.ts";
import { removeOld } from "../../actors/audit/remove_old.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { logStart } from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("LogProver");
const dayMs = 86_400_000;

test("proves each checkpoint by each later one, over segments, while the log grows, and after old segments were removed", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    const states: SizedRoot[] = [];
    const prover = new LogProver(dir);
    const checkAll = async (by: LogProver) => {
      for (const [index, after] of states.entries()) {
        for (const before of states.slice(0, index + 1)) {
          const path = await by.prove({ old: before.size, size: after.size }, states.at(-1)!);
          assert.ok(isConsistent(before, after, path), `${before.size} → ${after.size}`);
        }
      }
    };
    const days = [[3, 0], [700, 0], [blockRecords - 704, 0], [900, 1], [blockRecords, 1], [2, 3], [1, 4]] as const;
    for (const [count, day] of days) {
      log.record(count, logStart + day * dayMs, { peer: "worker" });
      states.push(log.cover());
      await checkAll(prover);
    }
    assert.is(states[2]?.size, blockRecords); // the size of a block itself is among them
    assert.is(await removeOld(dir, { now: new Date(logStart + 4 * dayMs), keepMs: 0 }), 2);
    await checkAll(prover);
    await checkAll(new LogProver(dir));
    assert.equal(await new LogProver(dir).prove({ old: 0, size: 7 }, states.at(-1)!), []);
  }));

test("a block has 1,024 records: that much of a log is held as one hash", () => {
  assert.is(blockRecords, 1_024);
});

const reasonOf = (proof: Promise<unknown>) => proof.then(() => undefined, (reason: unknown) => reason);

test("a log whose files were changed has no proof by that checkpoint, and one by the next when they are restored", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(20);
    const newest = log.cover();
    const path = join(dir, segmentFile(0));
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace("unknown-issuer", "unknown-issueR"));
    const prover = new LogProver(dir);
    const error = await reasonOf(prover.prove({ old: 3, size: 7 }, newest));
    assert.instance(error, NotProvable);
    const { size, message } = error as NotProvable;
    assert.is(size, 21);
    assert.match(message, dir);
    await writeFile(path, text);
    // The log, which may be large, is not read again for each request.
    assert.instance(await reasonOf(prover.prove({ old: 3, size: 7 }, newest)), NotProvable);
    log.record(1, logStart + 60_000);
    const next = log.cover();
    assert.ok(isConsistent(newest, next, await prover.prove({ old: 21, size: 22 }, next)));
  }));

test("a log whose files cannot be read has a proof as soon as they can", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(20);
    const newest = log.cover();
    const prover = new LogProver(dir);
    const path = join(dir, segmentFile(0));
    await rename(path, `${path}.away`);
    const error = await reasonOf(prover.prove({ old: 21, size: 21 }, newest));
    assert.instance(error, Error);
    assert.not.instance(error, NotProvable);
    await rename(`${path}.away`, path);
    assert.ok(isConsistent(newest, newest, await prover.prove({ old: 21, size: 21 }, newest)));
  }));

test("what is remembered of a log that was replaced is forgotten", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.record(blockRecords + 100);
    const prover = new LogProver(dir);
    const before = log.cover();
    assert.ok(isConsistent(before, before, await prover.prove({ old: before.size, size: before.size }, before)));
    await rm(join(dir, segmentFile(0)));
    const other = new WrittenLog(dir);
    other.record(50, logStart, { outcome: "other" });
    const states = [other.cover()];
    other.record(2 * blockRecords, logStart, { outcome: "other" });
    states.push(other.cover());
    const [first, last] = [states[0]!, states[1]!];
    assert.ok(isConsistent(first, last, await prover.prove({ old: first.size, size: last.size }, last)));
  }));

test("bug: the hashes of removed segments were read without a pause, one segment after the other", () =>
  inLogFolder(async (dir) => {
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
