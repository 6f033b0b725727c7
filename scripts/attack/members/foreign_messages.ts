/**
 * Messages of libp2p's own protocols, written by hand: an attacker sends what the library would not.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { ProtobufWriter } from "../../../transport/protocols/protobuf.ts";

/** Protocols that libp2p serves in a node of ours. */
export const foreignProtocols = {
  identify: "/ipfs/id/1.0.0",
  identifyPush: "/ipfs/id/push/1.0.0",
  ping: "/ipfs/ping/1.0.0",
  gossip: "/meshsub/1.1.0",
  hop: "/libp2p/circuit/relay/0.2.0/hop",
  stop: "/libp2p/circuit/relay/0.2.0/stop",
  dcutr: "/libp2p/dcutr",
} as const;

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

/** An author of gossip. */
export interface Author {
  readonly multihash: Uint8Array;
  readonly key: KeyObject;
}

/** The multihash of a PeerID. */
function multihashOf(publicKey: Uint8Array): Uint8Array {
  return Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...publicKey);
}

/** A PeerID of no node. */
export function madeUpPeer(): Uint8Array {
  return multihashOf(randomBytes(32));
}

/** An author with a key and without a certificate. */
export function madeUpAuthor(): Author {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { x = "" } = publicKey.export({ format: "jwk" });
  return { multihash: multihashOf(Buffer.from(x, "base64url")), key: privateKey };
}

let sequence = BigInt(Date.now()) * 1_000_000n;

/** A message of gossip with a signature. */
function gossipMessage({ multihash, key }: Author, topic: string, data: Uint8Array): Uint8Array {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(++sequence);
  const unsigned = () =>
    new ProtobufWriter().bytes(1, multihash).bytes(2, data).bytes(3, number).bytes(4, ascii(topic));
  const signature = sign(null, Buffer.concat([ascii("libp2p-pubsub:"), unsigned().end()]), key);
  return unsigned().bytes(5, signature).end();
}

/** A frame of gossip with these messages. */
export function publication(author: Author, topic: string, data: readonly Uint8Array[]): Uint8Array {
  const writer = new ProtobufWriter();
  for (const piece of data) writer.bytes(2, gossipMessage(author, topic, piece));
  return prefixLength(writer.end());
}

/** A frame of gossip with as many control messages about messages that there never were. */
export function control(topic: string, count: number): Uint8Array {
  const body = new ProtobufWriter();
  for (let nth = 0; nth < count; nth++) {
    body.bytes(1, new ProtobufWriter().bytes(1, ascii(topic)).bytes(2, randomBytes(40)).end());
    body.bytes(2, new ProtobufWriter().bytes(1, randomBytes(40)).end());
    body.bytes(3, new ProtobufWriter().bytes(1, ascii(topic)).end());
  }
  return prefixLength(new ProtobufWriter().bytes(3, body.end()).end());
}

/** A frame of gossip that subscribes to a topic. */
export function subscription(topic: string): Uint8Array {
  const body = new ProtobufWriter().number(1, 1).bytes(2, ascii(topic)).end();
  return prefixLength(new ProtobufWriter().bytes(1, body).end());
}

/**
 * An identify message with as many addresses. An answer names the peer, whose multihash holds its key, and does not claim Kademlia:
 * nodes would tell others to ask a peer at made-up addresses.
 */
export function identification(addresses: number, multihash?: Uint8Array): Uint8Array {
  const writer = new ProtobufWriter().bytes(5, ascii("/hypha-identify/0.0.1")).bytes(6, ascii("hypha/0.1.0"));
  if (multihash !== undefined) writer.bytes(1, multihash.subarray(2));
  for (let nth = 0; nth < addresses; nth++) writer.bytes(2, Uint8Array.of(4, ...randomBytes(4), 6, ...randomBytes(2)));
  const protocol = multihash === undefined ? "/ipfs/kad/1.0.0" : foreignProtocols.ping;
  return prefixLength(writer.bytes(3, ascii(protocol)).end());
}

/** Asks a relay for a reservation. */
export const reserve = prefixLength(new ProtobufWriter().number(1, 0).end());

/** Asks a relay for a connection with a peer. */
export function hopTo(peer: Uint8Array): Uint8Array {
  return prefixLength(new ProtobufWriter().number(1, 1).bytes(2, new ProtobufWriter().bytes(1, peer).end()).end());
}

/** Brings a connection of a peer, as a relay. */
export function stopOf(peer: Uint8Array): Uint8Array {
  return prefixLength(new ProtobufWriter().number(1, 0).bytes(2, new ProtobufWriter().bytes(1, peer).end()).end());
}
