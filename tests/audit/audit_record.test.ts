import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditEvent, composeLine, genesisHash, readLine, sha256Text } from "../../actors/audit/audit_record.ts";
import { LineReader } from "../../actors/audit/segments.ts";
import { withLogFolder } from "../support/audit_logs.ts";

const test = suite("audit records");
const place = { node: "n", prev: "p", seq: 0, ts: "2026-01-31T12:00:00.000Z" };
const event: AuditEvent = { type: "job.started", outcome: "done" };
const composed = (change: Partial<AuditEvent>) => `${composeLine({ ...event, ...change }, place)}`;
const sha256 = (text: string) => hash("sha256", text, "base64");

test("a record is canonical JSON with its version", () => {
  const end = '"prev":"p","seq":0,"ts":"2026-01-31T12:00:00.000Z","type":"job.started","v":1}';
  assert.is(composed({}), `{"detail":{},"node":"n","outcome":"done",${end}`);
  assert.is(
    composed({ peer: "worker-1 12D3", detail: { b: 1, a: "x" } }),
    `{"detail":{"a":"x","b":1},"node":"n","outcome":"done","peer":"worker-1 12D3",${end}`,
  );
});

test("a peer has at most 1,024 characters, an outcome 256; half of a character is replaced", () => {
  const record = readLine(composed({ peer: `p${"q".repeat(2_000)}`, outcome: `o${"u".repeat(2_000)}` }))!;
  assert.is(record.peer, `p${"q".repeat(1_023)}`);
  assert.is(record.outcome, `o${"u".repeat(255)}`);
  const halved = readLine(composed({ peer: `${"p".repeat(1_023)}😀`, outcome: `${"o".repeat(255)}😀` }))!;
  assert.is(halved.peer, `${"p".repeat(1_023)}\ufffd`);
  assert.is(halved.outcome, `${"o".repeat(255)}\ufffd`);
});

/** A detail whose JSON has so many bytes, of characters of one byte or of three. */
function detailOf(bytes: number, character: "x" | "€"): Readonly<Record<string, unknown>> {
  const rest = bytes - '{"a":""}'.length;
  const size = Buffer.byteLength(character);
  return { a: character.repeat(Math.floor(rest / size)) + "x".repeat(rest % size) };
}

for (const character of ["x", "€"] as const) {
  test(`a detail of 4,096 bytes is kept, of a longer one its size, hash and beginning (${character})`, () => {
    const [kept, cut] = [detailOf(4_096, character), detailOf(4_097, character)];
    assert.equal({ ...readLine(composed({ detail: kept }))!.detail }, kept);
    const text = JSON.stringify(cut);
    assert.equal(readLine(composed({ detail: cut }))!.detail, {
      cut: { bytes: 4_097, sha256: sha256(text) },
      text: text.slice(0, 512),
    });
  });
}

test("the beginning of a detail ends with no half of a character", () => {
  const { text } = readLine(composed({ detail: { a: `${"x".repeat(505)}😀${"x".repeat(4_000)}` } }))!.detail;
  assert.is((text as string).at(-1), "\ufffd");
});

const record = {
  ...{ detail: {}, node: "n", outcome: "done", peer: "worker-1", prev: "p", seq: 0 },
  ...{ ts: "2026-01-31T12:00:00.000Z", type: "job.started", v: 1 },
};

test("reads a record, with and without a peer", () => {
  assert.equal(readLine(JSON.stringify(record)), record);
  const { peer: _, ...rest } = record;
  assert.equal(readLine(JSON.stringify(rest)), rest);
});

const others: readonly (readonly [name: string, change: Readonly<Record<string, unknown>>])[] = [
  ["another version", { v: 2 }],
  ["a place that is text", { seq: "0" }],
  ["a place before the first", { seq: -1 }],
  ["a hash that is none", { prev: 1 }],
  ["no hash", { prev: undefined }],
  ["a node that is none", { node: null }],
  ["an outcome that is none", { outcome: 0 }],
  ["a peer that is none", { peer: null }],
  ["a type that is none", { type: ["job.started"] }],
  ["a time that is none", { ts: 1_769_860_800_000 }],
  ["a list for a time", { ts: ["2026-01-31T12:00:00.000Z"] }],
  ["a time of another form", { ts: "2026-01-31T12:00:00Z" }],
  ["no detail", { detail: null }],
  ["text for a detail", { detail: "x" }],
  ["a list for a detail", { detail: [] }],
];
for (const [name, change] of others) {
  test(`reads no line with ${name}`, () => {
    assert.is(readLine(JSON.stringify({ ...record, ...change })), undefined);
  });
}

test("reads no line that is no object, and none that is not canonical", () => {
  for (const text of ["", "{", "null", "1", '"x"', "[]", "true"]) assert.is(readLine(text), undefined, text);
  const text = JSON.stringify(record);
  assert.is(readLine(` ${text}`), undefined);
  const { v, ...rest } = record;
  assert.is(readLine(JSON.stringify({ v, ...rest })), undefined, "fields in another order");
});

test("the first record follows from the node and its random bytes", () => {
  assert.is(genesisHash("n", "r"), sha256("hypha-audit-v1\nn\nr"));
  assert.is(sha256Text(Buffer.from("x")), sha256("x"));
});

test("a line of 16,384 bytes is read, a longer one is not", () =>
  withLogFolder(async (dir) => {
    const path = join(dir, "lines");
    const kindOf = (bytes: number) => {
      writeFileSync(path, `${"x".repeat(bytes)}\n`);
      return [...new LineReader(path).lines()].map(({ kind }) => kind);
    };
    assert.equal([kindOf(16_384), kindOf(16_385)], [["whole"], ["long"]]);
    await Promise.resolve();
  }));

test("the longest record fits", () => {
  const control = "\u0001".repeat(8_000); // six bytes each, escaped
  const line = composeLine({ type: "refusal", outcome: control, peer: control, detail: detailOf(4_096, "x") }, place);
  assert.ok(line.length <= 16_384 - 2_048, `${line.length} bytes, with room for the node's name`);
});

test.run();
