import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeTensors, encodeTensors, headerMaxBytes, readHeaderLength } from "../../actors/learning/safetensors.ts";
import { widen } from "../../actors/learning/element_types.ts";
import { addTensors, type Tensor } from "../../actors/learning/tensors.ts";

const test = suite("safetensors");

/** A file with this header and this much data. */
function file(header: string, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const tensor = (shape: readonly number[], ...values: number[]): Tensor => ({
  shape,
  values: Float32Array.from(values),
});

test("what was written reads as it was, extreme values and empty tensors included", () => {
  const tensors = new Map([
    ["b", tensor([2, 2], 1.5, -0, 2 ** -149, 3.4028234663852886e38)],
    ["a", tensor([], 7)],
    ["none", tensor([0, 3])],
    ["__proto__", tensor([1], 2)],
    ['": \\', tensor([1], 3)],
  ]);
  const bytes = encodeTensors(tensors);
  const read = Result.getOrThrow(decodeTensors(bytes));
  for (const [name, { shape, values }] of tensors) {
    assert.equal(read.get(name)?.shape, shape, name);
    assert.equal([...(read.get(name)?.values ?? [])], [...values], name);
  }
  assert.is(read.size, tensors.size);
  assert.is(new DataView(bytes.buffer).getUint32(0, true) % 8, 0, "the data lies aligned");
});

test("reads a file that another writer made, by hand", () => {
  const bytes = file('{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8);
  new DataView(bytes.buffer).setFloat32(bytes.length - 8, 0.25, true);
  new DataView(bytes.buffer).setFloat32(bytes.length - 4, -3, true);
  assert.equal([...(Result.getOrThrow(decodeTensors(bytes)).get("w")?.values ?? [])], [0.25, -3]);
});

const widths: [dtype: "F16" | "BF16" | "F64", bytes: number[], value: number][] = [
  ["BF16", [0x80, 0x3f], 1],
  ["BF16", [0x00, 0xc0], -2],
  ["BF16", [0x01, 0x00], 2 ** -133],
  ["F16", [0x00, 0x3c], 1],
  ["F16", [0x01, 0x80], -(2 ** -24)],
  ["F16", [0x00, 0x7c], Infinity],
  ["F64", [0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5],
];
for (const [dtype, bytes, value] of widths) {
  test(`widens ${dtype} ${bytes} to ${value}, unaligned too`, () => {
    assert.is(widen(Uint8Array.from(bytes), dtype)[0], value);
    assert.is(widen(Uint8Array.from([9, ...bytes]).subarray(1), dtype)[0], value);
  });
}

const entry = (rest: string) => `{"w":{"dtype":"F32",${rest}}}`;
const bad: [name: string, bytes: Uint8Array, reason: RegExp][] = [
  ["nothing", new Uint8Array(0), /8 bytes/],
  ["seven bytes", new Uint8Array(7), /8 bytes/],
  ["a header of 2^64 - 1 bytes", new Uint8Array(8).fill(0xff), /at most/],
  ["a header longer than the file", file("{}", 0).with(0, 3), /cut short/],
  ["a header that is not JSON", file("{]", 0), /JSON object/],
  ["a header that is a list", file("[]", 0), /JSON object/],
  ["a header that is not UTF-8", file("  ", 0).with(8, 0xff), /JSON object/],
  ["a tensor that is null", file('{"w":null}', 0), /not an object/],
  ["an element type of strings", file('{"w":{"dtype":"STR","shape":[],"data_offsets":[0,4]}}', 4), /not read/],
  ["an element type that every object has", file('{"w":{"dtype":"constructor","shape":[]}}', 4), /not read/],
  ["a negative size", file(entry('"shape":[-1],"data_offsets":[0,4]'), 4), /shape/],
  ["a fraction as size", file(entry('"shape":[0.5],"data_offsets":[0,4]'), 4), /shape/],
  [
    "sizes whose product is not exact",
    file(entry('"shape":[4294967296,4294967296],"data_offsets":[0,4]'), 4),
    /take 4/,
  ],
  ["offsets that are missing", file(entry('"shape":[1]'), 4), /offsets/],
  ["three offsets", file(entry('"shape":[1],"data_offsets":[0,4,8]'), 4), /offsets/],
  ["offsets backwards", file(entry('"shape":[1],"data_offsets":[4,0]'), 4), /take -4/],
  ["data that is cut short", file(entry('"shape":[2],"data_offsets":[0,8]'), 7), /file at/],
  ["data that goes on", file(entry('"shape":[2],"data_offsets":[0,8]'), 9), /file at/],
  ["a gap before the first tensor", file(entry('"shape":[1],"data_offsets":[4,8]'), 8), /gap/],
  [
    "tensors that overlap",
    file(
      '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
      12,
    ),
    /overlaps/,
  ],
  [
    "tensors that share their bytes",
    file(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
    ),
    /overlaps/,
  ],
  // Both once passed: the last of two equal names was taken.
  [
    "a name that is there twice, for the same bytes",
    file(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
    ),
    /once/,
  ],
  ["two element types of one tensor", file(entry('"dtype":"BF16","shape":[2],"data_offsets":[0,4]'), 4), /once/],
  ["a header nested as deep as it is long", file("[".repeat(200_000), 0), /JSON object/],
];
for (const [name, bytes, reason] of bad) {
  test(`refuses ${name}`, () => {
    const read = decodeTensors(bytes);
    assert.ok(Result.isFailure(read));
    assert.is(read.failure._tag, "MalformedSafetensors");
    assert.match(read.failure.reason, reason);
  });
}

test("takes the longest header and refuses one byte more, before it is there", () => {
  const prefix = (length: number) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
    return bytes;
  };
  assert.ok(Result.isSuccess(readHeaderLength(prefix(headerMaxBytes), 2 ** 40)));
  assert.ok(Result.isFailure(readHeaderLength(prefix(headerMaxBytes + 1), 2 ** 40)));
});

const mismatches: [name: string, other: Map<string, Tensor>][] = [
  ["a tensor less", new Map()],
  ["a tensor more", new Map([["w", tensor([2], 0, 0)], ["x", tensor([1], 0)]])],
  ["another shape", new Map([["w", tensor([1, 2], 0, 0)]])],
  ["what is not a number", new Map([["w", tensor([2], NaN, 0)]])],
  ["a sum over the range", new Map([["w", tensor([2], 3.4e38, 0)]])],
];
for (const [name, other] of mismatches) {
  test(`an update with ${name} is not added`, () => {
    const sum = addTensors(new Map([["w", tensor([2], 3.4e38, 1)]]), other);
    assert.is(Result.isFailure(sum) && sum.failure._tag, "TensorMismatch");
  });
}
test.run();
