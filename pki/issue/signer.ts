/**
 * Where a CA's key is: a port, so that the key need not be in this process.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { decodeDer, tags } from "../der.ts";
import {
  describeKey,
  type KeyToCertify,
  readSigningKey,
  signatureAlgorithmOf,
  type WebAlgorithm,
} from "./signing_key.ts";

/** Signs with one key. */
export interface Signer {
  /** DER of the public key (SubjectPublicKeyInfo). */
  readonly spki: () => Uint8Array;
  /** Signs bytes; the signature as X.509 has it. Rejects when the key cannot be used now. */
  readonly sign: (bytes: Uint8Array) => Promise<Uint8Array>;
  /** Why the key cannot sign now; undefined while it can, as far as is known. A key in this process always can. */
  readonly failure?: () => Error | undefined;
}

/** A key that signs what is issued, and the algorithm that its signatures name. */
export interface IssuerKey {
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** DER of the AlgorithmIdentifier that goes with each signature. */
  readonly signatureAlgorithm: Uint8Array;
  /** Signs. */
  readonly sign: (tbs: Uint8Array) => Promise<Uint8Array>;
}

/**
 * A signer with a key that is in this process.
 *
 * @param keyPem PKCS#8 PEM, not encrypted.
 * @throws {IssueError} `key` when it cannot be read, or its algorithm is not supported.
 */
export function fileSigner(keyPem: string): Signer {
  const key = readSigningKey(keyPem);
  return { spki: () => key.spki, sign: (bytes) => key.sign(bytes) };
}

/**
 * The key of a signer as issuing takes it.
 *
 * @throws {IssueError} `key` when its algorithm is not supported.
 */
export function issuerKeyOf(signer: Signer): IssuerKey {
  const spki = signer.spki();
  return { spki, signatureAlgorithm: signatureAlgorithmOf(spki), sign: signer.sign };
}

/**
 * The key of a signer as something that is certified: a root, an intermediate, what a request is about.
 *
 * @throws {IssueError} `key` when its algorithm is not supported.
 */
export function keyOfSigner(signer: Signer): KeyToCertify {
  const described = describeKey(signer.spki());
  return {
    ...described,
    sign: async (bytes, form = "x509") => {
      const signature = await signer.sign(bytes);
      return form === "x509" ? signature : sideBySide(signature, described.webAlgorithm);
    },
  };
}

/** ECDSA's two numbers from DER (RFC 3279 §2.2.3), each as long as the curve's order; other signatures have one form. */
function sideBySide(signature: Uint8Array, { namedCurve }: WebAlgorithm): Uint8Array {
  if (namedCurve === undefined) return signature;
  const size = namedCurve === "P-256" ? 32 : 48;
  const numbers = Result.getOrThrow(decodeDer(signature, (outermost) => {
    const pair = outermost.enter(tags.sequence, "the signature");
    return [pair.unsigned("r"), pair.unsigned("s")];
  }));
  const octets = numbers.map((number) => Buffer.concat([Buffer.alloc(size), number]).subarray(-size));
  return Buffer.concat(octets);
}
