import { Buffer } from "node:buffer";
import { createPublicKey, ECDH, generateKeyPairSync } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeDer } from "../../pki/der.ts";
import { bitString, derNull, integer, oid, sequence } from "../../pki/issue/der_writer.ts";
import { readPublicKey } from "../../pki/public_key.ts";

const test = suite("readPublicKey()");

const generated = (type: string) => {
  const { privateKey } = type.startsWith("ec:")
    ? generateKeyPairSync("ec", { namedCurve: type.slice(3) })
    : generateKeyPairSync(type as "ed25519");
  return createPublicKey(privateKey).export({ format: "der", type: "spki" });
};
const info = (algorithm: Uint8Array[], key: Uint8Array) => sequence(sequence(...algorithm), bitString(key));
const rsa = (modulus: Uint8Array, exponent: bigint | number, parameters = [derNull]) =>
  info([oid("1.2.840.113549.1.1.1"), ...parameters], sequence(integer(modulus), integer(exponent)));
const modulus = (octets: number, first = 0xff) =>
  Uint8Array.of(...(first > 0x7f ? [0] : []), first, ...new Uint8Array(octets - 1).fill(0xff));
const ec = (curve: string, point: Uint8Array) => info([oid("1.2.840.10045.2.1"), oid(curve)], point);
const p256 = generated("ec:prime256v1");
const point = p256.subarray(-65);
const compressed = ECDH.convertKey(point, "prime256v1", undefined, undefined, "compressed") as Buffer;

const rows: [name: string, spki: Uint8Array, algorithm: string, label: string][] = [
  ["Ed25519", generated("ed25519"), "ed25519", "Ed25519"],
  ["Ed25519 of 31 octets", info([oid("1.3.101.112")], new Uint8Array(31)), "unknown", "1.3.101.112"],
  ["Ed25519 with parameters", info([oid("1.3.101.112"), derNull], new Uint8Array(32)), "unknown", "1.3.101.112"],
  ["Ed448", info([oid("1.3.101.113")], new Uint8Array(57)), "unknown", "Ed448"],
  ["X25519", info([oid("1.3.101.110")], new Uint8Array(32)), "unknown", "X25519"],
  ["P-256", p256, "ecdsa-p256", "ECDSA P-256"],
  ["P-384", generated("ec:secp384r1"), "ecdsa-p384", "ECDSA P-384"],
  ["P-521", generated("ec:secp521r1"), "unknown", "ECDSA P-521"],
  ["secp256k1", generated("ec:secp256k1"), "unknown", "ECDSA secp256k1"],
  ["P-256, compressed", ec("1.2.840.10045.3.1.7", compressed), "unknown", "ECDSA, compressed point"],
  ["P-384 with a point of P-256", ec("1.3.132.0.34", point), "unknown", "ECDSA, compressed point"],
  ["a curve by its parameters", info([oid("1.2.840.10045.2.1"), sequence()], point), "unknown", "ECDSA, other curve"],
  ["a curve left out", info([oid("1.2.840.10045.2.1")], point), "unknown", "ECDSA, other curve"],
  ["RSA", rsa(modulus(256), 65_537), "rsa", "RSA 2048"],
  ["RSA one bit shorter", rsa(modulus(256, 0x7f), 65_537), "rsa", "RSA 2047"],
  ["RSA with exponent 3", rsa(modulus(256), 3), "rsa", "RSA 2048"],
  ["RSA with exponent 1", rsa(modulus(256), 1), "unknown", "RSA, unusual exponent"],
  ["RSA with an even exponent", rsa(modulus(256), 65_536), "unknown", "RSA, unusual exponent"],
  ["RSA with an exponent of 33 bits", rsa(modulus(256), 2n ** 32n + 1n), "rsa", "RSA 2048"],
  ["RSA with an exponent of 34 bits", rsa(modulus(256), 2n ** 33n + 1n), "unknown", "RSA, unusual exponent"],
  ["RSA without its NULL", rsa(modulus(256), 65_537, []), "unknown", "1.2.840.113549.1.1.1"],
  [
    "RSA with a NULL that holds something",
    rsa(modulus(256), 65_537, [Uint8Array.of(5, 1, 0)]),
    "unknown",
    "1.2.840.113549.1.1.1",
  ],
  ["RSA with an empty SEQUENCE", rsa(modulus(256), 65_537, [sequence()]), "unknown", "1.2.840.113549.1.1.1"],
  ["RSA that is no RSAPublicKey", info([oid("1.2.840.113549.1.1.1"), derNull], derNull), "unknown", "RSA, malformed"],
  ["an algorithm that nobody knows", info([oid("1.2.3")], new Uint8Array(8)), "unknown", "1.2.3"],
];

for (const [name, spki, algorithm, label] of rows) {
  test(`reads ${name} as ${label}`, () => {
    const key = Result.getOrThrow(decodeDer(spki, readPublicKey));
    assert.equal([key.algorithm, key.label], [algorithm, label]);
    assert.is(Buffer.compare(key.spki, spki), 0);
  });
}

test.run();
