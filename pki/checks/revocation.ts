/**
 * Has an issuer revoked a certificate of the path?
 *
 * @module
 */
import * as Result from "effect/Result";
import { sameBytes } from "../bytes.ts";
import { type Certificate, labelOf } from "../certificate.ts";
import {
  compareAge,
  findRevocation,
  type HeldCrl,
  inForceFrom,
  isSignedBy,
  keyOfCrl,
  newestOfEach,
  refuseBareCrl,
  type RevocationIndex,
} from "../crl.ts";
import { domainKey, effectiveNumber, markKey, newerThan, placeOf, textOf } from "../crl_marks.ts";
import { allReasons, covers, scopeName } from "../crl_scope.ts";
import {
  CertificateRevoked,
  CrlExpired,
  type CrlMalformed,
  CrlNotYetValid,
  CrlRollback,
  CrlSignature,
  type Refusal,
  RevocationUnknown,
  withTried,
} from "../refusal.ts";
import { domainOf, domainsOf, type Policy, type TrustSnapshot } from "../trust.ts";
import type { Path } from "./find_paths.ts";
import type { Proof } from "./proof.ts";
import { expiryOf, type WithinValidity } from "./validity.ts";
import { refuseUnusualCrl } from "./web_pki.ts";

/** The path that is not revoked, and when its first certificate expires. Only {@linkcode checkRevocation} makes one. */
export interface NotRevoked extends Proof<"NotRevoked"> {
  /** The path that was chosen, the leaf first. */
  readonly path: Path;
  /** When the first certificate of the path expires. */
  readonly expiresAt: Date;
  /** The trust domain that vouches for the leaf; absent where it is the node's own bundle. */
  readonly domain?: string;
}

/**
 * Picks the first path of which no certificate below the anchor is revoked (RFC 5280 §6.3).
 *
 * Where a domain has no lists every path passes. Where its lists are optional, a revoked certificate is refused and nothing else
 * counts. Where they are required, each certificate below the anchor needs a list of its issuer: signed by the next CA of the
 * path, covering the certificate and every reason, valid at `at`, the newest of its scope (all of them where several have the
 * same age), brought up to date by its delta, which a base that names its deltas must have. A list past its `nextUpdate` counts
 * for `policy.crlGraceMs` more; a list below its mark (`crl_marks.ts`) can revoke, but not clear. A list of any other domain
 * revokes too what the CA issued under whose key it verifies, on every path; it clears nothing. The anchor itself is not
 * looked up: it is distrusted by removing it from the bundle, which `makeTrustSnapshot` does when another CA of the bundle
 * revoked it.
 *
 * @param within The paths that are inside their validity period.
 * @param snapshot Revocation lists and policy of each trust domain.
 * @param at The time to check for; the caller owns the clock.
 * @returns The path and when it expires; or the refusal: a revocation takes precedence over a missing or unusable list.
 */
export function checkRevocation(
  within: WithinValidity,
  snapshot: TrustSnapshot,
  at: Date,
): Result.Result<NotRevoked, Refusal> {
  let refusal: Refusal | undefined;
  for (const [index, path] of within.paths.entries()) {
    const name = within.domains?.[index];
    const { revocation, policy } = domainOf(snapshot, name);
    const terms = { index: revocation, policy, at, domain: domainKey(name) };
    const refused = refusePath(path, terms, elsewhere(snapshot, name));
    if (refused === undefined) {
      const domain = name === undefined ? {} : { domain: name };
      return Result.succeed({ path, expiresAt: expiryOf(path), ...domain } as unknown as NotRevoked);
    }
    refusal = moreTelling(refusal, refused);
  }
  return Result.fail(refusal!);
}

/** The lists of the other domains. */
function elsewhere(snapshot: TrustSnapshot, name: string | undefined): readonly RevocationIndex[] {
  const others = domainsOf(snapshot).filter((domain) => domain.name !== name);
  return others.map(({ revocation }) => revocation).filter((index) => index !== undefined);
}

/** What a certificate is checked against. */
interface Terms {
  /** Undefined where the domain has no lists. */
  readonly index: RevocationIndex | undefined;
  readonly policy: Policy;
  readonly at: Date;
  /** As marks name it. */
  readonly domain: string;
}

function refusePath(path: Path, terms: Terms, others: readonly RevocationIndex[]): Refusal | undefined {
  let refusal: Refusal | undefined;
  const { index } = terms;
  for (let below = 0; below + 1 < path.length; below++) {
    const [certificate, issuer] = [path[below]!, path[below + 1]!];
    const found = index === undefined ? undefined : refuseRevoked(certificate, issuer, { ...terms, index });
    const own = index?.requirement === "optional" && found?.code !== "certificate-revoked" ? undefined : found;
    const refused = own?.code === "certificate-revoked"
      ? own
      : refuseRevokedElsewhere(certificate, issuer, others) ?? own;
    if (refused !== undefined) refusal = moreTelling(refusal, withTried(refused, path));
  }
  return refusal;
}

/**
 * The refusal of a certificate that a list of another domain revokes. A revocation belongs to the key that signed the list: it
 * holds on every path through that key, a partner's cross-certificate included. Such a list clears nothing.
 */
