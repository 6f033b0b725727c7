/**
 * Keys that sign what is issued: made here, or read from PKCS#8.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign as signBytes,
  type SignKeyObjectInput,
} from "node:crypto";
import { promisify } from "node:util";
import * as Result from "effect/Result";
import { decodeDer } from "../der.ts";
import { parsePrivateKey, toTlsPem } from "../key.ts";
import { readPublicKey } from "../public_key.ts";
import { derNull, oid, sequence } from "./der_writer.ts";
import { IssueError } from "./issue_error.ts";

/** Algorithms of keys that can be made. Ed25519 is the network's; the others are for CAs and peers of other origin. */
export type IssuedKeyAlgorithm = "ed25519" | "ecdsa-p256" | "ecdsa-p384" | "rsa-2048" | "rsa-1024";

/** A key that signs, with what goes into certificates and requests about it. */
export interface KeyToCertify {
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** The key's bits, without its algorithm. */
  readonly publicBits: Uint8Array;
  /** DER of the AlgorithmIdentifier that goes with each signature. */
  readonly signatureAlgorithm: Uint8Array;
  /** What WebCrypto calls the algorithm, with the digest that it signs with. */
  readonly webAlgorithm: WebAlgorithm;
  /** Signs. Every signature of this module is made here, whether the library or our writer composed the bytes. */
  readonly sign: (tbs: Uint8Array, form?: SignatureForm) => Promise<Uint8Array>;
}

/** A private key of this process. */
export interface SigningKey extends KeyToCertify {
  /** PKCS#8 version 1, PEM. */
  readonly keyPem: string;
}

/** ECDSA's two numbers as X.509 has them (DER), or side by side as WebCrypto has them; other signatures have one form. */
export type SignatureForm = "x509" | "webcrypto";

/** An algorithm in WebCrypto's words. */
export interface WebAlgorithm {
  readonly name: "Ed25519" | "ECDSA" | "RSASSA-PKCS1-v1_5";
  readonly namedCurve?: "P-256" | "P-384";
  readonly hash?: "SHA-256" | "SHA-384";
}

/** How a key signs: the digest, and the algorithm's names. */
interface SignatureScheme {
  readonly digest: "sha256" | "sha384" | null;
  readonly algorithm: Uint8Array;
  readonly web: WebAlgorithm;
}

const generate = promisify(generateKeyPair);
const signAsync: (digest: string | null, data: Uint8Array, key: KeyObject | SignKeyObjectInput) => Promise<Uint8Array> =
  promisify(signBytes);

/** Makes a fresh key. */
export async function makeSigningKey(algorithm: IssuedKeyAlgorithm = "ed25519"): Promise<SigningKey> {
  return signingKeyOf((await generateFor(algorithm)).privateKey);
}

function generateFor(algorithm: IssuedKeyAlgorithm): Promise<{ privateKey: KeyObject }> {
  switch (algorithm) {
    case "ed25519":
      return generate("ed25519");
    case "ecdsa-p256":
      return generate("ec", { namedCurve: "P-256" });
    case "ecdsa-p384":
      return generate("ec", { namedCurve: "P-384" });
    case "rsa-2048":
      return generate("rsa", { modulusLength: 2048 });
    case "rsa-1024":
      return generate("rsa", { modulusLength: 1024 });
  }
}

/**
 * Reads a private key.
 *
 * @param keyPem PKCS#8 PEM, version 1 or 2, not encrypted.
 * @throws {IssueError} `key` when it cannot be read, or its algorithm is not supported.
 */
export function readSigningKey(keyPem: string): SigningKey {
  const key = parsePrivateKey(keyPem);
  if (Result.isFailure(key)) throw new IssueError({ problem: "key", detail: key.failure.detail });
  return signingKeyOf(createPrivateKey(toTlsPem(key.success)));
}

function signingKeyOf(key: KeyObject): SigningKey {
  const scheme = schemeOf(key);
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  return {
    spki,
    publicBits: Result.getOrThrow(decodeDer(spki, readPublicKey)).raw,
    signatureAlgorithm: scheme.algorithm,
    keyPem: key.export({ type: "pkcs8", format: "pem" }) as string,
    webAlgorithm: scheme.web,
    sign: (tbs, form = "x509") =>
      signAsync(scheme.digest, tbs, form === "x509" ? key : { key, dsaEncoding: "ieee-p1363" }),
  };
}

/**
 * DER of the AlgorithmIdentifier that a key's signatures carry.
 *
 * @param spki DER of the public key.
 * @throws {IssueError} `key` when its algorithm is not supported.
 */
export function signatureAlgorithmOf(spki: Uint8Array): Uint8Array {
  return schemeOf(createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" })).algorithm;
}

/**
 * What goes into certificates and requests about a key whose private half is elsewhere.
 *
 * @param spki DER of the public key.
 * @throws {IssueError} `key` when its algorithm is not supported.
 */
export function describeKey(spki: Uint8Array): Omit<KeyToCertify, "sign"> {
  const { algorithm, web } = schemeOf(createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }));
  const { raw: publicBits } = Result.getOrThrow(decodeDer(spki, readPublicKey));
  return { spki, publicBits, signatureAlgorithm: algorithm, webAlgorithm: web };
}

/** RFC 8410 §3 for Ed25519, RFC 5758 §3.2 for ECDSA, RFC 4055 §5 for RSA. */
function schemeOf(key: KeyObject): SignatureScheme {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === "ed25519") {
    return { digest: null, algorithm: sequence(oid("1.3.101.112")), web: { name: "Ed25519" } };
  }
  if (key.asymmetricKeyType === "ec" && curve === "prime256v1") {
    const web = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
    return { digest: "sha256", algorithm: sequence(oid("1.2.840.10045.4.3.2")), web };
  }
  if (key.asymmetricKeyType === "ec" && curve === "secp384r1") {
    const web = { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" } as const;
    return { digest: "sha384", algorithm: sequence(oid("1.2.840.10045.4.3.3")), web };
  }
  if (key.asymmetricKeyType === "rsa") {
    const web = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;
    return { digest: "sha256", algorithm: sequence(oid("1.2.840.113549.1.1.11"), derNull), web };
  }
  const label = [key.asymmetricKeyType, curve].filter((part) => part !== undefined).join(" ");
  throw new IssueError({ problem: "key", detail: `keys of type ${label} are not supported` });
}
