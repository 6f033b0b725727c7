/** Tensor files that are read piece by piece: memory that is used again. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { chunkMemory, chunksOf, chunkValues, openTensorFile } from "../../actors/learning/tensor_file.ts";

const test = suite("openTensorFile()");

/** An open file in memory, with one tensor of so many values. */
function opened(count: number) {
  const values = Float32Array.from({ length: count }, (_, at) => at);
  const bytes = encodeTensors(new Map([["w", { shape: [count], values }]]));
  const read = (into: Uint8Array, position: number) =>
    Effect.sync(() => {
      const piece = bytes.subarray(position, position + into.length);
      into.set(piece);
      return piece.length;
    });
  return Effect.runPromise(openTensorFile({ sizeBytes: bytes.length, read }));
}

test("a chunk lies at the beginning of the memory where it fits, and is whole where it does not", async () => {
  const { tensors, readBytes } = await opened(5);
  const [chunk] = chunksOf(tensors[0]!);
  const into = new Uint8Array(24).fill(9);
  const read = await Effect.runPromise(readBytes(chunk!, into));
  assert.is(read.buffer, into.buffer);
  assert.equal([...new Float32Array(into.buffer, 0, 5)], [0, 1, 2, 3, 4]);
  assert.equal([...into.subarray(20)], [9, 9, 9, 9]);
  const small = new Uint8Array(19).fill(9);
  assert.equal([...await Effect.runPromise(readBytes(chunk!, small))], [...read]);
  assert.ok(small.every((byte) => byte === 9), "an update with larger tensors than the first one is not cut");
});

test("memory is as large as the largest chunk", async () => {
  for (const [count, values] of [[5, 5], [chunkValues + 1, chunkValues]] as const) {
    const { tensors } = await opened(count);
    const memory = chunkMemory(tensors, { bytes: 1, values: 2 });
    assert.equal([memory.values(0).length, memory.values(1).length, memory.bytes(0).length], [
      values,
      values,
      8 * values,
    ]);
    assert.is.not(memory.values(0).buffer, memory.values(1).buffer);
  }
});

test.run();
