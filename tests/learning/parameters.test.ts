/** Parameters as the scheduler keeps them: equal bits at all members, and the velocity that follows from the results. */
import { Buffer } from "node:buffer";
import { Cause, Effect, Exit, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  castTensors,
  decodeTensors,
  encodeTensors,
  keptType,
  type NamedTensors,
  openTensorFile,
  ResultRejected,
  writeInitial,
  writeRound,
} from "../../actors/learning/mod.ts";
import { type DType, narrow, widen } from "../../actors/learning/element_types.ts";
import { nesterovStep, type OuterOptions } from "../../actors/learning/outer_step.ts";
import { writeHeader } from "../../actors/learning/safetensors.ts";
import { velocityAfter } from "../../actors/learning/parameters.ts";
import { addTensors } from "../../actors/learning/tensors.ts";
import { seededRandom } from "../../actors/runtime/random.ts";

const outer: OuterOptions = { learningRate: 0.7, momentum: 0.9 };

/** A file of raw tensors. */
function file(
  ...tensors: readonly (readonly [name: string, dtype: DType, shape: readonly number[], bytes: Uint8Array])[]
) {
  const header = writeHeader(tensors.map(([name, dtype, shape]) => ({ name, dtype, shape })));
  return Buffer.concat([header, ...tensors.map(([, , , bytes]) => bytes)]);
}

const opened = (bytes: Uint8Array) =>
  openTensorFile({
    sizeBytes: bytes.length,
    read: (into, position) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + into.length);
        into.set(piece);
        return piece.length;
      }),
  });

function sink() {
  const pieces: Uint8Array[] = [];
  const write = (bytes: Uint8Array) => Effect.sync(() => void pieces.push(bytes.slice()));
  return { write, bytes: () => Buffer.concat(pieces) };
}

async function round(parameters: Uint8Array, velocity: Uint8Array | undefined, result: Uint8Array) {
  const [next, state] = [sink(), sink()];
  const exit = await Effect.runPromiseExit(Effect.gen(function* () {
    yield* writeRound({
      parameters: yield* opened(parameters),
      velocity: velocity === undefined ? undefined : yield* opened(velocity),
      result: yield* opened(result),
      writeParameters: next.write,
      writeVelocity: state.write,
    }, outer);
  }));
  return { exit, parameters: next.bytes(), velocity: state.bytes() };
}

const f32 = (...values: number[]) => narrow(Float64Array.from(values), "F32");
const tensors = (...values: number[]): NamedTensors =>
  new Map([["w", { shape: [values.length], values: Float32Array.from(values) }]]);

const test = suite("writeRound()");

test("adds what an executor adds: the same bits after 50 rounds, over more than one chunk", async () => {
  const random = seededRandom(7);
  const draw = (size: number) =>
    new Map([["w", {
      shape: [size],
      values: Float32Array.from({ length: size }, () => (random() - 0.5) * 10 ** (random() * 4 - 3)),
    }]]);
  let executor: NamedTensors = draw(20_000);
  let [parameters, velocity]: [Uint8Array, Uint8Array | undefined] = [encodeTensors(executor), undefined];
  for (let at = 0; at < 50; at++) {
    const result = draw(20_000);
    executor = Result.getOrThrow(addTensors(executor, result));
    const kept = await round(parameters, velocity, encodeTensors(result));
    assert.ok(Exit.isSuccess(kept.exit), String(kept.exit));
    [parameters, velocity] = [kept.parameters, kept.velocity];
  }
  assert.ok(Buffer.from(encodeTensors(executor)).equals(parameters));
});

test("100 × 1e-3 added to a BF16 1.0 gives 1.1 and not 1.0: only what is given out is cast", async () => {
  const weights = file(["w", "BF16", [1], narrow(Float64Array.of(1), "BF16")]);
  const initial = sink();
  await Effect.runPromise(Effect.gen(function* () {
    yield* writeInitial(yield* opened(weights), initial.write);
  }));
  let parameters: Uint8Array = initial.bytes();
  let velocity: Uint8Array | undefined;
  for (let at = 0; at < 100; at++) {
    ({ parameters, velocity } = await round(parameters, velocity, encodeTensors(tensors(1e-3))));
  }
  const value = Result.getOrThrow(decodeTensors(parameters)).get("w")?.values[0] ?? 0;
  assert.ok(Math.abs(value - 1.1) < 1e-5, String(value));
  const out = sink();
  await Effect.runPromise(Effect.gen(function* () {
    yield* castTensors(yield* opened(parameters), () => "BF16", out.write);
  }));
  assert.equal([...widen(out.bytes().subarray(-2), "BF16")], [1.1015625]);
});

