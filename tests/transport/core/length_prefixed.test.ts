/** Messages with their length in front, in whatever pieces they arrive. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { MessageReader, prefixLength } from "../../../transport/core/length_prefixed.ts";

const test = suite("MessageReader");

const sizes = [0, 1, 127, 128, 129, 16_383, 16_384, 65_536];
const messages = sizes.map((size, index) => new Uint8Array(size).fill(index + 1));
const stream = Uint8Array.from(messages.flatMap((message) => [...prefixLength(message)]));

test("reads what was prefixed, in pieces of every size", () => {
  for (const pieceBytes of [1, 2, 3, 1_000, 70_000, stream.length]) {
    const reader = new MessageReader(65_536);
    const read: Uint8Array[] = [];
    for (let at = 0; at < stream.length; at += pieceBytes) {
      reader.append(stream.slice(at, at + pieceBytes));
      for (let next = reader.next(); next instanceof Uint8Array; next = reader.next()) read.push(next);
    }
    assert.equal(read.map(({ length }) => length), sizes, `pieces of ${pieceBytes}`);
    assert.ok(read.every((message, index) => message.every((byte) => byte === index + 1)));
    assert.equal([reader.next(), reader.sizeBytes], [undefined, 0]);
  }
});

test("a head is a varint: its shape on the wire", () => {
  assert.equal(prefixLength(new Uint8Array(300)).subarray(0, 3), Uint8Array.of(0xac, 0x02, 0));
  assert.equal(prefixLength(new Uint8Array()), Uint8Array.of(0));
});

test("a message that is announced as too large is refused at its head, and one byte less is not", () => {
  const head = (length: number) => prefixLength(new Uint8Array(length)).subarray(0, 3);
  const next = (bytes: Uint8Array) => {
    const reader = new MessageReader(65_536);
    reader.append(bytes);
    return reader.next();
  };
  assert.is(next(head(65_537)), "too-large");
  assert.is(next(head(65_536)), undefined);
  assert.is(next(Uint8Array.of(0xff, 0xff)), undefined);
  assert.is(next(Uint8Array.of(0xff, 0xff, 0xff)), "too-large");
  assert.is(next(new Uint8Array(10).fill(0x80)), "too-large");
});

test("what is held of a message does not keep the buffers that it came in, and a read message has bytes of its own", () => {
  const reader = new MessageReader(65_536);
  const socketBuffer = new Uint8Array(65_536);
  socketBuffer.set([2, 7, 8, 5, 1]);
  reader.append(socketBuffer.subarray(0, 5));
  const message = reader.next() as Uint8Array;
  socketBuffer.fill(0);
  assert.equal([message, message.buffer.byteLength, reader.sizeBytes], [Uint8Array.of(7, 8), 2, 2]);
  assert.is(reader.next(), undefined);
  reader.clear();
  assert.is(reader.sizeBytes, 0);
});

test.run();
