/**
 * First check of the gate: is what the peer sent a chain of certificates at all?
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, parseCertificate } from "../certificate.ts";
import type { WellFormed } from "../path.ts";
import { BudgetExceeded, type MalformedCertificate, NoCertificate } from "../refusal.ts";

/** Certificates a peer may send: a path of {@linkcode pathLengthMax} and two to spare. OpenSSL's own limit is 100. */
export const chainCertificatesMax = 10;

/** How much a peer may send. */
export interface ChainLimits {
  /** Certificates of a chain; {@linkcode chainCertificatesMax} where undefined. */
  readonly certificatesMax?: number | undefined;
}

/**
 * Parses the chain that a peer sent, leaf first.
 *
 * Checks form and size only; which of the others belong to the leaf is for `findPaths` to find out.
 *
 * @param chain DER of each certificate, leaf first, the others in any order.
 * @returns The parsed chain; or `no-certificate`, `malformed-certificate`, or `budget-exceeded` where there are too many.
 */
export function checkWellFormed(
  chain: readonly Uint8Array[],
  { certificatesMax = chainCertificatesMax }: ChainLimits = {},
): Result.Result<WellFormed, NoCertificate | MalformedCertificate | BudgetExceeded> {
  if (chain.length === 0) return Result.fail(new NoCertificate({ detail: "it sent no certificate" }));
  if (chain.length > certificatesMax) {
    return Result.fail(new BudgetExceeded({ what: "certificates in a chain", max: certificatesMax }));
  }
  const certificates: Certificate[] = [];
  for (const [index, der] of chain.entries()) {
    const parsed = parseCertificate(der, index);
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure);
    certificates.push(parsed.success);
  }
  const [leaf, ...others] = certificates as [Certificate, ...Certificate[]];
  return Result.succeed({ leaf, others } as unknown as WellFormed);
}
