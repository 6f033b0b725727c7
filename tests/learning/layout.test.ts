/** The digest of a layout, as other implementations have to compute it. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { layoutDigest } from "../../actors/learning/mod.ts";

const test = suite("layoutDigest()");
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const w = { name: "w", shape: [2, 3], dtype: "F32" } as const;
const count = { name: "count", shape: [], dtype: "I64" } as const;

test("is that of names, shapes and kinds, whatever the order and the float type", () => {
  const expected = sha256('[["count",[],"I64"],["w",[2,3],"float"]]');
  assert.is(layoutDigest([w, count]), expected);
  assert.is(layoutDigest([count, { ...w, dtype: "BF16" }]), expected);
});

test("differs where a name, a shape or an integer type differs", () => {
  const others = [[w], [{ ...w, name: "v" }, count], [{ ...w, shape: [3, 2] }, count], [w, { ...count, dtype: "I32" }]];
  const digests = others.map((tensors) => layoutDigest(tensors as Parameters<typeof layoutDigest>[0]));
  assert.is(new Set([...digests, layoutDigest([w, count])]).size, others.length + 1);
});

test.run();
