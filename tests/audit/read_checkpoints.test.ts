/** What the file of checkpoints holds: whole signed notes, in order; and the newest of them without reading the others. */
import { Buffer } from "node:buffer";
import { appendFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditKey, noteCharactersMax } from "../../actors/audit/checkpoint.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { type FoundCheckpoints, readCheckpoints, readNewestCheckpoint } from "../../actors/audit/read_checkpoints.ts";
import { checkpointsPath } from "../../actors/audit/segments.ts";
import { inLogFolder, WrittenLog } from "../support/written_logs.ts";

const test = suite("readCheckpoints()");
const file = "audit.checkpoints";

/** A log with three checkpoints: of 1, 3 and 5 records. */
function threeCheckpoints(dir: string): { log: WrittenLog; path: string; notes: string[] } {
  const log = new WrittenLog(dir);
  const notes = [0, 2, 2].map((count) => {
    log.record(count);
    return log.cover().note;
  });
  return { log, path: checkpointsPath(dir), notes };
}

/** A file's checkpoints, or the place and kind of what is wrong. */
function read(path: string, key: AuditKey, order?: "growing" | "any"): unknown {
  const outcome = readCheckpoints(path, key, order);
  if (outcome instanceof AuditFinding) return `${outcome.file}:${outcome.line} ${outcome.code} ${outcome.detail}`;
  return [outcome.checkpoints.map(({ size }) => size), outcome.bytes];
}

/** The same note with signatures of others, which make it as long as is wanted. */
function lengthened(note: string, characters: number): string {
  let text = note;
  for (let index = 0; text.length < characters; index++) {
    const left = characters - text.length;
    const size = left > 1_200 ? 1_000 : left;
    const head = `\u2014 other${String(index).padStart(3, "0")} `;
    text += `${head}${"A".repeat(size - head.length - 1)}\n`;
  }
  assert.is(text.length, characters);
  return text;
}

test("tells each with its note, and the line that it begins with", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const { checkpoints, bytes } = readCheckpoints(path, log.key) as FoundCheckpoints;
    assert.equal(
      checkpoints.map(({ note, file, line, size, origin }) => ({ note, file, line, size, origin })),
      notes.map((note, index) => ({
        ...{ note, file, line: 1 + 6 * index, size: 1 + 2 * index, origin: log.key.name },
      })),
    );
    assert.equal(Buffer.from(checkpoints[2]!.root), log.chain.state.edge.root());
    assert.is(bytes, readFileSync(path).length);
  }));

test("an incomplete one at the end is passed over, wherever it was cut off", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const all = readFileSync(path).length;
    const last = Buffer.byteLength(notes[2]!) + 1;
    for (let bytes = all - 1; bytes >= all - last; bytes--) {
      truncateSync(path, bytes);
      assert.equal(read(path, log.key), [[1, 3], all - last], String(bytes));
    }
    truncateSync(path, 10);
    assert.equal(read(path, log.key), [[], 0]);
  }));

test("each covers more records than the one before; in a witness's file they may stand in any order", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const [first, second, third] = notes as [string, string, string];
    writeFileSync(path, `${second}\n${first}\n${third}\n`);
    assert.is(read(path, log.key), `${file}:7 checkpoint-order it covers 1 records, the checkpoint before it 3`);
    assert.equal(read(path, log.key, "any"), [[3, 1, 5], readFileSync(path).length]);
    writeFileSync(path, `${first}\n${third}\n${third}\n`);
    assert.is(read(path, log.key), `${file}:13 checkpoint-order it covers 5 records, the checkpoint before it 5`);
    assert.equal(read(path, log.key, "any"), [[1, 5, 5], readFileSync(path).length]);
  }));

test("one that the log's key did not sign, or that is of another log, is found", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const [first, second] = notes as [string, string];
    mkdirSync(join(dir, "other"));
    const other = new WrittenLog(join(dir, "other"));
    const { name } = log.key;
    const stranger = log.head({ origin: "stranger" }).note;
    const cases: readonly (readonly [note: string, problem: string])[] = [
      [second.replace("\n3\n", "\n4\n"), "checkpoint-signature its signature does not verify"],
      [other.head({ size: 9 }).note, "checkpoint-signature the log's key has not signed it"],
      [second.replace("\n3\n", "\n03\n"), "checkpoint-malformed it is no signed checkpoint"],
      [stranger, `checkpoint-malformed it is a checkpoint of stranger, not of ${name}`],
    ];
    for (const [note, problem] of cases) {
      for (const order of ["growing", "any"] as const) {
        writeFileSync(path, `${first}\n${note}\n`);
        assert.is(read(path, log.key, order), `${file}:7 ${problem}`);
      }
    }
  }));

