/**
 * PeerIDs: a node is named after the key of its certificate.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import { base58btc } from "multiformats/bases/base58";
import { type Certificate, labelOf } from "./certificate.ts";
import { UnsupportedKeyAlgorithm } from "./refusal.ts";

/** Longest encoded key that a PeerID holds itself; a longer one is hashed (libp2p specification, "Peer Ids"). */
export const inlineKeyOctetsMax = 42;

/** KeyType of libp2p's PublicKey message. */
const keyTypes = { rsa: 0, ed25519: 1, ecdsa: 3 } as const;

/**
 * The PeerID of a certificate's key, as base58btc text (specification: "PeerID Derivation"; libp2p: "Peer Ids").
 *
 * @param certificate The leaf; nothing else of it is looked at.
 * @returns The text (`12D3KooW…` for Ed25519), or a refusal where libp2p has no type for the key.
 */
export function peerIdOf(certificate: Certificate): Result.Result<string, UnsupportedKeyAlgorithm> {
  const peer = peerIdOfKey(certificate.publicKey);
  if (peer !== undefined) return Result.succeed(peer);
  const allowed = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa"];
  const { label: algorithm } = certificate.publicKey;
  return Result.fail(new UnsupportedKeyAlgorithm({ certificate: labelOf(certificate), algorithm, allowed }));
}

/** The same of a key alone; undefined where libp2p has no type for it. */
export function peerIdOfKey({ algorithm, raw, spki }: Certificate["publicKey"]): string | undefined {
  switch (algorithm) {
    case "ed25519":
      return encode(keyTypes.ed25519, raw);
    case "ecdsa-p256":
    case "ecdsa-p384":
      return encode(keyTypes.ecdsa, spki);
    case "rsa":
      return encode(keyTypes.rsa, spki);
    case "unknown":
      return undefined;
  }
}

/**
 * The Ed25519 key that a PeerID holds itself, as SPKI; undefined for a PeerID of another key, which holds only its hash.
 *
 * @param peer Base58btc text.
 */
export function ed25519KeyOf(peer: string): Certificate["publicKey"] | undefined {
  let bytes: Uint8Array;
  try {
    bytes = peer.length > peerTextMax ? new Uint8Array(0) : base58btc.baseDecode(peer);
  } catch {
    return undefined;
  }
  const raw = bytes.subarray(inlineEd25519.length);
  if (raw.length !== 32 || inlineEd25519.some((octet, at) => bytes[at] !== octet)) return undefined;
  return { algorithm: "ed25519", label: "Ed25519", raw, spki: new Uint8Array([...ed25519Spki, ...raw]) };
}

/**
 * Whether a text is a PeerID in its one spelling, base58btc: a SHA-256 multihash, or an identity multihash of a key.
 *
 * Does not check that there is such a key. The newer spelling as a CID (`bafz…`) is none: certificates never prove it.
 */
export function isPeerId(text: string): boolean {
  let octets: Uint8Array;
  try {
    octets = text.length > peerTextMax ? new Uint8Array(0) : base58btc.baseDecode(text);
  } catch {
    return false;
  }
  const [code, length, ...digest] = octets;
  if (digest.length !== length || base58btc.baseEncode(octets) !== text) return false;
  if (code === 0x12) return length === 32;
  return code === 0x00 && length <= inlineKeyOctetsMax && digest[0] === 0x08 && digest[2] === 0x12 &&
    digest[3] === length - 4;
}

/** Base58 of the longest PeerID has 60 characters; decoding is quadratic. */
const peerTextMax = 64;
/** Identity multihash of 36 octets: a PublicKey message of type Ed25519 with 32 octets of key. */
const inlineEd25519 = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
/** `SEQUENCE { SEQUENCE { 1.3.101.112 }, BIT STRING }` in front of the key (RFC 8410 §4). */
const ed25519Spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/** PublicKey message `{1: type, 2: data}`, then a multihash: identity (0x00) where it is short, SHA-256 (0x12) else. */
function encode(type: number, data: Uint8Array): string {
  const length = data.length < 0x80 ? [data.length] : [(data.length & 0x7f) | 0x80, data.length >> 7];
  const message = new Uint8Array([0x08, type, 0x12, ...length, ...data]);
  const inline = message.length <= inlineKeyOctetsMax;
  const digest = inline ? message : createHash("sha256").update(message).digest();
  return base58btc.baseEncode(new Uint8Array([inline ? 0x00 : 0x12, digest.length, ...digest]));
}
