/**
 * Valid chains as the start of mutations, with the keys to sign them again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { bitString, constructed, integer, oid, sequence, time } from "../../pki/issue/der_writer.ts";
import {
  authorityKeyId,
  basicConstraints,
  crlNumber,
  encodeExtensions,
  extendedKeyUsage,
  type Extension,
  keyIdOf,
  keyUsage,
  nameConstraints,
  nodePurposes,
  subjectAltName,
  subjectKeyId,
} from "../../pki/issue/extensions.ts";
import { encodeName } from "../../pki/issue/name.ts";
import { secretOf } from "./random.ts";

/** The time of every evaluation. */
export const evaluatedAt = new Date("2026-11-25T12:00:00Z");

/** Something signed, and who signs it. */
export interface SignedPart {
  readonly der: Uint8Array;
  readonly signer: KeyObject;
}

/** A chain that both accept. */
export interface World {
  readonly name: string;
  /** The chain that a peer sends, leaf first. */
  readonly chain: readonly SignedPart[];
  readonly anchors: readonly SignedPart[];
  /** Undefined where no revocation list is configured. */
  readonly lists: readonly SignedPart[] | undefined;
}

const ed25519 = sequence(oid("1.3.101.112"));
const dayMs = 24 * 60 * 60 * 1_000;
const later = (days: number) => new Date(evaluatedAt.getTime() + days * dayMs);

interface Maker {
  readonly name: string;
  readonly key: KeyObject;
  readonly spki: Uint8Array;
  readonly keyId: Uint8Array;
}

function maker(seed: number, name: string): Maker {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
  const key = createPrivateKey({ key: Buffer.concat([prefix, secretOf(seed, name)]), format: "der", type: "pkcs8" });
  const spki = new Uint8Array(createPublicKey(key).export({ format: "der", type: "spki" }));
  return { name, key, spki, keyId: keyIdOf(spki.subarray(12)) };
}

/** Signs the encoded content again. The outer algorithm is always Ed25519, also where the content names another one. */
export function signedWith(content: Uint8Array, key: KeyObject): Uint8Array {
  return sequence(content, ed25519, bitString(sign(null, content, key)));
}

let serials = 0x1000;

function certificate(subject: Maker, issuer: Maker, extensions: readonly Extension[]): SignedPart {
  const ids = [subjectKeyId(subject.keyId), authorityKeyId(issuer.keyId)];
  const content = sequence(
    constructed(0, integer(2)),
    integer(serials++),
    ed25519,
    encodeName({ commonName: issuer.name, organization: "Fuzz" }),
    sequence(time(later(-30)), time(later(300))),
    encodeName({ commonName: subject.name, organization: "Fuzz" }),
    subject.spki,
    constructed(3, encodeExtensions([...extensions, ...ids])),
  );
  return { der: signedWith(content, issuer.key), signer: issuer.key };
}

function list(issuer: Maker, number: bigint): SignedPart {
  const entries = [7, 8].map((serial) => sequence(integer(serial), time(later(-2))));
  const content = sequence(
    integer(1),
    ed25519,
    encodeName({ commonName: issuer.name, organization: "Fuzz" }),
    time(later(-1)),
    time(later(20)),
    sequence(...entries),
    constructed(0, encodeExtensions([authorityKeyId(issuer.keyId), crlNumber(number)])),
  );
  return { der: signedWith(content, issuer.key), signer: issuer.key };
}

const ca = (pathLength?: number) => [basicConstraints(true, pathLength), keyUsage(["keyCertSign", "cRLSign"])];

const node = (name: string) => [
  basicConstraints(false),
  keyUsage(["digitalSignature", "keyAgreement"]),
  extendedKeyUsage(nodePurposes),
  subjectAltName([
    { type: "dns", value: `${name}.fuzz.example` },
    { type: "ip", value: "10.1.2.3" },
    { type: "uri", value: `spiffe://fuzz.example/worker/${name}` },
  ]),
];

/** The worlds of a seed. */
export function makeWorlds(seed: number): readonly World[] {
  serials = 0x1000;
  const [root, middle, lower, leaf, other] = ["root", "middle", "lower", "leaf", "other"].map((name) =>
    maker(seed, name)
  ) as [Maker, Maker, Maker, Maker, Maker];
  const anchor = certificate(root, root, ca());
  const issuing = certificate(middle, root, ca(0));
  const own = certificate(leaf, middle, node("leaf"));
  const wide = certificate(middle, root, ca(1));
  const dns = [".fuzz.example", "fuzz.example"].map((text) => ({ tag: 2 as const, content: Buffer.from(text) }));
  const narrow = certificate(lower, middle, [
    ...ca(0),
    nameConstraints(dns.slice(1), [{
      tag: 2,
      content: Buffer.from("bad.fuzz.example"),
    }]),
  ]);
  const deep = certificate(leaf, lower, node("leaf"));
  const stranger = certificate(other, other, ca());
  const lists = [list(root, 3n), list(middle, 4n)];
  return [
    { name: "lists", chain: [own, issuing], anchors: [anchor], lists },
    { name: "plain", chain: [own, issuing], anchors: [anchor], lists: undefined },
    { name: "deep", chain: [deep, narrow, wide], anchors: [anchor, stranger], lists: undefined },
    { name: "partial", chain: [own], anchors: [issuing], lists: undefined },
  ];
}
