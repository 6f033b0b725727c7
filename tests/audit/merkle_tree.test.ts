import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { edgeLength, inclusionPath, leafHash, rootOfInclusion, TreeEdge } from "../../actors/audit/merkle_tree.ts";

const test = suite("merkle_tree");

/** The entries of the reference tests of certificate transparency (`merkle_tree_test.cc` of Google's implementation). */
const entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
  .map((hex) => Buffer.from(hex, "hex"));
const roots = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

test("gives the roots of the published test tree", () => {
  const edge = new TreeEdge();
  assert.is(edge.root().toString("hex"), roots[0]);
  for (const [index, entry] of entries.entries()) {
    edge.append(leafHash(entry));
    assert.is(edge.root().toString("hex"), roots[index + 1]);
    assert.is(edge.hashes.length, edgeLength(edge.size));
  }
});

test("proves every leaf of every tree up to 40 leaves, and nothing else", () => {
  const leaves = Array.from({ length: 40 }, (_, index) => leafHash(Buffer.from([index])));
  const all = Buffer.concat(leaves);
  const edge = new TreeEdge();
  for (let size = 1; size <= leaves.length; size++) {
    edge.append(leaves[size - 1]!);
    for (let index = 0; index < size; index++) {
      const path = inclusionPath(all, index, size);
      const rootFor = (leaf: Buffer, at: number, hashes: readonly Buffer[]) =>
        rootOfInclusion(leaf, { index: at, size, path: hashes })?.equals(edge.root()) === true;
      assert.ok(rootFor(leaves[index]!, index, path), `${index} of ${size}`);
      assert.not.ok(rootFor(leafHash(Buffer.from("x")), index, path));
      if (size > 1) assert.not.ok(rootFor(leaves[index]!, (index + 1) % size, path), `${index} of ${size} elsewhere`);
      assert.not.ok(rootFor(leaves[index]!, index, [...path, leaves[0]!]));
      assert.not.ok(rootFor(leaves[index]!, index, path.slice(1)) && path.length > 0);
    }
  }
  // Taken as numbers alone, these indexes would have the paths of the first and of the last leaf.
  for (const [index, nearest] of [[-1, 0], [3, 2], [7, 2]] as const) {
    const path = inclusionPath(all, nearest, 3);
    assert.ok(rootOfInclusion(leaves[nearest]!, { index: nearest, size: 3, path }));
    assert.is(rootOfInclusion(leaves[nearest]!, { index, size: 3, path }), undefined, String(index));
  }
});

test.run();
