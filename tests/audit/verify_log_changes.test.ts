/** Every change of any line is found, at its line. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sha256Text } from "../../actors/audit/audit_record.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { logStart } from "../support/audit_logs.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("verifyLog() of a log with a changed line");
const file = segmentFile(0);

const findingOf = (verified: VerifiedLog | AuditFinding) => verified instanceof AuditFinding ? verified : undefined;

/** A log of 61 records in three checkpoints, the last of them of 61. */
function makeLog(dir: string) {
  const log = new WrittenLog(dir);
  for (const index of [0, 1, 2]) {
    log.record(20, logStart + index * 20_000);
    log.cover();
  }
  return log.key;
}

/** What one without the key can do to the lines from `index` on. */
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
    inLogFolder(async (dir) => {
      const key = makeLog(dir);
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
  inLogFolder(async (dir) => {
    const key = makeLog(dir);
    const path = join(dir, file);
    const bytes = await readFile(path);
    for (let index = 0; index < bytes.length; index += 7) {
      const changed = Uint8Array.from(bytes);
      changed[index]! ^= 1;
      await writeFile(path, changed);
      assert.ok(findingOf(verifyLog(dir, key)), `byte ${index}`);
    }
  }));

test.run();
