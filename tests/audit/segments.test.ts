import { Buffer } from "node:buffer";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lineBytesMax } from "../../actors/audit/audit_record.ts";
import {
  checkpointsPath,
  edgePath,
  keyPath,
  LineReader,
  listSegments,
  lockPath,
  segmentFile,
  verifierKeyPath,
} from "../../actors/audit/segments.ts";
import { inLogFolder } from "../support/written_logs.ts";

const test = suite("segments");

test("the files of a log have names of 12 digits and more", () => {
  assert.is(segmentFile(0), "audit-000000000000.jsonl");
  assert.is(segmentFile(4_711, "leaves"), "audit-000000004711.leaves");
  assert.is(segmentFile(7, "torn"), "audit-000000000007.torn");
  assert.is(segmentFile(10 ** 13), "audit-10000000000000.jsonl");
  const paths = [checkpointsPath, edgePath, lockPath, keyPath, verifierKeyPath].map((of) => of("dir"));
  const names = ["audit.checkpoints", "audit.edge", "audit.lock", "audit.key", "audit.vkey"];
  assert.equal(paths, names.map((name) => join("dir", name)));
});

test("segments are listed by the number of their first record; other files are not", () =>
  inLogFolder((dir) => {
    const others = ["audit-1.jsonl", `audit-${"1".repeat(17)}.jsonl`, "audit-000000000007.torn", "audit.checkpoints"];
    for (const name of [...others, "audit-000000000003.jsonl.tmp", "xaudit-000000000003.jsonl"]) {
      writeFileSync(join(dir, name), "");
    }
    const numbers = [999_999_999_999, 10 ** 12, 5, 0, 10 ** 15];
    for (const first of numbers) writeFileSync(join(dir, segmentFile(first)), "");
    writeFileSync(join(dir, segmentFile(7, "leaves")), "");
    const listed = listSegments(dir);
    assert.equal(listed.map(({ first }) => first), [...numbers, 7].toSorted((one, other) => one - other));
    assert.equal(listed.find(({ first }) => first === 7), { kind: "leaves", first: 7, file: segmentFile(7, "leaves") });
    assert.equal(listed[0], { kind: "records", first: 0, file: segmentFile(0) });
  }));

test("where the hashes and the records of one are there, the records count", () =>
  inLogFolder((dir) => {
    for (const kind of ["leaves", "records"] as const) writeFileSync(join(dir, segmentFile(4, kind)), "");
    assert.equal(listSegments(dir), [{ kind: "records", first: 4, file: segmentFile(4) }]);
    assert.throws(() => listSegments(join(dir, "none")), /ENOENT/);
  }));

/** The lines of a text as a reader finds them: their kind, place and content. */
function linesOf(dir: string, text: string | Buffer, from?: number): [kind: string, offset: number, text: string][] {
  const path = join(dir, "lines");
  writeFileSync(path, text);
  const reader = new LineReader(path);
  const lines: [string, number, string][] = [];
  for (const { kind, offset, start, end } of reader.lines(from)) {
    lines.push([kind, offset, reader.buffer.toString("utf8", start, end)]);
    reader.buffer[start - 1] = 0x0a; // a caller may write there
  }
  return lines;
}

test("lines are found with their places, from the beginning or from a place on", () =>
  inLogFolder((dir) => {
    assert.equal(linesOf(dir, ""), []);
    assert.equal(linesOf(dir, "\n"), [["whole", 0, ""]]);
    assert.equal(linesOf(dir, "a"), [["torn", 0, "a"]]);
    const text = "first\n\nthird\nrest";
    const lines = [["whole", 0, "first"], ["whole", 6, ""], ["whole", 7, "third"], ["torn", 13, "rest"]];
    assert.equal(linesOf(dir, text), lines);
    assert.equal(linesOf(dir, text, 7), lines.slice(2));
    assert.equal(linesOf(dir, text, 15), [["torn", 15, "st"]]);
    assert.equal(linesOf(dir, text, 17), []);
    assert.throws(() => [...new LineReader(join(dir, "none")).lines()], /ENOENT/);
  }));

test("lines that lie across the chunks of a long file are whole", () =>
  inLogFolder((dir) => {
    for (const bytes of [1, 997, 4_096, lineBytesMax]) {
      const count = Math.ceil(2.5 * 1024 * 1024 / (bytes + 1));
      const content = (index: number) => `${index}`.padStart(bytes, ".").slice(-bytes);
      const text = Array.from({ length: count }, (_, index) => `${content(index)}\n`).join("");
      const lines = linesOf(dir, text);
      assert.is(lines.length, count);
      const wrong = lines.findIndex(([kind, offset, line], index) =>
        kind !== "whole" || offset !== index * (bytes + 1) || line !== content(index)
      );
      assert.is(wrong, -1, `line ${wrong} of ${bytes} bytes`);
    }
  }));

test("a line that is torn is not ended by a line feed that an earlier chunk left in the buffer", () =>
  inLogFolder((dir) => {
    const chunk = Buffer.alloc(new LineReader("").buffer.length - 1, `${"x".repeat(255)}\n`);
    chunk.write("abc\n");
    chunk.write("\n", chunk.length - 1);
    const lines = linesOf(dir, Buffer.concat([chunk, Buffer.from("xyz")]));
    assert.equal([lines[0], lines.at(-1)], [["whole", 0, "abc"], ["torn", chunk.length, "xyz"]]);
  }));

test("a line has at most so many bytes; none comes after a longer one", () =>
  inLogFolder((dir) => {
    const longest = "x".repeat(lineBytesMax);
    assert.equal(linesOf(dir, `a\n${longest}\nb\n`), [["whole", 0, "a"], ["whole", 2, longest], [
      ...["whole", 2 + lineBytesMax + 1, "b"],
    ]] as [string, number, string][]);
    assert.equal(linesOf(dir, `a\n${longest}y\nb\n`), [["whole", 0, "a"], ["long", 2, `${longest}y`]]);
    assert.equal(linesOf(dir, `a\n${longest}`), [["whole", 0, "a"], ["torn", 2, longest]]);
    assert.equal(linesOf(dir, `a\n${longest}y`), [["whole", 0, "a"], ["long", 2, longest]]);
    const endless = Buffer.alloc(3 * 1024 * 1024, "z");
    assert.equal(linesOf(dir, endless), [["long", 0, "z".repeat(lineBytesMax)]]);
    assert.equal(linesOf(dir, Buffer.concat([Buffer.from("a\n"), endless])).at(-1)?.[1], 2);
  }));

test("a reader whose lines are not read to their end closes its file", () =>
  inLogFolder((dir) => {
    const path = join(dir, "lines");
    writeFileSync(path, "a\nb\n");
    const open = () => process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
    const before = open();
    for (let times = 0; times < 50; times++) {
      for (const { kind } of new LineReader(path).lines()) {
        if (kind === "whole") break;
      }
    }
    assert.ok(open() < before + 25, `${open() - before} files are open`);
    mkdirSync(join(dir, "folder"));
    assert.throws(() => [...new LineReader(join(dir, "folder")).lines()], /EISDIR/);
  }));

test.run();
