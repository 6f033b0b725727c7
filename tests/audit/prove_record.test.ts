/** A proof holds for its record at its place in a log that was signed, and for nothing else. */
import { Buffer } from "node:buffer";
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuditFinding } from "../../actors/audit/finding.ts";
import {
  checkProof,
  parseProof,
  proveRecord,
  type RecordProof,
  type WantedRecord,
} from "../../actors/audit/prove_record.ts";
import { checkpointsPath, segmentFile } from "../../actors/audit/segments.ts";
import { logStart, removeRecords } from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("prove_record");

/** A log of 14 records, of which the newest of two checkpoints covers 13; the first segment has 8. */
function makeLog(dir: string): WrittenLog {
  const log = new WrittenLog(dir);
  log.record(7);
  log.cover();
  log.record(4, logStart + 86_400_000);
  log.cover();
  log.record(1, logStart + 86_400_000 + 9_000);
  log.write();
  return log;
}

const lines = (dir: string) =>
  [0, 8].flatMap((segment) => readFileSync(join(dir, segmentFile(segment)), "utf8").split("\n").slice(0, -1));

test("each record that the newest checkpoint covers has a proof, as text too", () =>
  inLogFolder((dir) => {
    const log = makeLog(dir);
    for (const [seq, line] of lines(dir).slice(0, 13).entries()) {
      const proof = proveRecord(dir, seq, log.key) as RecordProof;
      assert.equal([proof.seq, proof.line], [seq, line]);
      assert.match(proof.checkpoint, "\n13\n");
      assert.is(checkProof(proof, log.key), undefined);
      assert.equal(parseProof(JSON.stringify(proof)), proof);
    }
    assert.is(proveRecord(dir, 13, log.key), "no-checkpoint");
    assert.is(proveRecord(dir, 14, log.key), "no-record");
    writeFileSync(checkpointsPath(dir), "");
    assert.is(proveRecord(dir, 3, log.key), "no-checkpoint");
    assert.is(proveRecord(dir, 14, log.key), "no-record");
  }));

test("of several records that are meant, the last one is proven; of removed ones, none", () =>
  inLogFolder(async (dir) => {
    const log = makeLog(dir);
    const seqOf = (wanted: WantedRecord) => (proveRecord(dir, wanted, log.key) as RecordProof).seq;
    assert.is(seqOf(({ peer }) => peer === "worker-3"), 12);
    assert.is(seqOf(({ type }) => type === "log.opened"), 0);
    assert.is(proveRecord(dir, () => false, log.key), "no-record");
    assert.is(proveRecord(dir, () => true, log.key), "no-checkpoint");
    await removeRecords(dir, 0);
    assert.is(proveRecord(dir, 3, log.key), "no-record");
    const proof = proveRecord(dir, 9, log.key) as RecordProof;
    assert.is(checkProof(proof, log.key), undefined);
  }));

test("a log that is not in order proves nothing", () =>
  inLogFolder((dir) => {
    const { key } = makeLog(dir);
    const code = () => {
      const outcome = proveRecord(dir, 3, key);
      return outcome instanceof AuditFinding ? outcome.code : outcome;
    };
    const path = join(dir, segmentFile(8));
    const text = readFileSync(path);
    writeFileSync(path, text.toString().replace("worker-2", "worker-9"));
    assert.is(code(), "chain");
    truncateSync(path, 0);
    assert.is(code(), "truncated");
    writeFileSync(path, text);
    const checkpoints = readFileSync(checkpointsPath(dir), "utf8");
    writeFileSync(checkpointsPath(dir), checkpoints.replace("\n13\n", "\n12\n"));
    assert.is(code(), "checkpoint-signature");
    writeFileSync(checkpointsPath(dir), checkpoints);
    const other = new WrittenLog(join(dir, "other")); // the same key's name, other records
    assert.is((proveRecord(dir, 3, other.key) as AuditFinding).code, "checkpoint-signature");
    assert.not.instance(proveRecord(dir, 3, key), AuditFinding);
  }));

test("bug: a checkpoint of other records with the log's own signature proved them", () =>
  inLogFolder((dir) => {
    const log = makeLog(dir);
    appendFileSync(checkpointsPath(dir), `${log.head({ root: Buffer.alloc(32, 1) }).note}\n`);
    assert.is((proveRecord(dir, 3, log.key) as AuditFinding).code, "checkpoint-root");
  }));

test("what is no proof is not read as one", () =>
  inLogFolder((dir) => {
    const log = makeLog(dir);
    const proof = proveRecord(dir, 3, log.key) as RecordProof;
    const read = (parts: object) => parseProof(JSON.stringify({ ...proof, ...parts }));
    assert.equal(read({ more: "is passed over" }), proof);
    assert.equal(read({ path: [] }), { ...proof, path: [] });
    const wrong = [
      ...[{ seq: "3" }, { seq: 3.5 }, { seq: 2 ** 53 }, { seq: undefined }, { line: 3 }, { line: undefined }],
      ...[{ checkpoint: 3 }, { checkpoint: undefined }, { path: "AAAA" }, { path: {} }, { path: undefined }],
      ...[{ path: [3] }, { path: ["AAAA", 3] }, { path: [3, "AAAA"] }, { path: [["AAAA"]] }],
    ];
    for (const parts of wrong) assert.is(read(parts), undefined, JSON.stringify(parts));
    for (const text of ["", "{", "null", "3", '"proof"', "[]", "{}"]) assert.is(parseProof(text), undefined, text);
  }));

test("a proof of another line, place, path or checkpoint does not hold, and the reason is named", () =>
  inLogFolder((dir) => {
    const log = makeLog(dir);
    const proof = proveRecord(dir, 3, log.key) as RecordProof;
    const other = proveRecord(dir, 4, log.key) as RecordProof;
    const problem = (parts: Partial<RecordProof>) => checkProof({ ...proof, ...parts }, log.key);
    const notSigned = "its line is not in the signed log";
    const noSignature = `its checkpoint has no valid signature of ${log.key.name}`;
    const noHash = "its path has a hash that is not 32 bytes long";
    assert.is(problem({ checkpoint: "nothing" }), "its checkpoint is no signed checkpoint");
    assert.is(problem({ checkpoint: proof.checkpoint.replace("\n13\n", "\n12\n") }), noSignature);
    assert.is(problem({ checkpoint: new WrittenLog(join(dir, "other")).head().note }), noSignature);
    assert.is(problem({ line: other.line }), "its line is no record 3");
    assert.is(problem({ line: "nothing" }), "its line is no record 3");
    assert.is(problem({ seq: 4 }), "its line is no record 4");
    assert.is(problem({ line: proof.line.replace("worker-2", "worker-9") }), notSigned);
    assert.is(problem({ path: other.path }), notSigned);
    assert.is(problem({ path: [] }), notSigned);
    assert.is(problem({ path: [...proof.path, proof.path[0]!] }), notSigned);
    assert.is(problem({ checkpoint: log.head({ size: 3 }).note }), notSigned);
    assert.is(problem({ checkpoint: log.head({ size: 13, root: Buffer.alloc(32, 1) }).note }), notSigned);
    for (const bytes of [0, 31, 33]) {
      const hash = Buffer.alloc(bytes).toString("base64");
      assert.is(problem({ path: proof.path.with(-1, hash) }), noHash, String(bytes));
      assert.is(problem({ path: proof.path.map(() => hash) }), noHash, String(bytes));
    }
  }));

test.run();
