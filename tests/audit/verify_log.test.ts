/** Everything that changes a log is found, at its place. */
import { Buffer } from "node:buffer";
import { appendFile, mkdir, readFile, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { checkProof, proveRecord, type RecordProof, type WantedRecord } from "../../actors/audit/prove_record.ts";
import { type FoundCheckpoints, readCheckpoints } from "../../actors/audit/read_checkpoints.ts";
import { noLog, readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { segmentFile, verifierKeyPath } from "../../actors/audit/segments.ts";
import { logStart, removeRecords } from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("verifyLog()");
const file = "audit-000000000000.jsonl";

const findingOf = (verified: VerifiedLog | AuditFinding) => verified instanceof AuditFinding ? verified : undefined;

/** A log of 61 records in three checkpoints, the last of them of 61. */
function makeLog(dir: string): AuditKey {
  const log = new WrittenLog(dir);
  for (const index of [0, 1, 2]) {
    log.record(20, logStart + index * 20_000);
    log.cover();
  }
  return log.key;
}

test("a log in order", () =>
  inLogFolder((dir) => {
    const verified = verifyLog(dir, makeLog(dir));
    assert.not.instance(verified, AuditFinding);
    const { records, covered, checkpoints, first, last, torn } = verified as VerifiedLog;
    assert.equal({ records, covered, checkpoints, torn }, {
      records: 61,
      covered: 61,
      checkpoints: 3,
      torn: undefined,
    });
    assert.equal([first, last], ["2026-01-31T12:00:00.000Z", "2026-01-31T12:00:59.000Z"]);
  }));

test("tells how much the checkpoints cover, and what was removed", () =>
  inLogFolder(async (dir) => {
    const log = new WrittenLog(dir);
    log.write();
    const whole = { origin: log.key.name, records: 1, removed: 0, covered: 0, checkpoints: 0, torn: undefined };
    const at = (day: number, seconds: number) => new Date(logStart + day * 86_400_000 + seconds * 1_000).toISOString();
    assert.equal(verifyLog(dir, log.key), { ...whole, first: at(0, 0), last: at(0, 0) });
    log.record(5);
    log.cover();
    log.record(3, logStart + 86_400_000);
    log.cover();
    log.record(4, logStart + 86_400_000 + 3_000);
    log.write();
    const grown = { ...whole, records: 14, covered: 10, checkpoints: 2, first: at(0, 0), last: at(1, 6) };
    assert.equal(verifyLog(dir, log.key), grown);
    await removeRecords(dir, 0);
    const removed = { ...grown, removed: 6, first: at(1, 0) };
    assert.equal(verifyLog(dir, log.key), removed);
    const { offset } = log.chain.state;
    const file = segmentFile(6);
    await appendFile(join(dir, file), "{");
    assert.equal(verifyLog(dir, log.key), { ...removed, torn: { file, line: 9, offset } });
  }));

test("the verifier key is read from its file; what is none, or cannot be read, is named", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const path = verifierKeyPath(dir);
    const text = await readFile(path, "utf8");
    for (const same of [text, text.trim(), ` ${text}\n`]) {
      await writeFile(path, same);
      const { name, raw } = readVerifierKey(dir) as AuditKey;
      assert.equal([name, Buffer.from(raw)], [key.name, Buffer.from(key.raw)]);
    }
    await writeFile(path, text.slice(1));
    const malformed = readVerifierKey(dir) as AuditFinding;
    assert.equal([malformed.code, malformed.message], ["malformed", "audit.vkey: it is no verifier key"]);
    await rm(path);
    const missing = readVerifierKey(dir) as AuditFinding;
    assert.is(missing.code, "unreadable");
    assert.match(missing.message, /^audit\.vkey: it cannot be read \(ENOENT/);
  }));

test("the log holds what a witness's checkpoints cover: a list of them, or a file", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const { checkpoints } = readCheckpoints(join(dir, "audit.checkpoints"), key) as FoundCheckpoints;
    const witness = join(dir, "witness");
    const verified = (witnessed: Parameters<typeof verifyLog>[2]) => {
      const outcome = verifyLog(dir, key, witnessed);
      return outcome instanceof AuditFinding ? `${outcome.code} ${outcome.message}` : `${outcome.checkpoints}`;
    };
    assert.is(verified([]), "3");
    assert.is(verified(checkpoints), "3");
    const [first, second] = checkpoints;
    assert.is(
      verified([{ ...first!, root: second!.root, file: "held", line: 1 }]),
      "checkpoint-root held:1: its root is not that of the first 21 records: one of records 0 to 20 was changed",
    );
    assert.match(
      verified([{ ...second!, size: 62, file: "held", line: 1 }]),
      "truncated held:1: it covers 62 records, and the log has 61",
    );
    await writeFile(witness, checkpoints.toReversed().map(({ note }) => `${note}\n`).join(""));
    assert.is(verified(witness), "3");
    await writeFile(witness, checkpoints[0]!.note);
    assert.is(verified(witness), "unreadable witness: it holds no checkpoint: nothing is compared");
    await writeFile(witness, "no checkpoint\n".repeat(1_000));
    assert.is(verified(witness), "checkpoint-malformed witness:1: it is no signed checkpoint");
    await rm(witness);
    assert.match(verified(witness), "unreadable witness: it cannot be read (ENOENT");
  }));

