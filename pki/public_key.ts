/**
 * SubjectPublicKeyInfo: which key it is, and how long.
 *
 * @module
 */
import type { Certificate } from "./certificate.ts";
import { decodeDer, type DerCursor, tags } from "./der.ts";
import { toHex } from "./bytes.ts";
import * as Result from "effect/Result";

const curves: Readonly<Record<string, { readonly algorithm: "ecdsa-p256" | "ecdsa-p384"; readonly octets: number }>> = {
  "1.2.840.10045.3.1.7": { algorithm: "ecdsa-p256", octets: 32 },
  "1.3.132.0.34": { algorithm: "ecdsa-p384", octets: 48 },
};

const otherNames: Readonly<Record<string, string>> = {
  "1.2.840.10045.3.1.1": "ECDSA P-192",
  "1.3.132.0.33": "ECDSA P-224",
  "1.3.132.0.35": "ECDSA P-521",
  "1.3.132.0.10": "ECDSA secp256k1",
  "1.3.101.113": "Ed448",
  "1.3.101.110": "X25519",
  "1.2.840.10040.4.1": "DSA",
  "1.2.840.113549.1.1.10": "RSA-PSS",
  "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
  "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
  "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
};

/**
 * Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 5480, RFC 8410).
 *
 * A key of an algorithm, curve or form that is not known here (a curve by its parameters, a compressed point) reads as
 * `unknown`, which no policy allows.
 */
export function readPublicKey(cursor: DerCursor): Certificate["publicKey"] {
  const info = cursor.enter(tags.sequence, "subjectPublicKeyInfo");
  const spki = cursor.whole;
  const algorithm = info.enter(tags.sequence, "key algorithm");
  const oid = algorithm.oid("key algorithm");
  let parameters: string | undefined;
  if (!algorithm.done) {
    parameters = algorithm.peek() === tags.oid ? algorithm.oid("curve") : (algorithm.readAny("parameters"), "other");
    if (algorithm.tag === tags.null && algorithm.content.length === 0) parameters = "null";
  }
  algorithm.finish("key algorithm");
  const raw = info.octetBits("subjectPublicKey");
  info.finish("subjectPublicKeyInfo");
  return { spki, raw, ...classify(oid, parameters, raw) };
}

function classify(
  oid: string,
  parameters: string | undefined,
  raw: Uint8Array,
): Pick<Certificate["publicKey"], "algorithm" | "label" | "bits"> {
  if (oid === "1.3.101.112" && parameters === undefined && raw.length === 32) {
    return { algorithm: "ed25519", label: "Ed25519" };
  }
  if (oid === "1.2.840.10045.2.1") {
    const curve = parameters === undefined ? undefined : curves[parameters];
    if (curve === undefined) {
      return { algorithm: "unknown", label: otherNames[parameters ?? ""] ?? "ECDSA, other curve" };
    }
    const uncompressed = raw.length === 1 + 2 * curve.octets && raw[0] === 4;
    if (!uncompressed) return { algorithm: "unknown", label: "ECDSA, compressed point" };
    return { algorithm: curve.algorithm, label: curve.algorithm === "ecdsa-p256" ? "ECDSA P-256" : "ECDSA P-384" };
  }
  if (oid === "1.2.840.113549.1.1.1" && parameters === "null") {
    const key = readRsa(raw);
    if (key === undefined) return { algorithm: "unknown", label: "RSA, malformed" };
    if (key.exponentBits > 33 || !key.exponentOdd) return { algorithm: "unknown", label: "RSA, unusual exponent" };
    return { algorithm: "rsa", label: `RSA ${key.bits}`, bits: key.bits };
  }
  return { algorithm: "unknown", label: otherNames[oid] ?? oid };
}

/** Modulus length and exponent of an RSAPublicKey (RFC 8017 §A.1.1). */
function readRsa(raw: Uint8Array): { bits: number; exponentBits: number; exponentOdd: boolean } | undefined {
  const key = decodeDer(raw, (cursor) => {
    const pair = cursor.enter(tags.sequence, "RSAPublicKey");
    const modulus = pair.unsigned("modulus");
    const exponent = pair.unsigned("publicExponent");
    pair.finish("RSAPublicKey");
    return {
      bits: bitLength(modulus),
      exponentBits: bitLength(exponent),
      exponentOdd: (exponent.at(-1)! & 1) === 1 && toHex(exponent) !== "01",
    };
  });
  return Result.isSuccess(key) ? key.success : undefined;
}

function bitLength(octets: Uint8Array): number {
  const at = octets.findIndex((octet) => octet !== 0);
  return at < 0 ? 0 : (octets.length - at) * 8 - Math.clz32(octets[at]!) + 24;
}
