/** A message that arrives in pieces: whole, too large, and never more memory than its bytes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { GrowingBytes } from "../../../transport/core/growing_bytes.ts";
import { streamFailure } from "../../../transport/core/stream_failure.ts";
import { heldBytesMax, ReadBudgets } from "../../../transport/core/held_bytes.ts";
import { WholeMessage } from "../../../transport/core/whole_message.ts";

const test = suite("WholeMessage");
const bytes = (...values: number[]) => Uint8Array.from(values);

test("is all that arrived, in order", () => {
  const message = new WholeMessage(10);
  assert.is(message.add(bytes(1, 2)), undefined);
  assert.is(message.add(bytes()), undefined);
  assert.is(message.add(bytes(3)), undefined);
  assert.is(message.add(bytes(4, 5, 6, 7)), undefined);
  assert.equal(message.take(), bytes(1, 2, 3, 4, 5, 6, 7));
});

test("may have so many bytes and no more", () => {
  const message = new WholeMessage(4);
  assert.is(message.add(bytes(1, 2, 3, 4)), undefined);
  assert.is(message.add(bytes(5))?.code, "too-large");
});

test("counts with what its peer's other streams hold until it is taken, dropped or too large", () => {
  const budgets = new ReadBudgets();
  const held = (told: string[] = []) => budgets.of("peer", (detail) => told.push(detail));
  const message = new WholeMessage(8, held());
  assert.is(message.add(new Uint8Array(5)), undefined);
  assert.equal([message.sizeBytes, budgets.counts.bytes], [5, 5]);
  assert.is(message.take().byteLength, 5);
  message.drop();
  assert.is(budgets.counts.bytes, 0);
  assert.is(message.add(new Uint8Array(9))?.code, "too-large", "of its own size");
  assert.equal(budgets.counts, { peers: 0, bytes: 0 });
  held().set(heldBytesMax);
  const told: string[] = [];
  assert.is(new WholeMessage(8, held(told)).add(new Uint8Array(1))?.code, "too-large");
  assert.equal([told.length, budgets.counts.bytes], [1, heldBytesMax]);
});

test("many pieces of one byte hold no more than the bytes, and a small piece does not keep its large buffer", () => {
  const held = new GrowingBytes();
  const socketBuffer = new Uint8Array(65_536).fill(7);
  for (let at = 0; at < 5_000; at++) held.append(socketBuffer.subarray(at, at + 1));
  assert.is(held.sizeBytes, 5_000);
  const taken = held.take();
  assert.equal(taken, new Uint8Array(5_000).fill(7));
  assert.ok(taken.buffer.byteLength <= 2 * 5_000, `${taken.buffer.byteLength} bytes are held`);
  held.append(socketBuffer.subarray(0, 10));
  assert.is(held.view().buffer.byteLength, 10);
});

test("a large piece that is its whole buffer is not copied, and no piece is ever written to", () => {
  const held = new GrowingBytes();
  const piece = new Uint8Array(2_000).fill(1);
  held.append(piece);
  assert.is(held.view(), piece);
  held.append(bytes(2));
  assert.equal([held.take(), piece], [Uint8Array.of(...piece, 2), new Uint8Array(2_000).fill(1)]);
  const small = bytes(1, 2, 3, 4);
  held.append(small);
  held.drop(2);
  held.append(bytes(9, 9));
  assert.equal([held.take(), small], [bytes(3, 4, 9, 9), bytes(1, 2, 3, 4)]);
  assert.equal([held.sizeBytes, held.view()], [0, bytes()]);
  held.append(small);
  held.drop(3);
  assert.equal(held.view(), bytes(4), "the last byte stays");
  held.drop(1);
  assert.is(held.sizeBytes, 0);
});

test("dropping small messages from a large piece costs no copy of the rest each time, and lets the dropped bytes go", () => {
  const held = new GrowingBytes();
  const piece = Uint8Array.from({ length: 4_096 }, (_, index) => index % 251);
  held.append(piece);
  const buffers = new Set<ArrayBufferLike>();
  for (let at = 0; at < piece.length; at += 8) {
    const view = held.view();
    assert.equal([view[0], view.length], [at % 251, piece.length - at]);
    buffers.add(view.buffer);
    held.drop(8);
  }
  assert.ok(buffers.size <= 12, `${buffers.size} buffers for 512 messages`);
  assert.is(held.sizeBytes, 0);
});

test("what was dropped is let go once it is more than the rest, and everything once nothing is left", () => {
  const held = new GrowingBytes();
  const heldBytes = () => held.view().buffer.byteLength;
  held.append(new Uint8Array(8_000).fill(1));
  held.drop(4_000);
  assert.is(heldBytes(), 8_000, "half of it");
  held.drop(1);
  assert.equal([held.sizeBytes, heldBytes()], [3_999, 3_999]);
  held.append(bytes(2));
  assert.equal(held.view(), Uint8Array.of(...new Uint8Array(3_999).fill(1), 2));
  held.drop(4_000);
  assert.equal([held.sizeBytes, heldBytes()], [0, 0]);
  held.append(new Uint8Array(2_000));
  held.clear();
  assert.equal([held.sizeBytes, heldBytes()], [0, 0]);
});

test("a piece is copied up to 1 KiB, and where its buffer is more than twice as large", () => {
  const copied = (sizeBytes: number, bufferBytes = sizeBytes) => {
    const held = new GrowingBytes();
    const piece = new Uint8Array(bufferBytes).subarray(0, sizeBytes);
    held.append(piece);
    return held.view().buffer !== piece.buffer;
  };
  assert.equal([1, 1_024, 1_025].map((size) => copied(size)), [true, true, false]);
  assert.equal([4_000, 4_001, 6_000].map((size) => copied(2_000, size)), [false, true, true]);
});

test("a stream that closed too early is an error with the code of its end", () => {
  const codes = (["done", "reset", "unsupported", "too-many", "connection"] as const).map((how) =>
    streamFailure(how, "").code
  );
  assert.equal(codes, ["stream-reset", "stream-reset", "unsupported", "failed", "stream-reset"]);
  assert.is(streamFailure("reset", "x".repeat(201)).detail, "x".repeat(200));
});

test.run();
