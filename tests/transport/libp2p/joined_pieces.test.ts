/** Pieces that wait on a paused stream are joined where they keep much more memory than they have bytes, and else left as they are. */
import { Uint8ArrayList } from "uint8arraylist";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { joinedAboveBytes, joinPieces } from "../../../transport/libp2p/joined_pieces.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("joinPieces()");
const bufferBytes = 16_384;
/** Pieces of one octet, each with a buffer of its own, that waste less than is joined. */
const fewPieces = Math.floor(joinedAboveBytes / (bufferBytes + 256));

/** A paused stream, and the sizes of the buffers that it holds. */
function paused() {
  const stream = new WrittenStream();
  joinPieces(stream.stream);
  stream.pause();
  const { readBuffer } = stream as unknown as { readonly readBuffer: Uint8ArrayList };
  const held = () => [...readBuffer].map(({ buffer }) => buffer.byteLength);
  const small = (count = 1) => {
    for (let each = 0; each < count; each++) stream.onData(new Uint8Array(bufferBytes).subarray(0, 1));
  };
  return { stream, readBuffer, held, small };
}

test("small pieces are joined once their buffers are large together, and again after as much", () => {
  const { readBuffer, held, small } = paused();
  small(fewPieces);
  assert.is(held().length, fewPieces);
  small();
  assert.is(held().length, 1);
  small(fewPieces);
  assert.is(held().length, fewPieces + 1);
  small();
  assert.equal([held().length, readBuffer.byteLength], [1, 2 * (fewPieces + 1)]);
});

test("pieces that come as a list count each", () => {
  const { stream, held } = paused();
  for (let each = 0; each < fewPieces / 2 + 1; each++) {
    const [one, other] = [new Uint8Array(bufferBytes).fill(1), new Uint8Array(bufferBytes).fill(2)];
    stream.onData(new Uint8ArrayList(one.subarray(0, 1), other.subarray(0, 1)));
  }
  assert.ok(held().length < fewPieces, `${held()}`);
});

test("pieces as large as their buffers are left, however many", () => {
  const { stream, held } = paused();
  const count = 3 * joinedAboveBytes / bufferBytes;
  for (let each = 0; each < count; each++) stream.onData(new Uint8Array(bufferBytes));
  assert.equal(held(), Array(count).fill(bufferBytes));
});

test("behind much that is held as much may be wasted: joining copies all of it", () => {
  const { stream, held, small } = paused();
  const bulkBytes = 4 * joinedAboveBytes;
  stream.onData(new Uint8Array(bulkBytes));
  small(3 * fewPieces);
  assert.is(held().length, 1 + 3 * fewPieces);
  small(fewPieces + 8);
  assert.ok(held().length < 1 + 3 * fewPieces, `${held().length}`);
});

test("once all is read, counting begins again", async () => {
  const { stream, readBuffer, held, small } = paused();
  small(fewPieces);
  stream.stream.addEventListener("message", () => {});
  stream.resume();
  await new Promise((resolve) => setTimeout(resolve, 0));
  small();
  assert.is(readBuffer.byteLength, 0);
  stream.pause();
  small(2);
  assert.equal(held(), [bufferBytes, bufferBytes]);
});

test.run();
