/**
 * Is what the peer sent a chain of X.509 certificates, within its limits?
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, parseCertificate } from "../certificate.ts";
import { BudgetExceeded, type MalformedCertificate, NoCertificate } from "../refusal.ts";
import type { Proof } from "./proof.ts";

/**
 * A chain that parsed: the leaf and the other certificates that the peer sent, in their order. Only
 * {@linkcode checkWellFormed} makes one.
 */
export interface WellFormed extends Proof<"WellFormed"> {
  /** The peer's certificate. */
  readonly leaf: Certificate;
  /** What else the peer sent. */
  readonly others: readonly Certificate[];
}

/** Certificates a peer may send: a path of {@linkcode pathLengthMax} and two to spare. OpenSSL's own limit is 100. */
export const chainCertificatesMax = 10;

/**
 * Octets of a chain: 30 KiB, and 3 KiB for each certificate where a caller allows more of them. Honest chains have one to
 * six thousand. Every certificate is parsed before a signature is checked: this bounds what a stranger's chain costs.
 */
export function chainOctetsMax(certificatesMax: number): number {
  return Math.max(certificatesMax, chainCertificatesMax) * 3 * 1024;
}

/** How much a peer may send. */
export interface ChainLimits {
  /** Certificates of a chain; {@linkcode chainCertificatesMax} where undefined. */
  readonly certificatesMax?: number | undefined;
}

/**
 * Parses the chain that a peer sent, leaf first.
 *
 * Checks form and size only: `findPaths` finds out which of the other certificates belong to the leaf.
 *
 * @param chain DER of each certificate, leaf first, the others in any order.
 * @returns The parsed chain; or `no-certificate`, `malformed-certificate`, or `budget-exceeded` where it is too
 * large: then no certificate of it is parsed.
 */
export function checkWellFormed(
  chain: readonly Uint8Array[],
  limits: ChainLimits = {},
): Result.Result<WellFormed, NoCertificate | MalformedCertificate | BudgetExceeded> {
  if (chain.length === 0) return Result.fail(new NoCertificate({ detail: "it sent no certificate" }));
  const tooLarge = refuseSize(chain, limits);
  if (tooLarge !== undefined) return Result.fail(tooLarge);
  const certificates: Certificate[] = [];
  for (const [index, der] of chain.entries()) {
    const parsed = parseCertificate(der, index);
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure);
    certificates.push(parsed.success);
  }
  const [leaf, ...others] = certificates as [Certificate, ...Certificate[]];
  return Result.succeed({ leaf, others } as unknown as WellFormed);
}

/** Why a chain is too large; undefined where it is not. */
export function refuseSize(
  chain: readonly Uint8Array[],
  { certificatesMax = chainCertificatesMax }: ChainLimits,
): BudgetExceeded | undefined {
  if (chain.length > certificatesMax) {
    return new BudgetExceeded({ what: "certificates in a chain", max: certificatesMax });
  }
  const max = chainOctetsMax(certificatesMax);
  const octets = chain.reduce((sum, der) => sum + der.length, 0);
  return octets > max ? new BudgetExceeded({ what: "octets in a chain", max }) : undefined;
}
