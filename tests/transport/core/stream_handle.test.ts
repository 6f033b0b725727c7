/** A handle's inbox against a stream whose multiplexer writes down what it is told. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownStream, streamBufferMax } from "../../../transport/core/stream_handle.ts";
import { WrittenStream } from "../../support/written_stream.ts";

function inbound() {
  const stream = new WrittenStream();
  const about = { id: "1", peer: "peer", protocol: "/hypha-tensor-stream/push" } as const;
  return { stream, ...ownStream({ ...about, stream: stream.stream }) };
}

const test = suite("a stream's inbox");

test("a pause comes after the resume that made it necessary: within it, the multiplexer would go on to open the window", async () => {
  const { stream, handle } = inbound();
  stream.onData(new Uint8Array(streamBufferMax));
  assert.equal(stream.told, ["pause"]);
  stream.onData(new Uint8Array(streamBufferMax + 1)); // kept by libp2p, as the stream is paused
  const sizes: number[] = [];
  for (const told of [["pause", "resume", "pause"], ["pause", "resume", "pause", "resume"]]) {
    const chunk = await Effect.runPromise(handle.read);
    sizes.push(chunk.type === "bytes" ? chunk.bytes.length : 0);
    await Promise.resolve();
    assert.equal(stream.told, told);
  }
  assert.equal(sizes, [streamBufferMax, streamBufferMax + 1]);
  assert.is(stream.status, "open");
});

test("a sender that was stopped goes on when a quarter is left to read, not before", async () => {
  const { stream, handle } = inbound();
  for (let piece = 0; piece < 8; piece++) stream.onData(new Uint8Array(streamBufferMax / 8));
  for (let read = 1; read <= 6; read++) {
    await Effect.runPromise(handle.read);
    await Promise.resolve();
    assert.equal(stream.told, read < 6 ? ["pause"] : ["pause", "resume"], `after ${read} pieces`);
  }
});

test("a reader that is behind when the other side ends still gets everything, and no pause comes too late", async () => {
  const { stream, handle } = inbound();
  for (const _ of [1, 2, 3]) stream.onData(new Uint8Array(streamBufferMax));
  stream.onRemoteCloseWrite();
  let bytes = 0;
  for (;;) {
    const chunk = await Effect.runPromise(handle.read);
    if (chunk.type === "end") {
      assert.is(chunk.outcome, "whole");
      break;
    }
    bytes += chunk.bytes.length;
  }
  assert.is(bytes, 3 * streamBufferMax);
});

test.run();
