import { Buffer } from "node:buffer";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TreeHead } from "../../actors/audit/checkpoint.ts";
import { LogChain } from "../../actors/audit/log_chain.ts";
import { readEdge, writeEdge } from "../../actors/audit/log_edge.ts";
import { edgePath } from "../../actors/audit/segments.ts";
import type { LogState } from "../../actors/audit/walk_log.ts";
import { logNode, logStart, withLogFolder } from "../support/audit_logs.ts";

const test = suite("The state at the newest checkpoint");
const now = new Date(logStart);

/** The state of a log of seven records: its tree's edge has three hashes. */
function stateOf(): LogState {
  const chain = LogChain.begin(logNode, { random: "r", key: "k", at: now });
  for (let index = 1; index < 7; index++) chain.append({ type: "a", outcome: "done" }, now);
  return chain.state;
}

const state = stateOf();
const newest: TreeHead = { origin: "o", size: 7, root: state.edge.root() };
const plain = ({ edge, ...rest }: LogState) => ({ ...rest, size: edge.size, hashes: edge.hashes });

test("is read as it was written, for its owner alone", () =>
  withLogFolder(async (dir) => {
    await writeEdge(dir, state);
    assert.equal(plain(readEdge(dir, newest)!), plain(state));
    assert.equal(readdirSync(dir), ["audit.edge"]);
    assert.is(statSync(edgePath(dir)).mode & 0o777, 0o600);
    await writeEdge(dir, { ...state, line: 8 });
    assert.is(readEdge(dir, newest)?.line, 8, "one that is written later replaces it");
  }));

test("numbers may be 0", () =>
  withLogFolder(async (dir) => {
    await writeEdge(dir, { ...state, segment: 0, offset: 0, line: 0 });
    const { segment, offset, line } = readEdge(dir, newest)!;
    assert.equal([segment, offset, line], [0, 0, 0]);
  }));

test("is missing where there is no file, or one that is no JSON", () =>
  withLogFolder(async (dir) => {
    assert.is(readEdge(dir, newest), undefined);
    for (const text of ["", "{", "null", "7", '"x"', "[]"]) {
      writeFileSync(edgePath(dir), text);
      assert.is(readEdge(dir, newest), undefined, text);
    }
    await Promise.resolve();
  }));

test("is missing where a folder is in its place", () =>
  withLogFolder(async (dir) => {
    mkdirSync(edgePath(dir));
    assert.is(readEdge(dir, newest), undefined);
    await Promise.resolve();
  }));

const [first, second] = state.edge.hashes.map((each) => each.toString("base64"));
const damages: readonly (readonly [name: string, change: Readonly<Record<string, unknown>>])[] = [
  ["a node that is none", { node: 1 }],
  ["no hash of the last line", { last: null }],
  ["no time", { ts: undefined }],
  ["a segment that is text", { segment: "0" }],
  ["a place before the file", { offset: -1 }],
  ["a place between two bytes", { offset: 0.5 }],
  ["no line", { line: null }],
  ["hashes that are no list", { hashes: 7 }],
  ["fewer hashes than its size has, though their root is right", {
    hashes: [Buffer.from(newest.root).toString("base64")],
  }],
  ["a hash that is too long", { hashes: [first, second, Buffer.alloc(200).toString("base64")] }],
  ["a hash that is another one", { hashes: [first, second, first] }],
];
for (const [name, change] of damages) {
  test(`is missing where it has ${name}`, () =>
    withLogFolder(async (dir) => {
      await writeEdge(dir, state);
      const value = JSON.parse(readFileSync(edgePath(dir), "utf8"));
      writeFileSync(edgePath(dir), JSON.stringify({ ...value, ...change }));
      assert.is(readEdge(dir, newest), undefined);
    }));
}

test("is missing where the newest checkpoint has another size or root", () =>
  withLogFolder(async (dir) => {
    await writeEdge(dir, state);
    assert.is(readEdge(dir, { ...newest, size: 8 }), undefined);
    assert.is(readEdge(dir, { ...newest, root: Buffer.alloc(32) }), undefined);
  }));

test.run();
