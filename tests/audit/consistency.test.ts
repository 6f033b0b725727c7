import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { consistencyHashesMax, isConsistent } from "../../actors/audit/consistency.ts";
import { leafHash, nodeHash, TreeEdge } from "../../actors/audit/merkle_tree.ts";

const test = suite("isConsistent()");
const leaves = Array.from({ length: 40 }, (_, index) => leafHash(Buffer.from([index])));

function rootOf(part: readonly Buffer[]): Buffer {
  const edge = new TreeEdge();
  for (const leaf of part) edge.append(leaf);
  return edge.root();
}

/** SUBPROOF as RFC 6962 §2.1.2 writes it down. */
function subproof(old: number, part: readonly Buffer[], isWhole: boolean): Buffer[] {
  if (old === part.length) return isWhole ? [] : [rootOf(part)];
  let split = 1;
  while (split * 2 < part.length) split *= 2;
  const [left, right] = [part.slice(0, split), part.slice(split)];
  return old <= split
    ? [...subproof(old, left, isWhole), rootOf(right)]
    : [...subproof(old - split, right, false), rootOf(left)];
}

const stateOf = (size: number) => ({ size, root: rootOf(leaves.slice(0, size)) });

test("accepts the proof of the RFC between any two states of a log, and none of another log", () => {
  const other = leafHash(Buffer.from("other"));
  for (let size = 1; size <= leaves.length; size++) {
    for (let old = 1; old <= size; old++) {
      const path = subproof(old, leaves.slice(0, size), true);
      const [before, after] = [stateOf(old), stateOf(size)];
      const name = `${old} → ${size}`;
      assert.ok(isConsistent(before, after, path), name);
      assert.not(isConsistent({ ...before, root: other }, after, path), name);
      assert.not(isConsistent(before, { ...after, root: other }, path), name);
      assert.not(isConsistent(before, after, [...path, other]), name);
      if (path.length > 0) assert.not(isConsistent(before, after, path.slice(1)), name);
      for (const index of path.keys()) assert.not(isConsistent(before, after, path.with(index, other)), name);
    }
  }
});

test("an empty log is continued by every log; a log is not continued by a shorter one", () => {
  assert.ok(isConsistent({ size: 0, root: rootOf([]) }, stateOf(7), []));
  assert.not(isConsistent({ size: 0, root: rootOf([]) }, stateOf(7), [leaves[0]!]));
  assert.not(isConsistent(stateOf(8), stateOf(7), []));
  // What the hashes of such a proof would be, if sizes were not compared.
  const [first, second, third] = leaves as [Buffer, Buffer, Buffer];
  const shorter = { size: 1, root: nodeHash(first, nodeHash(second, third)) };
  assert.not(isConsistent({ size: 2, root: nodeHash(first, second) }, shorter, [second, third, first]));
});

test("hashes of another length are refused", () => {
  const path = subproof(3, leaves.slice(0, 7), true);
  assert.not(isConsistent(stateOf(3), stateOf(7), path.with(0, path[0]!.subarray(1))));
  assert.not(isConsistent({ size: 7, root: Buffer.alloc(0) }, { size: 7, root: Buffer.alloc(0) }, []));
  const [short, right] = [leaves[0]!.subarray(1), leaves[1]!];
  assert.not(isConsistent({ size: 4, root: short }, { size: 8, root: nodeHash(short, right) }, [right]));
});

test("sizes beyond 32 bits have proofs of at most two hashes a bit", () => {
  const root = leaves[0]!;
  assert.not(isConsistent({ size: 2 ** 33 + 1, root }, { size: 2 ** 52 + 7, root }, []));
  assert.is(consistencyHashesMax, 128);
});

test.run();
