/**
 * Fifth check of the gate: has an issuer taken a certificate of the path back?
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../bytes.ts";
import { type Certificate, labelOf } from "../certificate.ts";
import { findRevocation, isSignedBy, type RevocationIndex, type RevocationList } from "../crl.ts";
import type { NotRevoked, Path, WithinValidity } from "../path.ts";
import {
  CertificateRevoked,
  CrlExpired,
  CrlNotYetValid,
  CrlSignature,
  type Refusal,
  RevocationUnknown,
} from "../refusal.ts";
import type { Policy, TrustSnapshot } from "../trust.ts";
import { expiryOf } from "./validity.ts";

/**
 * Picks the first path of which no certificate below the anchor is revoked (RFC 5280 §6.3, complete lists only).
 *
 * With no revocation list configured every path passes. With any, each certificate below the anchor needs a list of
 * its issuer: signed by the CA that stands above it on the path, in force at `at`, of several the newest. A list past
 * its `nextUpdate` counts for `policy.crlGraceMs` more. The anchor itself is not looked up: trust in it is withdrawn
 * by taking it out of the bundle, which `makeTrustSnapshot` does when the bundle's own CA revoked it.
 *
 * @param within The paths that are inside their validity period.
 * @param snapshot Revocation lists and policy.
 * @param at The time to check for; the caller owns the clock.
 * @returns The path and when it ends; or the refusal: a revocation before a list that is missing or no good.
 */
export function checkRevocation(
  within: WithinValidity,
  snapshot: TrustSnapshot,
  at: Date,
): Result.Result<NotRevoked, Refusal> {
  let refusal: Refusal | undefined;
  for (const path of within.paths) {
    const refused = snapshot.revocation && refusePath(path, snapshot.revocation, snapshot.policy, at);
    if (refused === undefined) return Result.succeed({ path, expiresAt: expiryOf(path) } as unknown as NotRevoked);
    refusal = moreTelling(refusal, refused);
  }
  return Result.fail(refusal!);
}

function refusePath(path: Path, index: RevocationIndex, policy: Policy, at: Date): Refusal | undefined {
  let refusal: Refusal | undefined;
  for (let below = 0; below + 1 < path.length; below++) {
    const refused = refuseRevoked(path[below]!, path[below + 1]!, { index, policy, at });
    if (refused !== undefined) refusal = moreTelling(refusal, refused);
  }
  return refusal;
}

/** Why a certificate is revoked, or why that cannot be told; undefined where it is not. */
function refuseRevoked(
  certificate: Certificate,
  issuer: Certificate,
  { index, policy, at }: { readonly index: RevocationIndex; readonly policy: Policy; readonly at: Date },
): Refusal | undefined {
  const named = index.lists.filter((list) => sameBytes(list.issuer.der, issuer.subject.der));
  const name = issuer.subject.text;
  if (named.length === 0) return new RevocationUnknown({ certificate: labelOf(certificate), issuer: name });
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes("cRLSign")) {
    return new CrlSignature({ issuer: name, detail: "its issuer's key usage lacks cRLSign" });
  }
  const list = named.find((candidate) => isSignedBy(candidate, issuer));
  if (list === undefined) {
    return new CrlSignature({ issuer: name, detail: "signature does not verify under the key of that name" });
  }
  const revocation = findRevocation(list, certificate.serial);
  if (revocation !== undefined) {
    return new CertificateRevoked({ certificate: labelOf(certificate), issuer: name, ...revocation });
  }
  return refuseDates(list, policy, at);
}

/** A list that is not in force clears nobody, but what it revokes stays revoked. */
function refuseDates(list: RevocationList, policy: Policy, at: Date): CrlNotYetValid | CrlExpired | undefined {
  const { thisUpdate, nextUpdate } = list;
  const issuer = list.issuer.text;
  if (!(at >= thisUpdate)) return new CrlNotYetValid({ issuer, at, thisUpdate });
  if (!(at.getTime() <= nextUpdate.getTime() + policy.crlGraceMs)) return new CrlExpired({ issuer, at, nextUpdate });
  return undefined;
}

function moreTelling(before: Refusal | undefined, next: Refusal): Refusal {
  if (before === undefined) return next;
  return before.code !== "certificate-revoked" && next.code === "certificate-revoked" ? next : before;
}
