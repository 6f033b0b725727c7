/**
 * Is the leaf's key of an allowed kind? The same question for CAs.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, type KeyAlgorithm, labelOf } from "../certificate.ts";
import { UnsupportedKeyAlgorithm } from "../refusal.ts";
import { isKnownSignature } from "../signature.ts";
import type { Policy } from "../trust.ts";
import type { Proof } from "./proof.ts";
import type { WellFormed } from "./well_formed.ts";

/** Proof that the leaf's key algorithm is allowed. Only {@linkcode checkAlgorithm} makes one. */
export interface AlgorithmAllowed extends Proof<"AlgorithmAllowed"> {
  /** The algorithm of the leaf's key, for people. */
  readonly label: string;
}

/** Shortest RSA modulus in bits (specification: "Certificate Requirements"; CA/Browser Forum baseline §6.1.5). */
export const rsaBitsMin = 2_048;
/** Longest RSA modulus in bits: checking a signature grows with its square. */
export const rsaBitsMax = 8_192;

/**
 * Checks that the leaf's key is of an algorithm that the policy allows for leaves, and that its signature is of one
 * that can be checked.
 *
 * Verifies no signature and looks at no CA: `findPaths` does both.
 *
 * @returns Proof of the check, or `unsupported-key-algorithm`.
 */
export function checkAlgorithm(
  wellFormed: WellFormed,
  policy: Policy,
): Result.Result<AlgorithmAllowed, UnsupportedKeyAlgorithm> {
  const { leaf } = wellFormed;
  const refusal = refuseKey(leaf, policy.leafAlgorithms) ?? refuseSignatureAlgorithm(leaf, policy.caAlgorithms);
  if (refusal !== undefined) return Result.fail(refusal);
  return Result.succeed({ label: leaf.publicKey.label } as unknown as AlgorithmAllowed);
}

/** Why a certificate's key is not allowed; undefined where it is. */
export function refuseKey(
  certificate: Certificate,
  allowed: readonly KeyAlgorithm[],
): UnsupportedKeyAlgorithm | undefined {
  const { algorithm, label, bits } = certificate.publicKey;
  const refuse = (what: string) =>
    new UnsupportedKeyAlgorithm({ certificate: labelOf(certificate), algorithm: what, allowed });
  if (algorithm === "unknown" || !allowed.includes(algorithm)) return refuse(label);
  if (bits !== undefined && (bits < rsaBitsMin || bits > rsaBitsMax || bits % 8 !== 0)) {
    return refuse(`${label} (RSA needs ${rsaBitsMin} to ${rsaBitsMax} bits, in whole octets)`);
  }
  return undefined;
}

/** Why the algorithm of the signature on a certificate is not one that is checked here; undefined where it is. */
export function refuseSignatureAlgorithm(
  certificate: Certificate,
  allowed: readonly KeyAlgorithm[],
): UnsupportedKeyAlgorithm | undefined {
  if (isKnownSignature(certificate.signatureAlgorithm)) return undefined;
  const algorithm = `signature algorithm ${certificate.signatureAlgorithm}`;
  return new UnsupportedKeyAlgorithm({ certificate: labelOf(certificate), algorithm, allowed });
}
