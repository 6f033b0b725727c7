/**
 * Checking signatures with node:crypto.
 *
 * @module
 */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { toHex } from "./bytes.ts";
import type { Certificate, KeyAlgorithm } from "./certificate.ts";

type PublicKey = Certificate["publicKey"];

const signatureAlgorithms: Readonly<
  Record<string, { readonly keys: readonly KeyAlgorithm[]; readonly hash: string | null }>
> = {
  "1.3.101.112": { keys: ["ed25519"], hash: null },
  "1.2.840.10045.4.3.2": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha256" },
  "1.2.840.10045.4.3.3": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha384" },
  "1.2.840.10045.4.3.4": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha512" },
  "1.2.840.113549.1.1.11": { keys: ["rsa"], hash: "sha256" },
  "1.2.840.113549.1.1.12": { keys: ["rsa"], hash: "sha384" },
  "1.2.840.113549.1.1.13": { keys: ["rsa"], hash: "sha512" },
};

/** Keys made of SPKIs, the oldest thrown out first: making one costs as much as verifying with it. */
const keys = new Map<string, KeyObject>();
/** Keys kept. They are CAs' keys, of which a network has a handful; a stranger's may come and go. */
const keysMax = 256;

/** Whether a signature algorithm (OID) is one that is checked here at all. SHA-1, MD5 and PSS are not. */
export function isKnownSignature(algorithm: string): boolean {
  return signatureAlgorithms[algorithm] !== undefined;
}

/**
 * Whether `signature` over `data` verifies under `publicKey`. An algorithm that is unknown or does not belong to the
 * key, and a key or signature that the library rejects, count as not verifying.
 */
export function verifySignature(
  signed: { readonly data: Uint8Array; readonly algorithm: string; readonly signature: Uint8Array },
  publicKey: PublicKey,
): boolean {
  const method = signatureAlgorithms[signed.algorithm];
  if (method === undefined || !method.keys.includes(publicKey.algorithm)) return false;
  try {
    return verify(method.hash, signed.data, keyOf(publicKey), signed.signature);
  } catch {
    return false; // node:crypto throws for keys and signatures that it cannot even read
  }
}

function keyOf({ spki }: PublicKey): KeyObject {
  const name = toHex(spki);
  const known = keys.get(name);
  if (known !== undefined) return known;
  const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  if (keys.size >= keysMax) keys.delete(keys.keys().next().value!);
  keys.set(name, key);
  return key;
}
