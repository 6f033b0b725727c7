/** What streams of libp2p's own protocols may bring, on libp2p's own streams. */
import type { Connection, Stream, StreamHandler } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { streamPair } from "@libp2p/utils";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { relayFactor } from "../../../transport/core/admission.ts";
import { priceOf } from "../../../transport/core/prices.ts";
import { pingBytesWaitingMax, priced } from "../../../transport/libp2p/priced_protocols.ts";

const test = suite("priced()");
const ping = "/ipfs/ping/1.0.0";
const peer = "12D3KooWHXGN9hZByhF27ZwiKUmgXW3bdGwc9PHh9uAkg7F5ZqWT";
const connection = { remotePeer: peerIdFromString(peer) } as Connection;
/** Gives back what arrives, as the service does. */
const echoes: StreamHandler = (stream) => {
  stream.addEventListener("message", ({ data }) => void stream.send(data));
};

/** The muxer of a stream says that its connection is full, or that it has room again. */
interface Muxed extends Stream {
  onMuxerNeedsDrain(): void;
  onMuxerDrain(): void;
}

/** A stream of pings whose connection has no room for answers. */
async function fullConnection() {
  const [theirs, ours] = await streamPair({ protocol: ping });
  const charged: number[] = [];
  priced(ping, echoes, { charge: (_, us) => charged.push(us), refund: () => {} })(ours, connection);
  const full = ours as Muxed;
  full.onMuxerNeedsDrain();
  let received = 0;
  theirs.addEventListener("message", ({ data }) => received += data.byteLength);
  const passes = () => new Promise((resolve) => setTimeout(resolve, 50));
  return { theirs, full, charged, passes, received: () => received };
}

test("a ping that arrives while the connection is full of a transfer is answered when there is room", async () => {
  const { theirs, full, charged, passes, received } = await fullConnection();
  theirs.send(new Uint8Array(32));
  await passes();
  assert.is(full.status, "open");
  full.onMuxerDrain();
  await passes();
  assert.is(received(), 32);
  assert.is(charged.length, 2, "the stream, and its protocol");
  theirs.abort(new Error("over"));
});

test("as many pings as may wait are kept; one more resets the stream", async () => {
  const { theirs, full, passes } = await fullConnection();
  theirs.send(new Uint8Array(pingBytesWaitingMax));
  await passes();
  assert.is(full.status, "open");
  theirs.send(new Uint8Array(32));
  await passes();
  assert.is.not(full.status, "open");
});

test("pings that were answered do not count", async () => {
  const { theirs, full, passes } = await fullConnection();
  for (let nth = 0; nth < 3; nth++) {
    theirs.send(new Uint8Array(pingBytesWaitingMax - 32));
    await passes();
    full.onMuxerDrain();
    theirs.send(new Uint8Array(32));
    await passes();
    full.onMuxerNeedsDrain();
  }
  assert.is(full.status, "open");
  theirs.abort(new Error("over"));
});

test("bug: circuits that members opened were charged to their relay in full: a few members made it too expensive", async () => {
  const chargedFor = async (protocol: string) => {
    const [, ours] = await streamPair({ protocol });
    let charged = 0;
    priced(protocol, () => {}, { charge: (_, us) => charged += us, refund: () => {} })(ours, connection);
    return charged;
  };
  const whole = priceOf("stream") + priceOf("relay");
  assert.is(await chargedFor("/libp2p/circuit/relay/0.2.0/hop"), whole);
  assert.is(await chargedFor("/libp2p/circuit/relay/0.2.0/stop"), whole / relayFactor);
});

test.run();
