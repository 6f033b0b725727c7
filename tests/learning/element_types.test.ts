/** Element types: medians and sums of integers. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addWholes, elementBytes, medianOfWholes, type WholeType } from "../../actors/learning/element_types.ts";

const test = suite("medianOfWholes(), addWholes()");

const arrays = {
  I64: (...values: number[]) => new BigInt64Array(values.map(BigInt)),
  U64: (...values: number[]) => new BigUint64Array(values.map((each) => BigInt.asUintN(64, BigInt(each)))),
  I32: (...values: number[]) => Int32Array.from(values),
  U32: (...values: number[]) => Uint32Array.from(values),
  I16: (...values: number[]) => Int16Array.from(values),
  U16: (...values: number[]) => Uint16Array.from(values),
  I8: (...values: number[]) => Int8Array.from(values),
  U8: (...values: number[]) => Uint8Array.from(values),
  BOOL: (...values: number[]) => Uint8Array.from(values, (value) => value === 0 ? 0 : 1),
} satisfies Record<WholeType, unknown>;

const bytesOf = (dtype: WholeType, ...values: number[]) => new Uint8Array(arrays[dtype](...values).buffer);

for (const dtype of Object.keys(arrays) as WholeType[]) {
  if (dtype === "BOOL") continue;
  test(`${dtype}: the lower median is signed, and a sum wraps around`, () => {
    const parts = [[-2, 5], [1, 5], [3, -7], [0, 100]].map((values) => bytesOf(dtype, ...values));
    assert.equal(medianOfWholes(parts, dtype), bytesOf(dtype, 0, 5));
    const sums = bytesOf(dtype, 10, 0);
    addWholes(sums, bytesOf(dtype, -3, -1), dtype);
    assert.equal(sums, bytesOf(dtype, 7, -1));
    const width = elementBytes[dtype];
    const most = new Uint8Array(width).fill(255);
    addWholes(most, bytesOf(dtype, 1), dtype);
    assert.equal(most, new Uint8Array(width));
  });
}

test("I64: no digit is lost", () => {
  const large = new Uint8Array(new BigInt64Array([2n ** 62n + 1n]).buffer);
  assert.equal(medianOfWholes([large, large, large], "I64"), large);
  const sum = large.slice();
  addWholes(sum, new Uint8Array(new BigInt64Array([2n]).buffer), "I64");
  assert.equal(sum, new Uint8Array(new BigInt64Array([2n ** 62n + 3n]).buffer));
});

test("BOOL: the majority decides whether a value changes, and none of two", () => {
  const part = (...values: number[]) => Uint8Array.from(values);
  assert.equal(medianOfWholes([part(1, 0, 255), part(1, 0, 0), part(0, 1, 7)], "BOOL"), part(1, 0, 1));
  assert.equal(medianOfWholes([part(1), part(0)], "BOOL"), part(0));
  const values = part(0, 1, 0, 1);
  addWholes(values, part(0, 0, 1, 1), "BOOL");
  assert.equal(values, part(0, 1, 1, 0));
});
test.run();