const tooLarge: [was: DType, is: DType, value: number][] = [
  ["F32", "F16", 70_000],
  ["F32", "F16", -65_520],
  ["F32", "BF16", 2 ** 128 - 2 ** 104],
  ["F64", "F32", 1e39],
];
for (const [was, is, value] of tooLarge) {
  test(`bug: ${was} ${value} was given out as an infinity of ${is}`, async () => {
    const zeros = new Float64Array(20_000);
    zeros[19_999] = value;
    const parameters = file(["n", "I64", [], new Uint8Array(8)], ["w", was, [20_000], narrow(zeros, was as "F32")]);
    const exit = await Effect.runPromiseExit(Effect.gen(function* () {
      yield* castTensors(yield* opened(parameters), ({ name }) => name === "w" ? is : "I64", sink().write);
    }));
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined;
    assert.ok(error instanceof ResultRejected, String(exit));
    assert.is(error.reason, `tensor "w" holds ${value}, which ${is} cannot`);
  });
}

test("F64 stays F64, and integers and bools are added in their own types", async () => {
  const parameters = file(
    ["d", "F64", [1], narrow(Float64Array.of(1 / 3), "F64")],
    ["n", "I64", [], new Uint8Array(new BigInt64Array([2n ** 53n + 1n]).buffer)],
    ["b", "BOOL", [2], Uint8Array.of(1, 0)],
  );
  const result = file(
    ["b", "BOOL", [2], Uint8Array.of(1, 1)],
    ["n", "I64", [], new Uint8Array(new BigInt64Array([1n]).buffer)],
    ["d", "F32", [1], f32(0.25)],
  );
  const kept = await round(parameters, undefined, result);
  assert.ok(Exit.isSuccess(kept.exit), String(kept.exit));
  const data = kept.parameters.subarray(8 + Number(kept.parameters.readBigUInt64LE(0)));
  assert.is(data.readDoubleLE(0), 1 / 3 + 0.25);
  assert.is(data.readBigInt64LE(8), 2n ** 53n + 2n);
  assert.equal([...data.subarray(16)], [0, 1]);
  assert.equal((["F64", "F32", "F16", "BF16", "I64", "BOOL"] as const).map(keptType), [
    "F64",
    "F32",
    "F32",
    "F32",
    "I64",
    "BOOL",
  ]);
});

test("the velocity that follows from the results is the aggregator's: within 1e-6 after 200 rounds", () => {
  const random = seededRandom(3);
  const size = 64;
  const [ours, theirs] = [new Float64Array(size), new Float64Array(size)];
  for (let at = 0; at < 200; at++) {
    const step = Float64Array.from({ length: size }, () => random() - 0.5);
    nesterovStep(theirs, step, outer);
    ours.set(Float64Array.from(velocityAfter(ours, step.map(Math.fround), outer), Math.fround));
  }
  const off = Math.max(...ours.map((value, at) => Math.abs(value - (theirs[at] as number))));
  assert.ok(off < 1e-6, String(off));
});

const misfits: [name: string, result: Uint8Array, reason: RegExp][] = [
  ["of another shape", encodeTensors(tensors(1, 2, 3)), /another shape/],
  ["without a tensor", file(["v", "F32", [2], f32(1, 2)]), /"w" is missing/],
  ["with a tensor more", file(["w", "F32", [2], f32(1, 2)], ["v", "F32", [1], f32(1)]), /"v" is not in the model/],
  ["of integers", file(["w", "I32", [2], new Uint8Array(8)]), /"w" is I32, not F32/],
  ["with NaN", encodeTensors(tensors(NaN, 1)), /not finite/],
  ["that overflows", encodeTensors(tensors(3e38, 1)), /not finite/],
];
for (const [name, result, reason] of misfits) {
  test(`rejects a result ${name}`, async () => {
    const { exit } = await round(encodeTensors(tensors(3e38, 1)), undefined, result);
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined;
    assert.ok(error instanceof ResultRejected, String(exit));
    assert.match(error.reason, reason);
  });
}

