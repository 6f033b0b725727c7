/**
 * Is every certificate of a path inside its validity period?
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, labelOf } from "../certificate.ts";
import { CertificateExpired, CertificateNotYetValid, withTried } from "../refusal.ts";
import type { Path, PathsFound } from "./find_paths.ts";
import type { Proof } from "./proof.ts";

/** The candidates that are inside their validity period at `at`; at least one. Only {@linkcode checkValidity} makes one. */
export interface WithinValidity extends Proof<"WithinValidity"> {
  /** The paths that are valid at {@linkcode at}. */
  readonly paths: readonly Path[];
  /** The trust domain of each path. */
  readonly domains?: readonly (string | undefined)[];
  /** The time of the check. */
  readonly at: Date;
}

/**
 * Keeps the paths of which every certificate, the anchor's included, is valid at `at`, both ends of its period
 * included (RFC 5280 §4.1.2.5; a fraction of a second after `notAfter` is after it).
 *
 * Checks dates only. Where no path is left, the leaf's refusal takes precedence over that of a CA.
 *
 * @param found The candidates.
 * @param at The time to check for; the caller owns the clock.
 * @returns The paths left, or why none is.
 */
export function checkValidity(
  found: PathsFound,
  at: Date,
): Result.Result<WithinValidity, CertificateExpired | CertificateNotYetValid> {
  const paths: Path[] = [];
  const domains: (string | undefined)[] = [];
  let refusal: CertificateExpired | CertificateNotYetValid | undefined;
  for (const [index, path] of found.paths.entries()) {
    let outside: CertificateExpired | CertificateNotYetValid | undefined;
    for (const certificate of path) outside ??= refuseDates(certificate, at);
    if (outside === undefined) {
      paths.push(path);
      domains.push(found.domains?.[index]);
    } else refusal ??= withTried(outside, path); // the leaf is first in each path, so its refusal is the first path's
  }
  const named = found.domains === undefined ? {} : { domains };
  if (paths.length > 0) return Result.succeed({ paths, at, ...named } as unknown as WithinValidity);
  return Result.fail(refusal!);
}

/** When the first certificate of a path expires. */
export function expiryOf(path: Path): Date {
  return path.reduce((first, { period }) => period.notAfter < first ? period.notAfter : first, path[0].period.notAfter);
}

function refuseDates(certificate: Certificate, at: Date): CertificateExpired | CertificateNotYetValid | undefined {
  const { notBefore, notAfter } = certificate.period;
  if (!(at >= notBefore)) return new CertificateNotYetValid({ certificate: labelOf(certificate), at, notBefore });
  if (!(at <= notAfter)) return new CertificateExpired({ certificate: labelOf(certificate), at, notAfter });
  return undefined;
}