test("of a log without records, that they were cut off is found first, where a checkpoint covers some", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    await truncate(join(dir, file), 0);
    assert.equal(findingOf(verifyLog(dir, key))?.code, "truncated");
    await rm(join(dir, "audit.checkpoints"));
    const finding = findingOf(verifyLog(dir, key))!;
    assert.equal([finding.code, finding.message], ["segment", noLog().message]);
    assert.is(noLog().message, `${file}: it is missing, or has no record: the folder holds no log`);
    await mkdir(join(dir, "audit.checkpoints"));
    assert.is(findingOf(verifyLog(dir, key))?.code, "unreadable");
  }));

test("a checkpoint that is changed, unsigned or out of order is found", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const path = join(dir, "audit.checkpoints");
    const notes = (await readFile(path, "utf8")).split(/(?<=\n\n\u2014 [^\n]*\n)\n/);
    assert.is(notes.length, 4);
    const codeOf = async (changed: readonly string[]) => {
      await writeFile(path, changed.join("\n"));
      return findingOf(verifyLog(dir, key))?.code;
    };
    const [first = "", second = "", third = ""] = notes;
    assert.is(await codeOf([first, third, second, ""]), "checkpoint-order");
    assert.is(await codeOf([first, second.replace("\n41\n", "\n40\n"), third, ""]), "checkpoint-signature");
    assert.is(await codeOf([first, second.replace(/\u2014.*\n/, "x\n"), third, ""]), "checkpoint-malformed");
    assert.is(await codeOf(notes), undefined);
  }));

test("lines and checkpoints cut off together are found with a witness's checkpoints alone", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const checkpoints = join(dir, "audit.checkpoints");
    const witnessed = join(dir, "witness");
    await writeFile(witnessed, await readFile(checkpoints));
    const lines = (await readFile(join(dir, file), "utf8")).split("\n");
    await writeFile(join(dir, file), `${lines.slice(0, 21).join("\n")}\n`);
    const notes = await readFile(checkpoints, "utf8");
    await writeFile(checkpoints, notes.slice(0, notes.indexOf("\n\n", notes.indexOf("\n\n") + 2) + 2));
    assert.is(findingOf(verifyLog(dir, key)), undefined);
    const finding = findingOf(verifyLog(dir, key, witnessed));
    assert.equal([finding?.code, finding?.file, finding?.line], ["truncated", "witness", 7]);
  }));

/** Writes a log of three days, a segment each. Returns its key. */
function threeDays(dir: string): AuditKey {
  const log = new WrittenLog(dir);
  for (const day of [0, 1, 2]) log.record(5, logStart + day * 86_400_000);
  log.cover();
  return log.key;
}

test("a missing segment is named", () =>
  inLogFolder(async (dir) => {
    const key = threeDays(dir);
    assert.is(findingOf(verifyLog(dir, key)), undefined);
    await unlink(join(dir, "audit-000000000006.jsonl"));
    const { code, message } = findingOf(verifyLog(dir, key))!;
    assert.is(code, "segment");
    assert.match(message, "records 6 to 11 are missing: there is no audit-000000000006.jsonl");
  }));

test("bug: records that were removed behind older ones passed for old records", () =>
  inLogFolder(async (dir) => {
    const key = threeDays(dir);
    await removeRecords(dir, 6);
    const { code, message } = findingOf(verifyLog(dir, key))!;
    assert.is(code, "segment");
    assert.match(message, "audit-000000000006.leaves: its records were removed, and older ones are there");
    await removeRecords(dir, 0);
    const { records, removed } = verifyLog(dir, key) as VerifiedLog;
    assert.equal([records, removed], [18, 12]);
    await removeRecords(dir, 12);
    assert.match(
      findingOf(verifyLog(dir, key))!.message,
      "audit-000000000012.leaves: its records were removed, and no newer",
    );
  }));

test("bug: a log whose end was cut off had a proof, with exit code 0, that audit check refused", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const path = join(dir, file);
    const lines = (await readFile(path, "utf8")).split("\n");
    const provedOf = async (count: number, wanted: WantedRecord) => {
      await writeFile(path, `${lines.slice(0, count).join("\n")}\n`);
      return proveRecord(dir, wanted, key);
    };
    for (const wanted of [2, 60, () => true, () => false]) {
      const { code, file: at, line } = (await provedOf(60, wanted)) as AuditFinding;
      assert.equal([code, at, line], ["truncated", "audit.checkpoints", 13], String(wanted));
    }
    assert.is(checkProof((await provedOf(61, 2)) as RecordProof, key), undefined);
    assert.is(await provedOf(61, 61), "no-record");
  }));

test("bug: a folder that holds no log was in order, with no record", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(join(dir, "audit"));
    const emptied = async (content: string) => {
      await writeFile(join(dir, file), content);
      return findingOf(verifyLog(dir, key));
    };
    for (const finding of [findingOf(verifyLog(dir, key)), await emptied(""), await emptied(`{"detail"`)]) {
      assert.equal([finding?.code, finding?.file, finding?.line], ["segment", file, undefined]);
      assert.match(finding!.message, "no record");
    }
    assert.is(findingOf(verifyLog(join(dir, "audit"), key)), undefined);
  }));

test("bug: a record that is nested too deeply was found without its line", () =>
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const lines = (await readFile(join(dir, file), "utf8")).split("\n");
    const deep = `{"a":${"[".repeat(7_800)}${"]".repeat(7_800)}}`;
    await writeFile(
      join(dir, file),
      lines.with(40, lines[40]!.replace(/"detail":\{[^}]*\}/, `"detail":${deep}`)).join("\n"),
    );
    const { code, line } = verifyLog(dir, key) as AuditFinding;
    assert.equal([code, line], ["malformed", 41]);
  }));

test.run();
