/**
 * Where a CA's key is: a port, so that the key need not be in this process.
 *
 * @module
 */
import { readSigningKey, signatureAlgorithmOf } from "./signing_key.ts";

/** Signs with one key. */
export interface Signer {
  /** DER of the public key (SubjectPublicKeyInfo). */
  readonly spki: () => Uint8Array;
  /** Signs bytes; the signature as X.509 has it. Rejects when the key cannot be used now. */
  readonly sign: (bytes: Uint8Array) => Promise<Uint8Array>;
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
