import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditFinding } from "../../actors/audit/finding.ts";
import { leafHash, TreeEdge } from "../../actors/audit/merkle_tree.ts";
import type { FoundCheckpoint } from "../../actors/audit/read_checkpoints.ts";
import { RootChecks } from "../../actors/audit/root_checks.ts";

const test = suite("RootChecks");
const leaf = (index: number) => leafHash(Buffer.from([index]));

function rootOf(size: number): Buffer {
  const edge = new TreeEdge();
  for (let index = 0; index < size; index++) edge.append(leaf(index));
  return edge.root();
}

const checkpoint = (size: number, parts: Partial<FoundCheckpoint> = {}): FoundCheckpoint => ({
  ...{ origin: "origin", size, root: rootOf(size), note: "", file: "audit.checkpoints", line: 6 * size + 1 },
  ...parts,
});

const placeOf = (finding: AuditFinding | undefined) =>
  finding && [finding.code, finding.file, finding.line, finding.detail];

/** Compares checkpoints with a log of so many records; returns the first finding, and the size that it was found at. */
function compare(checks: RootChecks, size: number): readonly [at: number, finding: AuditFinding] | undefined {
  const edge = new TreeEdge();
  for (let index = 0; index < size; index++) {
    edge.append(leaf(index));
    const finding = checks.at(edge);
    if (finding !== undefined) return [edge.size, finding];
  }
  return undefined;
}

test("compares each checkpoint at its size, in whatever order they are given", () => {
  const checks = new RootChecks([5, 2, 5, 9].map((size) => checkpoint(size)));
  assert.is(checks.next?.size, 2);
  assert.is(compare(checks, 5), undefined);
  assert.is(checks.next?.size, 9);
  assert.match(checks.atEnd(8)?.detail ?? "", "it covers 9 records, and the log has 8");
  const all = new RootChecks([5, 2, 5, 9].map((size) => checkpoint(size)));
  assert.is(compare(all, 9), undefined);
  assert.equal([all.next, all.atEnd(9)], [undefined, undefined]);
});

test("names the checkpoint whose root is another, and the records that it may be about", () => {
  const root = rootOf(1);
  const cases: readonly (readonly [wrong: number, records: string])[] = [[2, "0 to 1"], [5, "2 to 4"], [9, "5 to 8"]];
  for (const [wrong, records] of cases) {
    const checks = new RootChecks([2, 5, 9].map((size) => checkpoint(size, size === wrong ? { root } : {})));
    const [at, finding] = compare(checks, 9)!;
    assert.is(at, wrong);
    assert.equal(placeOf(finding), [
      ...["checkpoint-root", "audit.checkpoints", 6 * wrong + 1],
      `its root is not that of the first ${wrong} records: one of records ${records} was changed`,
    ]);
  }
});

test("bug: of a log that was rewritten with its key, a witness's checkpoint named records that it is not about", () => {
  const witness = { file: "witness", line: 1 };
  const own = [1, 2, 5, 7].map((size) => checkpoint(size));
  const [known, other] = [checkpoint(1, witness), checkpoint(5, { ...witness, root: rootOf(4) })];
  for (const [held, records] of [[[other], "0 to 4"], [[known, other], "1 to 4"]] as const) {
    const [at, { file, detail }] = compare(new RootChecks([...own, ...held]), 9)!;
    assert.equal([at, file], [5, "witness"]);
    assert.match(detail, `one of records ${records} was changed`);
  }
});

test("of two checkpoints of one size, each is compared", () => {
  for (const isFirst of [true, false]) {
    const [right, wrong] = [checkpoint(3), checkpoint(3, { root: rootOf(2), file: "witness", line: 1 })];
    const found = compare(new RootChecks(isFirst ? [wrong, right] : [right, wrong]), 3);
    assert.equal([found?.[0], found?.[1].file], [3, "witness"]);
  }
});

test("the checkpoint of no record is that of the empty tree", () => {
  assert.is(new RootChecks([checkpoint(0)]).at(new TreeEdge()), undefined);
  assert.is(new RootChecks([checkpoint(0, { root: rootOf(1) })]).at(new TreeEdge())?.code, "checkpoint-root");
});

test("a log that is shorter than its checkpoint was cut off", () => {
  const checks = new RootChecks([checkpoint(2), checkpoint(5), checkpoint(7)]);
  assert.is(compare(checks, 4), undefined);
  assert.equal(placeOf(checks.atEnd(4)), [
    ...["truncated", "audit.checkpoints", 31],
    "it covers 5 records, and the log has 4: records were cut off at the end",
  ]);
});

test.run();
