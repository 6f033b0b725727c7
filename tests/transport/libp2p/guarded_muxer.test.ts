/** What a connection knows of its multiplexer's streams, and how many of them a peer may open. */
import { Buffer } from "node:buffer";
import { setImmediate } from "node:timers";
import type { MessageStream, StreamMuxer } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { priceOf } from "../../../transport/core/prices.ts";
import { inboundStreamsMax, nodeMuxer, silentLogger } from "../../../transport/libp2p/node.ts";
import { FrameBudget, silentStreamsMax } from "../../../transport/libp2p/frame_guard.ts";
import { guardedMuxer } from "../../../transport/libp2p/guarded_muxer.ts";
import { SecuredStream } from "../../../transport/libp2p/secured_stream.ts";
import { PlayedSocket } from "../../support/played_socket.ts";

const test = suite("guardedMuxer()");
const frame = (type: number, flags: number, stream: number, length = 0) => {
  const bytes = Buffer.alloc(12 + (type === 0 ? length : 0));
  bytes.set([0, type, 0, flags]);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt32BE(length, 8);
  return bytes;
};
const [dataType, windowType, syn, rst] = [0, 1, 1, 8];

/** A connection of a listener over a socket that a test plays, with its multiplexer, and what its peer was charged. */
function made() {
  const played = new PlayedSocket();
  let chargedUs = 0;
  const limits = { perSecondUs: 1e12, burstUs: 1e12, frameBytesMax: 1_048_576 };
  const budget = new FrameBudget(limits, (us) => {
    chargedUs += us;
    return 0;
  }, (task) => queueMicrotask(task));
  const connection = new SecuredStream({
    socket: played.socket,
    direction: "inbound",
    log: silentLogger.forComponent("test"),
    meter: { received: 0, sent: 0 },
    onEnd: () => {},
    budget,
    beginsWith: "frames",
    now: () => 0,
  });
  const muxer = nodeMuxer()({ logger: silentLogger }).createStreamMuxer(connection);
  muxer.addEventListener("stream", () => {});
  const feed = async (bytes: Uint8Array) => {
    played.emit("data", bytes);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { muxer, feed, end: () => connection.abort(new Error("enough")), charged: () => chargedUs };
}

test("bug: a peer could open a thousand streams without a word, and each frame of bulk data was looked up among them twice", async () => {
  const { muxer, feed, end } = made();
  for (let stream = 1; stream < 2 * silentStreamsMax; stream += 2) await feed(frame(windowType, syn, stream));
  assert.is(muxer.streams.length, inboundStreamsMax);
  const { streams } = muxer;
  let lookups = 0;
  Object.defineProperty(muxer, "streams", { configurable: true, get: () => (lookups++, streams) });
  await feed(Buffer.concat(Array.from({ length: 100 }, () => frame(dataType, 0, 999_999, 1_024))));
  assert.is(lookups, 100, "by the multiplexer itself");
  Object.defineProperty(muxer, "streams", { value: streams, writable: true });
  end();
});

test("bulk data is free on streams that this side opened, until they end", async () => {
  const { muxer, feed, end, charged } = made();
  const [one, other] = [await muxer.createStream(), await muxer.createStream()];
  const bulkUs = async (id: string) => {
    const before = charged();
    await feed(frame(dataType, 0, Number(id), 2_048));
    return charged() - before;
  };
  const paid = priceOf("bytes", 2_048);
  await feed(frame(windowType, syn, 1));
  assert.equal([await bulkUs(one.id), await bulkUs(other.id), await bulkUs("1"), await bulkUs("98")], [
    0,
    0,
    paid,
    paid,
  ]);
  await feed(frame(windowType, rst, Number(one.id)));
  assert.equal([one.status, await bulkUs(one.id), await bulkUs(other.id)], ["reset", paid, 0]);
  other.abort(new Error("enough"));
  assert.is(await bulkUs(other.id), paid);
  end();
});

test("a connection of another kind is left as it is", async () => {
  const createStream = () => Promise.resolve("a stream");
  const make = () => ({ createStreamMuxer: (_: MessageStream) => ({ createStream }) as unknown as StreamMuxer });
  const muxer = guardedMuxer(make)({}).createStreamMuxer({} as MessageStream);
  assert.equal(await muxer.createStream(), "a stream");
});

test.run();
