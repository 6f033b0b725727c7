/**
 * What a hostile member does to a node that let it in. The same acts run over every wire.
 *
 * @module
 */
import { peerIdFromString } from "@libp2p/peer-id";
import type { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
import { streamsPerPeerMax } from "../../transport/core/stream_places.ts";
import { kadProtocol, type WireConnection } from "../../transport/core/wire.ts";
import { type PeerText, streamProtocols } from "../../transport/port.ts";
import { encodeKadMessage } from "../../transport/protocols/kad_record.ts";
import { messageProtocols, workerTopic } from "../../transport/protocols/messages.ts";
import { encodeMessage } from "../../transport/protocols/mod.ts";

const health = "/hypha-health/0.0.1";
const protocols = [...messageProtocols, ...streamProtocols, kadProtocol];
const garbage = Uint8Array.from({ length: 64 }, (_, at) => 255 - at * 3 % 256);
/** The key that the script puts in another's name. */
export const stolenKey = "stolen";

/** An act: its name, and what it does on an open connection. */
export const hostileActs: Readonly<
  Record<string, (peer: HostilePeer, connection: WireConnection, victim: { readonly friend: PeerText }) => void>
> = {
  "garbage on every protocol": (peer, connection) => {
    for (const protocol of protocols) peer.exchange(connection, protocol, garbage);
  },
  "garbage without an end": (peer, connection) => {
    for (const protocol of protocols) peer.open(connection, protocol).send(garbage);
  },
  "half a request": (peer, connection) => {
    const question = encodeMessage("/hypha-api/0.0.1", "request", { Data: { dataset: "digits" } });
    peer.open(connection, "/hypha-api/0.0.1").send(question.subarray(0, question.length >> 1));
  },
  "another's record": (peer, connection, { friend }) => {
    const key = new TextEncoder().encode(stolenKey);
    const publisher = peerIdFromString(friend).toMultihash().bytes;
    const record = { key, value: garbage, publisher };
    peer.exchange(connection, kadProtocol, framed(encodeKadMessage(put(key, record))));
  },
  "a record of nobody": (peer, connection) => {
    const key = new TextEncoder().encode(stolenKey);
    peer.exchange(connection, kadProtocol, framed(encodeKadMessage(put(key, { key, value: garbage }))));
  },
  "the head of a Kademlia message of two gigabytes": (peer, connection) => {
    peer.open(connection, kadProtocol).send(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3));
  },
  "the head of a Kademlia message that never ends": (peer, connection) => {
    peer.open(connection, kadProtocol).send(new Uint8Array(32).fill(0x80));
  },
  "more streams than may be": (peer, connection) => {
    for (let nth = 0; nth < streamsPerPeerMax + 44; nth++) {
      peer.open(connection, health).send(Uint8Array.of(0xbf));
    }
  },
  "gossip that does not decode": (peer) => peer.wire.publish(workerTopic, garbage, () => {}),
  "silence on every protocol": (peer, connection) => {
    for (const protocol of protocols) peer.open(connection, protocol);
  },
};

type KadRecordOf = Parameters<typeof encodeKadMessage>[0]["record"];

function put(key: Uint8Array, record: NonNullable<KadRecordOf>) {
  return { type: "PUT_VALUE", key, record, closer: [], providers: [] } as const;
}

/** With its length in front, as an unsigned varint. */
function framed(bytes: Uint8Array): Uint8Array {
  const head: number[] = [];
  for (let left = bytes.length;; left >>= 7) {
    head.push(left > 127 ? left & 127 | 128 : left);
    if (left <= 127) return Uint8Array.of(...head, ...bytes);
  }
}
