/**
 * Certificates that no authority of this network would issue, and that runtimes have treated oddly.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign, X509Certificate } from "node:crypto";
import { bitString, integer, oid, sequence, setOfOne, time, utf8String } from "../../../pki/issue/der_writer.ts";
import type { Shown } from "./attack.ts";

const dayMs = 86_400_000;
const ed25519 = sequence(oid("1.3.101.112"));
const name = sequence(setOfOne(sequence(oid("2.5.4.3"), utf8String("version one"))));

/** Octets behind the outer header that are spoilt in turn: version, serial, algorithm, issuer. */
const spoiltOctets = { first: 4, count: 40 };
let spoilt = 0;

/** A member's certificate with one bit turned, another one each time. */
export function malformed({ chain }: Shown): Uint8Array {
  const leaf = Buffer.from(chain[0]!);
  leaf[spoiltOctets.first + spoilt++ % spoiltOctets.count]! ^= 0x40;
  return leaf;
}

/** A certificate of version 1 (no version, no extensions) for one's key, signed with another's. */
export function version1(subject: Shown, signer: Shown): Uint8Array {
  const spki = new X509Certificate(subject.chain[0]!).publicKey.export({ type: "spki", format: "der" });
  const now = Date.now();
  const validity = sequence(time(new Date(now - dayMs)), time(new Date(now + dayMs)));
  const tbs = sequence(integer(1), ed25519, name, validity, name, spki);
  return sequence(tbs, ed25519, bitString(sign(null, tbs, createPrivateKey(signer.keyPem))));
}