test("a note has at most so many characters; what is longer is not gathered in memory", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const [first, second, third] = notes as [string, string, string];
    const longest = lengthened(second, noteCharactersMax);
    writeFileSync(path, `${first}\n${longest}\n${third}\n`);
    assert.equal(read(path, log.key), [[1, 3, 5], readFileSync(path).length]);
    const malformed = `${file}:7 checkpoint-malformed it is no signed checkpoint`;
    writeFileSync(path, `${first}\n${lengthened(second, noteCharactersMax + 1)}\n${third}\n`);
    assert.is(read(path, log.key), malformed);
    // Without an empty line, or without a line feed, a note does not end.
    for (const endless of ["a\n".repeat(40_000), "a".repeat(40_000), `${"a".repeat(16_000)}\n`.repeat(3)]) {
      writeFileSync(path, `${first}\n${endless}`);
      assert.is(read(path, log.key), malformed);
    }
    writeFileSync(path, `${first}\n${"a\n".repeat(4_000)}`);
    assert.equal(read(path, log.key), [[1], Buffer.byteLength(first) + 1], "it may become one");
    writeFileSync(path, `${first}\n${"a".repeat(noteCharactersMax)}\nb`);
    assert.equal(read(path, log.key), [[1], Buffer.byteLength(first) + 1], "an incomplete line decides nothing");
  }));

test("a note has one empty line within it, and one behind it", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const [first, second, third] = notes as [string, string, string];
    for (const wrong of [`\n${second}\n`, `${second}\n\n`, `${second.replace("\n\n", "\n")}\n`]) {
      writeFileSync(path, `${first}\n${wrong}${third}\n`);
      assert.match(String(read(path, log.key)), "checkpoint-malformed", JSON.stringify(wrong));
    }
  }));

test("a log without the file has no checkpoint; a witness's file, and one that cannot be read, is named", () =>
  inLogFolder((dir) => {
    const { key } = new WrittenLog(dir);
    const path = checkpointsPath(dir);
    assert.equal(read(path, key), [[], 0]);
    assert.match(String(read(path, key, "any")), `${file}:undefined unreadable it cannot be read (ENOENT`);
    mkdirSync(path);
    for (const order of ["growing", "any"] as const) {
      assert.match(String(read(path, key, order)), `${file}:undefined unreadable it cannot be read (EISDIR`);
    }
  }));

test("whole checkpoints are read, an incomplete one behind them is passed over, and what no checkpoint can be is found", () =>
  inLogFolder((dir) => {
    const { log: { key }, path } = threeCheckpoints(dir);
    const notes = readFileSync(path);
    const tails = ["", "\n", "\n\n", "acme", "acme.example\n61\n", "acme.example\n61\n\n\u2014", "\n\na\n"];
    for (const tail of tails) {
      writeFileSync(path, Buffer.concat([notes, Buffer.from(tail)]));
      const { checkpoints, bytes } = readCheckpoints(path, key) as FoundCheckpoints;
      assert.equal([checkpoints.map(({ line }) => line), bytes], [[1, 7, 13], notes.length], JSON.stringify(tail));
    }
    for (const tail of ["a\n\nb\n\n", "\n\n\n\n", "\na\n\n\n\n", "a\n".repeat(8_192), "\0".repeat(20_000)]) {
      writeFileSync(path, Buffer.concat([notes, Buffer.from(tail)]));
      const { code, line } = readCheckpoints(path, key) as AuditFinding;
      assert.equal([code, line], ["checkpoint-malformed", 19], JSON.stringify(tail.slice(0, 20)));
    }
  }));

test("bug: checkpoints that take 512 MiB could not be read: they were made one text", () =>
  inLogFolder((dir) => {
    const { log: { key }, path } = threeCheckpoints(dir);
    const notes = readFileSync(path);
    truncateSync(path, 2 ** 29 + notes.length); // a hole: it takes no room
    const { code, line } = readCheckpoints(path, key) as AuditFinding;
    assert.equal([code, line], ["checkpoint-malformed", 19]);
  }));

test("a note whose body is longer than the whole one before is read", () =>
  inLogFolder((dir) => {
    const log = new WrittenLog(dir);
    const path = checkpointsPath(dir);
    const sizes = [9, 100, 12_345_678];
    writeFileSync(path, sizes.map((size) => `${log.head({ size }).note}\n`).join(""));
    assert.equal(read(path, log.key), [sizes, readFileSync(path).length]);
  }));

const newest = suite("readNewestCheckpoint()");

newest("is the last whole one, with the bytes up to its end", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const root = log.chain.state.edge.root();
    const bytes = readFileSync(path).length;
    assert.equal(readNewestCheckpoint(path, log.key), { origin: log.key.name, size: 5, root, note: notes[2], bytes });
    const before = bytes - Buffer.byteLength(notes[2]!) - 1;
    for (let cut = bytes - 1; cut >= before; cut--) {
      truncateSync(path, cut);
      const found = readNewestCheckpoint(path, log.key);
      assert.equal([found?.size, found?.note, found?.bytes], [3, notes[1], before], String(cut));
    }
    const [first] = notes as [string];
    writeFileSync(path, `${first}\n`);
    const found = readNewestCheckpoint(path, log.key);
    assert.equal([found?.size, found?.note, found?.bytes], [1, first, Buffer.byteLength(first) + 1]);
  }));

