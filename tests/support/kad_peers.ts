/**
 * PeerIDs and messages for tests of Kademlia's streams.
 *
 * @module
 */
import { peerIdFromString } from "@libp2p/peer-id";
import { base58btc } from "multiformats/bases/base58";
import { prefixLength } from "../../transport/core/length_prefixed.ts";
import type { PeerText } from "../../transport/port.ts";
import { encodeKadMessage, type KadMessage, type KadRecord } from "../../transport/protocols/kad_record.ts";

/** The multihash of a PeerID whose Ed25519 key is this byte, 32 times. */
export function multihash(byte: number): Uint8Array {
  return Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...new Uint8Array(32).fill(byte));
}

/** That PeerID. */
export function kadPeer(byte: number): PeerText {
  return base58btc.baseEncode(multihash(byte));
}

/** A key byte, and bytes that are its PeerID in another spelling. */
export function respelled(): { readonly byte: number; readonly publisher: Uint8Array } {
  const cidOf = (byte: number) => peerIdFromString(kadPeer(byte)).toCID().toString();
  // A CID in base32 without the letter that base58 lacks: read as base58, it is bytes whose text is a PeerID again.
  const byte = Array.from({ length: 256 }, (_, each) => each).find((each) => !cidOf(each).includes("l")) ?? 0;
  return { byte, publisher: base58btc.baseDecode(cidOf(byte)) };
}

/** The bytes of a text. */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A record that this peer publishes. */
export function recordOf(byte: number, key: string, value = "value"): KadRecord {
  return { key: utf8(key), value: utf8(value), publisher: multihash(byte) };
}

/** A message without peers. */
export function kadMessage(fields: Partial<KadMessage> & Pick<KadMessage, "type">): KadMessage {
  return { closer: [], providers: [], ...fields };
}

/** A message as a stream carries it. */
export function framed(message: KadMessage): Uint8Array {
  return prefixLength(encodeKadMessage(message));
}