const noVelocity = [0, 0];
const lengths: [name: string, velocity: readonly number[], step: readonly number[], isTaken: boolean][] = [
  ["a mean of 2^64, of an aggregator without velocity", noVelocity, [-(2 ** 64), 0], true],
  ["a mean of 2^64, after the same for ever", [10 * 2 ** 64, 0], [2 ** 64, 0], true],
  ["a mean over 2^65", noVelocity, [0, 2 ** 65 * 1.001], false],
  ["a mean under -2^65", [-10 * 2 ** 64, 0], [-(2 ** 65) * 1.001, 0], false],
  ["3e38", noVelocity, [3e38 / outer.learningRate / (1 + outer.momentum), 0], false],
];
for (const [name, velocity, step, isTaken] of lengths) {
  test(`bug: any finite result was kept, and honest ones overflowed after it: ${name}`, async () => {
    const [state, update] = [Float64Array.from(velocity), Float64Array.from(step)];
    nesterovStep(state, update, outer);
    const { exit } = await round(
      encodeTensors(tensors(1, 2)),
      velocity === noVelocity ? undefined : encodeTensors(tensors(...velocity)),
      encodeTensors(tensors(...update)),
    );
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined;
    assert.is(error === undefined, isTaken, String(exit));
    if (isTaken) return;
    assert.ok(error instanceof ResultRejected, String(exit));
    assert.match(error.reason, /tensor "w" follows from a mean of .* 2\^64/);
  });
}

test("bug: a velocity that overflows was kept, and each later aggregator continued with infinity", async () => {
  const velocity = encodeTensors(tensors(3e38, 1));
  const { exit } = await round(encodeTensors(tensors(0, 1)), velocity, encodeTensors(tensors(3.3e38, 1)));
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined;
  assert.ok(error instanceof ResultRejected, String(exit));
  assert.match(error.reason, /velocity of tensor "w" .* not finite/);
});
test.run();

const narrowed = suite("narrow()");
const halves: [value: number, bits: number][] = [
  [0, 0],
  [-0, 0x8000],
  [1, 0x3c00],
  [-2, 0xc000],
  [65_504, 0x7bff],
  [65_519.99, 0x7bff],
  [65_520, 0x7c00],
  [Infinity, 0x7c00],
  [2 ** -14, 0x0400],
  [2 ** -24, 0x0001],
  [2 ** -25, 0x0000],
  [2 ** -25 * 1.001, 0x0001],
  [1 + 2 ** -11, 0x3c00],
  [1 + 3 * 2 ** -11, 0x3c02],
  [2 - 2 ** -12, 0x4000],
];
for (const [value, bits] of halves) {
  narrowed(`F16 of ${value} is ${bits.toString(16)}`, () => {
    assert.is(Buffer.from(narrow(Float64Array.of(value), "F16")).readUInt16LE(0), bits);
  });
}
const brains: [value: number, bits: number][] = [
  [1, 0x3f80],
  [-1, 0xbf80],
  [1 + 2 ** -8, 0x3f80],
  [1 + 3 * 2 ** -8, 0x3f82],
  [3.4e38, 0x7f80],
  [NaN, 0x7fc0],
];
for (const [value, bits] of brains) {
  narrowed(`BF16 of ${value} is ${bits.toString(16)}`, () => {
    assert.is(Buffer.from(narrow(Float64Array.of(value), "BF16")).readUInt16LE(0), bits);
  });
}
narrowed("every F16 and BF16 is its own", () => {
  for (const dtype of ["F16", "BF16"] as const) {
    for (let bits = 0; bits < 65_536; bits++) {
      const bytes = Uint8Array.of(bits & 255, bits >> 8);
      const [value = NaN] = widen(bytes, dtype);
      if (!Number.isNaN(value)) assert.equal(narrow(Float64Array.of(value), dtype), bytes, `${dtype} ${bits}`);
    }
  }
});
narrowed.run();