newest("a file that is missing, empty, or begins with an incomplete one has none", () =>
  inLogFolder((dir) => {
    const log = new WrittenLog(dir);
    const path = checkpointsPath(dir);
    assert.is(readNewestCheckpoint(path, log.key), undefined);
    const whole = Buffer.from(`${log.cover().note}\n`);
    for (let bytes = 0; bytes < whole.length; bytes++) {
      writeFileSync(path, whole.subarray(0, bytes));
      assert.is(readNewestCheckpoint(path, log.key), undefined, String(bytes));
    }
    for (const text of ["\n\n", "\n\n\n\n", "a\n\nb\n\n"]) {
      writeFileSync(path, text);
      assert.is(readNewestCheckpoint(path, log.key), undefined);
    }
  }));

newest("empty lines behind it are no part of it", () =>
  inLogFolder((dir) => {
    const { log, path, notes } = threeCheckpoints(dir);
    const bytes = readFileSync(path).length;
    for (const more of ["\n", "\n\n", "a\n\n", "\n\u2014\n\n"]) {
      appendFileSync(path, more);
      const found = readNewestCheckpoint(path, log.key);
      assert.equal([found?.note, found?.bytes], [notes[2], bytes], JSON.stringify(more));
      truncateSync(path, bytes);
    }
  }));

newest("its file is closed", () =>
  inLogFolder((dir) => {
    const { log, path } = threeCheckpoints(dir);
    const open = () => process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
    const before = open();
    for (let times = 0; times < 30; times++) readNewestCheckpoint(path, log.key);
    assert.ok(open() < before + 15, `${open() - before} files are open`);
  }));

newest("an error of the system is the caller's", () =>
  inLogFolder((dir) => {
    const { key } = new WrittenLog(dir);
    mkdirSync(join(dir, "folder"));
    writeFileSync(join(dir, "folder", "file"), "");
    assert.throws(() => readNewestCheckpoint(join(dir, "folder"), key), /EISDIR/);
  }));

newest(
  "one that the log's key did not sign, or that is of another log, is none, whatever stands before it",
  () =>
    inLogFolder((dir) => {
      const { log, path, notes } = threeCheckpoints(dir);
      const wrong = [notes[2]!.replace("\n5\n", "\n6\n"), log.head({ origin: "stranger" }).note];
      for (const note of wrong) {
        writeFileSync(path, `${notes[0]}\n${note}\n`);
        assert.is(readNewestCheckpoint(path, log.key), undefined);
      }
    }),
);

newest(
  "is found behind so many others, and is the longest there may be; only the end of the file is read",
  () =>
    inLogFolder((dir) => {
      const { log, path, notes } = threeCheckpoints(dir);
      const [first, second] = notes as [string, string, string];
      const longest = lengthened(second, noteCharactersMax);
      const begin = "x".repeat(40_000); // damage that no start reads
      writeFileSync(path, `${begin}\n${first}\n${longest}\n`);
      const { length } = readFileSync(path);
      const found = readNewestCheckpoint(path, log.key);
      assert.equal([found?.size, found?.note, found?.bytes], [3, longest, length]);
      appendFileSync(path, lengthened(notes[2]!, noteCharactersMax).slice(0, -900));
      assert.is(readNewestCheckpoint(path, log.key)?.size, 3, "an incomplete one of the same length stands behind it");
      appendFileSync(path, "a".repeat(1_400));
      assert.is(readNewestCheckpoint(path, log.key), undefined, "none begins within the end of the file");
    }),
);

newest(
  "in a file that is longer than its end, one counts from the empty line before it on",
  () =>
    inLogFolder((dir) => {
      const { log, path, notes } = threeCheckpoints(dir);
      const note = notes[2]!;
      const noteBytes = Buffer.byteLength(note) + 1;
      const tailBytes = 16_384;
      // Behind the note stands an incomplete one, so that the note begins at each of these places of the tail.
      for (const [at, isFound] of [[0, false], [1, false], [2, true], [3, true], [200, true]] as const) {
        const rest = tailBytes - at - noteBytes;
        writeFileSync(path, `${"x".repeat(100)}\n\n${note}\n${"y".repeat(rest)}`);
        const found = readNewestCheckpoint(path, log.key);
        assert.equal([found?.size, found?.bytes], isFound ? [5, 102 + noteBytes] : [undefined, undefined], String(at));
      }
      // A file that is no longer begins with its first note.
      writeFileSync(path, `${note}\n${"y".repeat(tailBytes - noteBytes)}`);
      assert.is(readNewestCheckpoint(path, log.key)?.bytes, noteBytes);
      const rest = "y".repeat(tailBytes - noteBytes);
      for (const longer of [`${note}\n${rest}y`, `x${note}\n${rest}`]) {
        writeFileSync(path, longer);
        assert.is(readNewestCheckpoint(path, log.key), undefined, longer.slice(0, 2));
      }
    }),
);

test.run();
newest.run();
