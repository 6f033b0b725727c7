/** The digest of a layout, as other implementations have to compute it, and the size of its largest update. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { headerMaxBytes, layoutDigest, type TensorEntry, updateBytesMax } from "../../actors/learning/mod.ts";

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

const largest = suite("updateBytesMax()");
const of = (dtype: TensorEntry["dtype"]) => updateBytesMax([{ count: 6, dtype }, { count: 1, dtype: "I64" }]);

largest("counts floats of any type as F64, other types as they are, and the longest header", () => {
  for (const float of ["F64", "F32", "F16", "BF16"] as const) assert.is(of(float), 8 + headerMaxBytes + 6 * 8 + 8);
  assert.is(of("BOOL"), 8 + headerMaxBytes + 6 + 8);
});

largest.run();
