/** Gossip is read as its messages are taken. */
import type { PeerId, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { readInPace, type ReadsStreams } from "../../../transport/libp2p/gossip_reading.ts";
import type { GossipRpc, TakesPricedRpc } from "../../../transport/libp2p/priced_gossip.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("readInPace()");
const peer = peerIdFromString("12D3KooWHXGN9hZByhF27ZwiKUmgXW3bdGwc9PHh9uAkg7F5ZqWT");
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const rpc: GossipRpc = { subscriptions: [], messages: [{}] };

/** A stream of gossip whose frames decode as `decodeRpc` does. */
function read(takes: TakesPricedRpc, decodeRpc: ReadsStreams["decodeRpc"] = () => rpc) {
  const pubsub: ReadsStreams = {
    isStarted: () => true,
    peers: new Map<string, PeerId>([[peer.toString(), peer]]),
    streamsInbound: new Map(),
    decodeRpc,
    createInboundStream: () => {},
  };
  readInPace(pubsub, takes);
  const stream = Object.assign(new WrittenStream(), { maxStreamWindowSize: 16_777_216 });
  pubsub.createInboundStream(peer, stream as unknown as Stream);
  return stream;
}

test("bug: frames that cannot be decoded cost nothing", async () => {
  const taken: GossipRpc[] = [];
  const stream = read((_, frame) => Promise.resolve(void taken.push(frame)), () => {
    throw new Error("no protobuf");
  });
  for (let each = 0; each < 3; each++) stream.onData(Uint8Array.of(1, 0xff));
  await turn();
  const empty: GossipRpc = { subscriptions: [], messages: [] };
  assert.equal(taken, [empty, empty, empty], "each is charged as a frame without content");
});

test("a stream of which too much waits is paused until its messages are taken", async () => {
  const waiting: (() => void)[] = [];
  const stream = read(() => new Promise((resolve) => waiting.push(resolve)));
  assert.is(stream.maxStreamWindowSize, 262_144);
  const frame = prefixLength(new Uint8Array(100_000));
  for (let each = 0; each < 4; each++) stream.onData(frame);
  await turn();
  assert.equal([stream.told, waiting.length], [["pause"], 1]);
  for (let taken = 0; taken < 4; taken++) {
    waiting.shift()?.();
    await turn();
  }
  assert.equal([stream.told, waiting.length], [["pause", "resume"], 0]);
});

test("what a stream that has closed cannot pay is dropped, and a frame that is too large ends its stream", async () => {
  let frames = 0;
  const stream = read((_peer, _frame, over) => {
    frames += 1;
    return new Promise((_, reject) => over.addEventListener("abort", () => reject(over.reason)));
  });
  for (let each = 0; each < 3; each++) stream.onData(Uint8Array.of(1, 0));
  await turn();
  stream.abort(new Error("gone"));
  await turn();
  assert.is(frames, 1);
  const large = read(() => Promise.resolve());
  large.onData(Uint8Array.of(0xff, 0xff, 0x7f));
  await turn();
  assert.is(large.status, "aborted");
});

test.run();