function refuseRevokedElsewhere(
  certificate: Certificate,
  issuer: Certificate,
  others: readonly RevocationIndex[],
): CertificateRevoked | undefined {
  for (const { lists } of others) {
    const signed = lists.filter((list) =>
      sameBytes(list.issuer.der, issuer.subject.der) && mayBeSignedBy(list, issuer)
    );
    for (const list of newestOfEach(signed.filter(({ scope }) => covers(scope, certificate)))) {
      const revocation = findRevocation(list, certificate.serial);
      if (revocation === undefined) continue;
      return new CertificateRevoked({ certificate: labelOf(certificate), issuer: issuer.subject.text, ...revocation });
    }
  }
  return undefined;
}

/**
 * As `isSignedBy`, for a list of another domain. No Ed25519 signature verifies under two keys, so a partner that certifies
 * namesakes of another domain's CA does not have its long lists hashed for each of them.
 */
function mayBeSignedBy(list: HeldCrl, issuer: Certificate): boolean {
  const verified = list.signatureAlgorithm === ed25519 ? keyOfCrl(list) : undefined;
  return verified === undefined ? isSignedBy(list, issuer) : verified === markKey(issuer) && isSignedBy(list, issuer);
}

const ed25519 = "1.3.101.112";

type WithIndex = Terms & { readonly index: RevocationIndex };

/** The refusal of a revoked certificate, or of one whose status is unknown; undefined where it is not revoked. */
function refuseRevoked(
  certificate: Certificate,
  issuer: Certificate,
  { index, policy, at, domain }: WithIndex,
): Refusal | undefined {
  const named = index.lists.filter((list) => sameBytes(list.issuer.der, issuer.subject.der));
  const name = issuer.subject.text;
  const unknown = (why?: string) =>
    new RevocationUnknown({ certificate: labelOf(certificate), issuer: name, ...(why === undefined ? {} : { why }) });
  if (named.length === 0) return unknown();
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes("cRLSign")) {
    return new CrlSignature({ issuer: name, detail: "its issuer's key usage lacks cRLSign" });
  }
  const signed = named.filter((list) => isSignedBy(list, issuer));
  if (signed.length === 0) {
    return new CrlSignature({ issuer: name, detail: "signature does not verify under the key of that name" });
  }
  const relevant = newestOfEach(signed.filter(({ scope }) => covers(scope, certificate)));
  let refusal: Refusal | undefined;
  let reasons = 0;
  for (const list of relevant) {
    const revocation = findRevocation(list, certificate.serial);
    if (revocation !== undefined) {
      return new CertificateRevoked({ certificate: labelOf(certificate), issuer: name, ...revocation });
    }
    if (list.baseNumber !== undefined) continue;
    const refused = refuseOlder(list, relevant, { issuer, index, domain }) ?? refuseCrlForm(list, policy) ??
      refuseDates(list, policy, at) ??
      (isBaseAlone(list) ? unknown("its issuer's list needs a delta list") : undefined);
    if (refused === undefined) reasons |= list.scope.reasons;
    refusal ??= refused;
  }
  if (reasons === allReasons) return undefined;
  return refusal ?? unknown("no list covers it, and every reason to revoke it");
}

/** A list older than one used before can revoke, but not clear. `relevant`: the list and the others of its issuer. */
function refuseOlder(
  list: HeldCrl,
  relevant: readonly HeldCrl[],
  { issuer, index, domain }: Pick<WithIndex, "index" | "domain"> & { readonly issuer: Certificate },
): CrlRollback | undefined {
  if (index.marks === undefined) return undefined;
  const scope = scopeName(list.scope);
  const mark = index.marks[placeOf(domain, markKey(issuer), scope)];
  const unapplied = mark?.unapplied === undefined
    ? undefined
    : relevant.filter((each) => each.baseNumber !== undefined && scopeName(each.scope) === scope).sort(compareAge).at(
      -1,
    );
  const age = { number: effectiveNumber(list), thisUpdate: list.thisUpdate.getTime(), unapplied };
  const seen = newerThan(age, mark);
  if (seen === undefined) return undefined;
  return new CrlRollback({ issuer: issuer.subject.text, number: textOf(age), seen });
}

/** Checks a list and its delta against the policy's profile, and against the rules of the Web PKI where it requires them. */
function refuseCrlForm(list: HeldCrl, policy: Policy): CrlMalformed | undefined {
  const bare = policy.profile === "rfc5280" ? refuseBareCrl(list) : undefined;
  if (bare !== undefined || policy.webPki !== "require") return bare;
  return refuseUnusualCrl(list) ?? (list.delta && refuseUnusualCrl(list.delta));
}

/** A base without its delta: a peer that withholds deltas would hide revocations for as long as the base is valid. */
const isBaseAlone = ({ isBase, delta }: HeldCrl): boolean => isBase === true && delta === undefined;

/** A list outside its dates clears no certificate; its entries still revoke. */
function refuseDates(list: HeldCrl, policy: Policy, at: Date): CrlNotYetValid | CrlExpired | undefined {
  const { nextUpdate } = list;
  const thisUpdate = inForceFrom(list);
  const issuer = list.issuer.text;
  if (!(at >= thisUpdate)) return new CrlNotYetValid({ issuer, at, thisUpdate });
  if (!(at.getTime() <= nextUpdate.getTime() + policy.crlGraceMs)) return new CrlExpired({ issuer, at, nextUpdate });
  return undefined;
}

function moreTelling(before: Refusal | undefined, next: Refusal): Refusal {
  if (before === undefined) return next;
  return before.code !== "certificate-revoked" && next.code === "certificate-revoked" ? next : before;
}
