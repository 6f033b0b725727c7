/**
 * Checking signatures with node:crypto.
 *
 * @module
 */
import { constants, createPublicKey, type KeyObject, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { toHex } from "./bytes.ts";
import type { Certificate, KeyAlgorithm } from "./certificate.ts";

type PublicKey = Certificate["publicKey"];

/** How signatures of an algorithm are checked: with which keys and hash; of RSA-PSS, the octets of salt. */
interface Method {
  readonly keys: readonly KeyAlgorithm[];
  readonly hash: string | null;
  readonly saltLength?: number;
}

const signatureAlgorithms: Readonly<Record<string, Method>> = {
  "1.3.101.112": { keys: ["ed25519"], hash: null },
  "1.2.840.10045.4.3.2": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha256" },
  "1.2.840.10045.4.3.3": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha384" },
  "1.2.840.10045.4.3.4": { keys: ["ecdsa-p256", "ecdsa-p384"], hash: "sha512" },
  "1.2.840.113549.1.1.11": { keys: ["rsa"], hash: "sha256" },
  "1.2.840.113549.1.1.12": { keys: ["rsa"], hash: "sha384" },
  "1.2.840.113549.1.1.13": { keys: ["rsa"], hash: "sha512" },
  ...Object.fromEntries([["sha256", 1, 32], ["sha384", 2, 48], ["sha512", 3, 64]].flatMap(pssMethods)),
};

/**
 * RSA-PSS (RFC 4055 §3.1) with the parameters that are in use: one hash throughout and a salt of its length. The hash's own
 * parameters may be NULL or absent (§2.1), so that there are two spellings of each.
 */
function pssMethods([hash, arc, salt]: (string | number)[]): (readonly [string, Method])[] {
  const wrap = (tag: string, content: string) => tag + (content.length / 2).toString(16).padStart(2, "0") + content;
  return ["", "0500"].map((end) => {
    const digest = wrap("30", `06096086480165030402${Number(arc).toString(16).padStart(2, "0")}${end}`);
    const mask = wrap("30", `06092a864886f70d010108${digest}`);
    const parameters = wrap(
      "30",
      wrap("a0", digest) + wrap("a1", mask) + wrap("a2", `0201${Number(salt).toString(16)}`),
    );
    return [`1.2.840.113549.1.1.10 with parameters ${parameters}`, {
      keys: ["rsa"],
      hash: String(hash),
      saltLength: Number(salt),
    }] as const;
  });
}

/** Keys made of SPKIs, the oldest thrown out first: making one costs as much as verifying with it. */
const keys = new Map<string, KeyObject>();
/** Keys cached. They are CAs' keys, of which a network has a few; keys from unknown peers evict each other. */
const keysMax = 256;

/** Whether a signature algorithm (OID) is one that is checked here at all. SHA-1 and MD5 are not. */
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
    const { hash, saltLength } = method;
    const key = keyOf(publicKey);
    if (saltLength === undefined) return verify(hash, signed.data, key, signed.signature);
    return verify(hash, signed.data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signed.signature);
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
