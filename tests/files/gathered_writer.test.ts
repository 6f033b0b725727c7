/** Small pieces of a file are written together, in order, from one buffer. */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { gatheredBytes, GatheredWriter } from "../../actors/files/gathered_writer.ts";
import { WorkFileFailed } from "../../actors/files/path_refused.ts";

const test = suite("GatheredWriter");

/** Writes pieces of these sizes; each write as it was when it began, and whether it was the piece itself. */
async function write(...sizes: readonly number[]) {
  const pieces = sizes.map((size, at) => new Uint8Array(size).fill(at + 1));
  const written: { readonly bytes: Buffer; readonly isPiece: boolean; readonly memory: ArrayBufferLike }[] = [];
  const writer = new GatheredWriter({
    write: (bytes) =>
      Effect.sync(() => {
        written.push({
          bytes: Buffer.from(bytes),
          isPiece: pieces.some((piece) => piece === bytes),
          memory: bytes.buffer,
        });
      }),
  });
  await Effect.runPromise(Effect.gen(function* () {
    for (const piece of pieces) yield* writer.write(piece);
    yield* writer.flush;
    yield* writer.flush;
  }));
  assert.ok(Buffer.concat(written.map(({ bytes }) => bytes)).equals(Buffer.concat(pieces)));
  return { sizes: written.map(({ bytes }) => bytes.length), written };
}

test("a file of one piece is written as it is, whatever its size", async () => {
  for (const size of [1, gatheredBytes - 1, gatheredBytes, gatheredBytes + 1]) {
    const { sizes, written } = await write(size);
    assert.equal([sizes, written[0]!.isPiece], [[size], true]);
  }
  assert.equal((await write()).sizes, []);
});

test("pieces are joined up to the limit, both sides of it", async () => {
  assert.equal((await write(1, gatheredBytes - 1)).sizes, [gatheredBytes]);
  assert.equal((await write(1, gatheredBytes)).sizes, [1, gatheredBytes]);
  assert.equal((await write(2, gatheredBytes - 1)).sizes, [2, gatheredBytes - 1]);
  assert.equal((await write(gatheredBytes, 1, 2)).sizes, [gatheredBytes, 3]);
  assert.equal((await write(3, gatheredBytes + 1, 4, 5)).sizes, [3, gatheredBytes + 1, 9]);
});

test("many pieces share one buffer, which is used again only once it is written", async () => {
  const { sizes, written } = await write(...Array.from({ length: 64 }, () => 16_384));
  assert.equal(sizes, [gatheredBytes, gatheredBytes, gatheredBytes, gatheredBytes]);
  assert.is(new Set(written.map(({ memory }) => memory)).size, 1);
});

test("a write that fails fails the piece that caused it", async () => {
  const full = new WorkFileFailed({ code: "ENOSPC", path: "x", detail: "no space left" });
  const writer = new GatheredWriter({ write: () => Effect.fail(full) });
  await Effect.runPromise(writer.write(new Uint8Array(gatheredBytes)));
  assert.is(await Effect.runPromise(Effect.flip(writer.write(new Uint8Array(1)))), full);
  assert.is(await Effect.runPromise(Effect.flip(writer.flush)), full);
});

test.run();
