import { Buffer } from "node:buffer";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { messageDuplex } from "../../../transport/libp2p/message_duplex.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("messageDuplex()");

function wrapped() {
  const stream = new WrittenStream();
  const duplex = messageDuplex(stream.stream);
  const soon = (event: string) => once(duplex, event, { signal: AbortSignal.timeout(5_000) });
  return { stream, duplex, soon };
}

test("what arrives is read, and what is written is sent", async () => {
  const { stream, duplex, soon } = wrapped();
  const arrived = soon("data");
  stream.onData(Buffer.from("hello"));
  assert.is(String((await arrived)[0]), "hello");
  duplex.write(Buffer.from("back!!"));
  assert.equal(stream.sent, [6]);
});

test("the end of what the other side writes is the end of what is read", async () => {
  const { stream, duplex, soon } = wrapped();
  const ended = soon("end");
  stream.onData(Buffer.from("last"));
  stream.onRemoteCloseWrite();
  const pieces: unknown[] = [];
  duplex.on("data", (piece) => pieces.push(String(piece)));
  await ended;
  assert.equal(pieces, ["last"]);
});

test("bug: the end overtook what a paused stream held, which was lost as if the other side had ended before", async () => {
  const piece = Buffer.alloc(65_536, 1);
  const closes = [
    (stream: WrittenStream) => stream.onRemoteCloseWrite(),
    (stream: WrittenStream) => stream.onTransportClosed(),
    (stream: WrittenStream) => [stream.onRemoteCloseWrite(), stream.onTransportClosed()],
  ];
  for (const close of closes) {
    const { stream, duplex, soon } = wrapped();
    for (let pieces = 0; pieces < 3; pieces++) stream.onData(piece);
    stream.onData(Buffer.from("last"));
    assert.ok(stream.readBufferLength > 0, "it is paused");
    close(stream);
    const ended = soon("end");
    let size = 0;
    duplex.on("data", ({ byteLength }: Uint8Array) => size += byteLength);
    await ended;
    assert.is(size, 3 * piece.byteLength + 4);
  }
});

test("destroying it resets the stream, once, and leaves nobody listening", async () => {
  const events = ["message", "remoteCloseWrite", "close"] as const;
  const listening = (at: WrittenStream) => events.map((event) => at.listenerCount(event));
  const { stream, duplex, soon } = wrapped();
  const closed = soon("close");
  duplex.destroy();
  await closed;
  assert.equal([stream.told, stream.status], [["reset"], "aborted"]);
  assert.equal(listening(stream), listening(new WrittenStream()));
});

test("a stream that breaks destroys it with the error", async () => {
  const { stream, duplex, soon } = wrapped();
  const failed = soon("error");
  stream.abort(new Error("broken"));
  assert.is(((await failed)[0] as Error).message, "broken");
  assert.is(duplex.destroyed, true);
});

test("a stream that closes ends and closes it", async () => {
  const { stream, duplex, soon } = wrapped();
  const ended = soon("end");
  const closed = soon("close");
  duplex.resume();
  stream.onTransportClosed();
  await Promise.race([ended, closed]);
  await closed;
  assert.is(duplex.destroyed, true);
});

test.run();
