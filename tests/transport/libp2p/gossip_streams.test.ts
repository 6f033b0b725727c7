/** The streams that gossipsub opens to its peers, with its own queue. */
import { generateKeyPair } from "@libp2p/crypto/keys";
import { gossipsub } from "@libp2p/gossipsub";
import type { Connection, PeerId } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type OpensStreams, openStreamsApart } from "../../../transport/libp2p/gossip_streams.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";

const test = suite("openStreamsApart()");

const makePeer = async () => peerIdFromPrivateKey(await generateKeyPair("Ed25519"));
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A stream that is being opened; `end` lets it be opened, or fail. */
interface Attempt {
  readonly over: string;
  readonly end: (stream?: object) => void;
}

/** The real gossipsub on connections whose streams the test opens. */
async function started() {
  const privateKey = await generateKeyPair("Ed25519");
  const attempts: Attempt[] = [];
  const pubsub = gossipsub()({
    privateKey,
    peerId: peerIdFromPrivateKey(privateKey),
    logger: silentLogger,
    registrar: { handle: () => {}, unhandle: () => {}, register: () => {}, unregister: () => {} },
  } as never) as unknown as OpensStreams & {
    onPeerConnected(peer: PeerId, connection: Connection): void;
    readonly streamsOutbound: ReadonlyMap<string, unknown>;
    start(): Promise<void>;
    stop(): Promise<void>;
  };
  openStreamsApart(pubsub);
  await pubsub.start();
  const connect = async (peer: PeerId, over: string) => {
    const newStream = () =>
      new Promise((resolve, reject) =>
        attempts.push({
          over,
          end: (stream) => stream === undefined ? reject(new Error("no stream")) : resolve(stream),
        })
      );
    const remoteAddr = multiaddr("/ip4/192.0.2.1/tcp/1");
    pubsub.onPeerConnected(peer, { remotePeer: peer, remoteAddr, status: "open", newStream } as never);
    await turn();
    return attempts.map((attempt) => attempt.over);
  };
  return { pubsub, attempts, connect };
}

const stream = () => ({ addEventListener: () => {}, close: () => Promise.resolve(), send: () => true });

test("bug: no peer got gossip after one that did not answer on its stream", async () => {
  const { pubsub, attempts, connect } = await started();
  const [silent, honest] = await Promise.all([makePeer(), makePeer()]);
  await connect(silent, "silent");
  assert.equal(await connect(honest, "honest"), ["silent", "honest"]);
  attempts[1]?.end(stream());
  await turn();
  assert.equal([...pubsub.streamsOutbound.keys()], [honest.toString()]);
  await pubsub.stop();
});

test("a peer has one attempt at a time, and then one over its newest connection", async () => {
  const { pubsub, attempts, connect } = await started();
  const peer = await makePeer();
  for (const over of ["a", "b", "c"]) assert.equal(await connect(peer, over), ["a"]);
  attempts[0]?.end();
  await turn();
  assert.equal(attempts.map(({ over }) => over), ["a", "c"]);
  assert.equal(await connect(peer, "d"), ["a", "c"]);
  attempts[1]?.end(stream());
  await turn();
  assert.is(pubsub.streamsOutbound.size, 1);
  assert.equal(await connect(peer, "e"), ["a", "c"], "the stream that there is stays");
  await pubsub.stop();
});

test.run();
