/** Everything that changes a log is found, at its line. */
import { Buffer } from "node:buffer";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { sha256Text } from "../../actors/audit/audit_record.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { checkProof, proveRecord, type RecordProof, type WantedRecord } from "../../actors/audit/prove_record.ts";
import { type FoundCheckpoints, readCheckpoints } from "../../actors/audit/read_checkpoints.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import {
  logStart,
  openTestLog,
  recordRefusals,
  removeRecords,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";

const test = suite("verifyLog()");
const file = "audit-000000000000.jsonl";

const findingOf = (verified: VerifiedLog | AuditFinding) => verified instanceof AuditFinding ? verified : undefined;

/** A log of 61 records in three checkpoints, the last of them of 61. */
async function makeLog(dir: string): Promise<AuditKey> {
  const log = await openTestLog(dir);
  for (const [index, count] of [20, 20, 20].entries()) {
    recordRefusals(log, count, logStart + index * 20_000);
    await writeCovered(log, new Date(logStart));
  }
  return readVerifierKey(dir) as AuditKey;
}

test("a log in order", () =>
  withLogFolder(async (dir) => {
    const verified = verifyLog(dir, await makeLog(dir));
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

/** What somebody without the key can do to the lines from `index` on. */
const changes: Readonly<Record<string, (lines: string[], index: number) => string[]>> = {
  edit: (lines, index) => lines.with(index, lines[index]!.replace("unknown-issuer", "unknown-issuez")),
  delete: (lines, index) => lines.toSpliced(index, 1),
  insert: (lines, index) => lines.toSpliced(index, 0, lines[index]!.replace(/"index":\d+/, '"index":999')),
  "delete and renumber": (lines, index) => rechain(lines.toSpliced(index, 1), index),
  "insert and renumber": (lines, index) => rechain(lines.toSpliced(index, 0, lines[index]!), index),
  reorder: (lines, index) => lines.with(index, lines[index + 1]!).with(index + 1, lines[index]!),
  truncate: (lines, index) => lines.slice(0, index),
  "clock back": (lines, index) =>
    rechain(lines.with(index, lines[index]!.replace("2026-01-31", "2026-01-30")), index + 1),
  "edit and rechain": (lines, index) =>
    rechain(lines.with(index, lines[index]!.replace("unknown-issuer", "certificate-expired")), index + 1),
};

/** Gives lines from `index` on the numbers and hashes that fit. */
function rechain(lines: readonly string[], index: number): string[] {
  const made = lines.slice(0, index);
  for (const line of lines.slice(index)) {
    const prev = sha256Text(new TextEncoder().encode(made.at(-1)));
    made.push(line.replace(/"prev":"[^"]*","seq":\d+/, `"prev":"${prev}","seq":${made.length}`));
  }
  return made;
}

for (const [name, change] of Object.entries(changes)) {
  test(`${name}: found at every line`, () =>
    withLogFolder(async (dir) => {
      const key = await makeLog(dir);
      const path = join(dir, file);
      const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
      for (let index = 1; index < lines.length - 1; index++) {
        await writeFile(path, `${change(lines, index).join("\n")}\n`);
        const finding = findingOf(verifyLog(dir, key));
        assert.ok(finding, `line ${index + 1}`);
        const { code, line = 0, message } = finding;
        assert.match(message, /^audit[-.\w]+:\d+: /);
        assert.not.match(message, "\n");
        // The line, the one behind it, or the checkpoint that covers it (each takes 6 lines).
        if (finding.file === file) {
          assert.ok(line >= index + 1 && line <= index + 3, `${code} at ${line} for ${index + 1}`);
        } else if (code === "checkpoint-root") {
          assert.ok([1, 7, 13].includes(line) && index < (line + 5) / 6 * 20 + 1, message);
        } else assert.is(code, "truncated");
      }
    }));
}

test("each byte of a line counts", () =>
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
    const path = join(dir, file);
    const bytes = await readFile(path);
    for (let index = 0; index < bytes.length; index += 7) {
      const changed = Uint8Array.from(bytes);
      changed[index]! ^= 1;
      await writeFile(path, changed);
      assert.ok(findingOf(verifyLog(dir, key)), `byte ${index}`);
    }
  }));

test("a checkpoint that is changed, unsigned or out of order is found", () =>
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
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
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
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
async function threeDays(dir: string): Promise<AuditKey> {
  const log = await openTestLog(dir);
  for (const day of [0, 1, 2]) recordRefusals(log, 5, logStart + day * 86_400_000);
  await writeCovered(log, new Date(logStart));
  return readVerifierKey(dir) as AuditKey;
}

test("a missing segment is named", () =>
  withLogFolder(async (dir) => {
    const key = await threeDays(dir);
    assert.is(findingOf(verifyLog(dir, key)), undefined);
    const { unlink } = await import("node:fs/promises");
    await unlink(join(dir, "audit-000000000006.jsonl"));
    const { code, message } = findingOf(verifyLog(dir, key))!;
    assert.is(code, "segment");
    assert.match(message, "records 6 to 11 are missing: there is no audit-000000000006.jsonl");
  }));

test("bug: records that were removed behind older ones passed for old records", () =>
  withLogFolder(async (dir) => {
    const key = await threeDays(dir);
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
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
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
  withLogFolder(async (dir) => {
    const key = await makeLog(join(dir, "audit"));
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

test("whole checkpoints are read, an incomplete one behind them is passed over, and what no checkpoint can be is found", () =>
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
    const path = join(dir, "audit.checkpoints");
    const notes = await readFile(path);
    const tails = ["", "\n", "\n\n", "acme", "acme.example\n61\n", "acme.example\n61\n\n\u2014", "\n\na\n"];
    for (const tail of tails) {
      await writeFile(path, Buffer.concat([notes, Buffer.from(tail)]));
      const { checkpoints, bytes } = readCheckpoints(path, key) as FoundCheckpoints;
      assert.equal([checkpoints.map(({ line }) => line), bytes], [[1, 7, 13], notes.length], JSON.stringify(tail));
    }
    for (const tail of ["a\n\nb\n\n", "\n\n\n\n", "\na\n\n\n\n", "a\n".repeat(8_192), "\0".repeat(20_000)]) {
      await writeFile(path, Buffer.concat([notes, Buffer.from(tail)]));
      const { code, line } = readCheckpoints(path, key) as AuditFinding;
      assert.equal([code, line], ["checkpoint-malformed", 19], JSON.stringify(tail.slice(0, 20)));
    }
  }));

test("bug: checkpoints that take 512 MiB could not be read: they were made one text", () =>
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
    const path = join(dir, "audit.checkpoints");
    const notes = await readFile(path);
    await truncate(path, 2 ** 29 + notes.length); // a hole: it takes no room
    const { code, line } = readCheckpoints(path, key) as AuditFinding;
    assert.equal([code, line], ["checkpoint-malformed", 19]);
  }));

test("bug: a record that is nested too deeply was found without its line", () =>
  withLogFolder(async (dir) => {
    const key = await makeLog(dir);
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
