/** Element types: medians and sums of integers, floats as bytes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  addWholes,
  elementBytes,
  medianOfWholes,
  narrow,
  type WholeType,
  widen,
} from "../../actors/learning/element_types.ts";

const test = suite("element types");

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
for (const dtype of ["F64", "F32"] as const) {
  test(`${dtype}: values are read at any offset, and written, as a DataView has them`, () => {
    const width = elementBytes[dtype];
    const bytes = crypto.getRandomValues(new Uint8Array(64 * width + 3));
    for (let offset = 0; offset < 3; offset++) {
      const part = bytes.subarray(offset, offset + 64 * width);
      const view = new DataView(part.buffer, part.byteOffset, part.length);
      const read = (at: number) => dtype === "F64" ? view.getFloat64(at, true) : view.getFloat32(at, true);
      const values = Array.from({ length: 64 }, (_, index) => read(index * width));
      const widened = widen(part, dtype);
      assert.equal([...widened], values);
      widened[0] = 1;
      assert.equal(read(0), values[0], "they are a copy");
      const finite = Float64Array.from(values, (value) => Number.isNaN(value) ? 0.5 : value);
      assert.equal([...widen(narrow(finite, dtype), dtype)], [...finite]);
    }
    assert.equal(narrow(Float32Array.of(0.1), dtype).length, width);
  });
}

test("memory is used again: values lie at its beginning, what is behind them stays, and what does not fit is not cut", () => {
  for (const dtype of ["F64", "F32", "BF16", "F16"] as const) {
    const values = Float64Array.of(1, -2, 0.5);
    const into = new Float64Array(4).fill(9);
    const buffer = new ArrayBuffer(4 * elementBytes[dtype]);
    const bytes = narrow(values, dtype, buffer);
    assert.is(bytes.buffer, buffer);
    assert.equal(bytes, narrow(values, dtype));
    const wide = widen(bytes, dtype, into);
    assert.is(wide.buffer, into.buffer);
    assert.equal([...wide, ...into], [1, -2, 0.5, 1, -2, 0.5, 9]);
    assert.equal([...widen(bytes, dtype, new Float64Array(2))], [1, -2, 0.5]);
  }
});

test("F32: a double becomes the nearest value, of two the even one", () => {
  const values = Float64Array.of(1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e300, -0, 2 ** -150);
  assert.equal([...widen(narrow(values, "F32"), "F32")], [1, 1 + 2 ** -22, Infinity, -0, 0]);
});

test.run();
