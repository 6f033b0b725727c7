/**
 * Which paths lead from the leaf to an anchor?
 *
 * A depth-first search over the anchors and what the peer sent. Every signature it verifies is counted against a budget, and
 * every link it tries against another: a link whose signature is known costs no check, but leads to as many orders of the
 * certificates.
 *
 * @module
 */
import * as Result from "effect/Result";
import { sameBytes } from "../bytes.ts";
import { type Certificate, isSelfIssued, labelOf } from "../certificate.ts";
import {
  BadSignature,
  BudgetExceeded,
  ExtendedKeyUsage,
  KeyUsage,
  NameConstraint,
  NotACa,
  PathTooLong,
  type Refusal,
  RoleNotAllowed,
  SelfSigned,
  UnknownCriticalExtension,
  UnknownIssuer,
  withTried,
} from "../refusal.ts";
import { isKnownSignature, verifySignature } from "../signature.ts";
import { domainsOf, type Policy, type TrustDomain, type TrustSnapshot } from "../trust.ts";
import { refuseKey, refuseSignatureAlgorithm } from "./algorithm.ts";
import { moreTelling } from "./more_telling.ts";
import { type ComparisonBudget, refuseNames } from "./name_constraints.ts";
import { type Place, refuseBare } from "./profile.ts";
import type { Proof } from "./proof.ts";
import { refuseUnusual } from "./web_pki.ts";
import type { WellFormed } from "./well_formed.ts";

/** One candidate: leaf first, the anchor last. */
export type Path = readonly [leaf: Certificate, ...issuers: Certificate[]];

/** Candidate paths whose signatures and constraints hold; at least one. Only {@linkcode findPaths} makes one. */
export interface PathsFound extends Proof<"PathsFound"> {
  /** The paths that verify, in the order in which they are tried. */
  readonly paths: readonly Path[];
  /** Trust domain of each path's anchor; absent where all are of the node's own bundle. */
  readonly domains?: readonly (string | undefined)[];
  /** How many signatures were verified to find them. */
  readonly signatureChecks: number;
  /** The search in each domain that cost a signature. */
  readonly searches: readonly DomainSearch[];
}

/** What the search in one trust domain found. */
export interface DomainSearch {
  /** The domain's name; undefined for the node's own bundle. */
  readonly name: string | undefined;
  /** The domain's `anchorsId` of that time. */
  readonly anchorsId: string;
  /** The paths that verify. */
  readonly paths: readonly Path[];
  /** The most specific reason why there is none, or why others were left out. */
  readonly refusal: Refusal | undefined;
}

/** Certificates of one path, leaf and anchor included. webpki allows 6 CAs between; deployments here have 1 or 2. */
export const pathLengthMax = 8;
/** Signatures verified in one search, of one trust domain (Go crypto/x509: `maxChainSignatureChecks`; webpki has the same). */
export const signatureChecksMax = 100;
/**
 * Links tried in one search, those included whose signature is known: of each trust domain, and between certificates that the
 * peer sent, of all domains together.
 */
export const linksTriedMax = 500;
/** Candidates kept, of each trust domain. More than one comes of renewed and cross-signed CAs only. */
export const pathsMax = 16;

/** Purposes that a node's certificate must be good for: every node dials and is dialled (RFC 5280 §4.2.1.12). */
export const nodePurposes = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"] as const;

/** What a caller may ask of paths beyond the policy. */
export interface PathLimits {
  /** CAs allowed between leaf and anchor, those that are self-issued not counted; as the policy has it where undefined. */
  readonly intermediatesMax?: number | undefined;
  /** A counter to which the search adds its cost, whether it succeeds or not. */
  readonly spending?: { signatureChecks: number } | undefined;
  /** Whether the issuer's signature on the child is known to be good: a check that costs nothing. */
  readonly isKnownLink?: ((child: Certificate, issuer: Certificate) => boolean) | undefined;
  /** What was found for the same chain before: domains that did not change since then are not searched again. */
  readonly before?: PathsFound | undefined;
}

/**
 * Finds the paths from the leaf to an anchor on which every signature verifies and every constraint holds: CA flag,
 * key usage, extended key usage, path length, name constraints, critical extensions, algorithms of the CAs, what the
 * anchor's trust domain may speak for (RFC 5280 §6.1). The others may come in any order, and unrelated ones do no harm.
 * Key identifiers order the search and prove nothing.
 *
 * Looks at no date and at no revocation list: `checkValidity` and `checkRevocation` do.
 *
 * @param wellFormed The chain that the peer sent.
 * @param snapshot Anchors and policy, of each trust domain its own. An anchor may be an intermediate; it is held to its
 * own constraints too.
 * @returns At least one path; or the most specific reason why there is none, with the path tried.
 */
export function findPaths(
  wellFormed: WellFormed,
  snapshot: TrustSnapshot,
  limits: PathLimits = {},
): Result.Result<PathsFound, Refusal> {
  const { leaf } = wellFormed;
  const { isKnownLink = () => false, before } = limits;
  const links: Links = { verified: new Map(), isKnownLink, tried: 0 };
  const paths: Path[] = [];
  const domains: (string | undefined)[] = [];
  const searches: DomainSearch[] = [];
  let signatureChecks = 0;
  let refusal: Refusal | undefined;
  const all = domainsOf(snapshot);
  const knownOf = ({ name, anchorsId }: TrustDomain) =>
    before?.searches.find((search) => search.name === name && search.anchorsId === anchorsId);
  const isKnown = before !== undefined && all.some((domain) => (knownOf(domain)?.paths.length ?? 0) > 0);
  for (const domain of all) {
    const { name, anchorsId } = domain;
    const explains = paths.length === 0 && !isKnown;
    const found = knownOf(domain) ?? searchDomain(wellFormed, domain, { links, limits, explains });
    paths.push(...found.paths);
    domains.push(...found.paths.map(() => name));
    refusal = moreTelling(refusal, found.refusal);
    if ("spent" in found) signatureChecks += found.spent;
    // A search that verified nothing is not worth keeping: there may be a hundred domains.
    if (found.paths.length > 0 || !("spent" in found) || found.spent > 0) {
      searches.push({ name, anchorsId, paths: found.paths, refusal: found.refusal });
    }
  }
  if (limits.spending !== undefined) limits.spending.signatureChecks += signatureChecks;
  if (paths.length === 0) return Result.fail(refusal ?? withTried(unknownIssuer(leaf), [leaf]));
  const named = domains.some((name) => name !== undefined) ? { domains } : {};
  return Result.succeed({ paths, signatureChecks, searches, ...named } as unknown as PathsFound);
}

/** The same proof for a chain whose search is cached: to find its paths again verifies no signature. */
export function withoutSearch(found: PathsFound): PathsFound {
  return { ...found, signatureChecks: 0 } as unknown as PathsFound;
}

/** Signatures that were verified for one leaf, by child and issuer: a link of several paths, or domains, costs one check. */
interface Links {
  readonly verified: Map<Certificate, Map<Certificate, boolean>>;
  readonly isKnownLink: NonNullable<PathLimits["isKnownLink"]>;
  /** Links tried between certificates that the peer sent, of all domains: each domain tries the same ones again. */
  tried: number;
}

/** The budget of the search in one trust domain: no domain spends another's. */
interface Spent {
  readonly names: ComparisonBudget;
  signatureChecks: number;
  linksTried: number;
  exhausted: boolean;
}

interface Search {
  readonly domain: TrustDomain;
  readonly policy: Policy;
  readonly anchors: readonly Certificate[];
  readonly sent: readonly Certificate[];
  readonly limits: PathLimits;
  /** Whether an unknown issuer is recorded. Where another domain has a path it is not needed, and creating the error costs a stack trace. */
  readonly explains: boolean;
  readonly links: Links;
  readonly spent: Spent;
  readonly paths: Path[];
  refusal: Refusal | undefined;
}

function searchDomain(
  wellFormed: WellFormed,
  domain: TrustDomain,
  common: Pick<Search, "links" | "limits" | "explains">,
): Pick<DomainSearch, "paths" | "refusal"> & { readonly spent: number } {
  const search = startSearch(wellFormed, domain, common);
  const { leaf } = wellFormed;
  const refused = refuseLeaf(search, leaf);
  if (refused === undefined) extend(search, [leaf]);
  else note(search, refused, [leaf]);
  return { paths: search.paths, refusal: search.refusal, spent: search.spent.signatureChecks };
}

function startSearch(
  { leaf, others }: WellFormed,
  domain: TrustDomain,
  common: Pick<Search, "links" | "limits" | "explains">,
): Search {
  const anchors = new Set(domain.anchors.map(({ fingerprint }) => fingerprint));
  const seen = new Set([leaf.fingerprint]);
  // A sent copy of an anchor only leads the long way round, and the leaf issues nothing.
  const sent = others.filter(({ fingerprint }) => {
    if (anchors.has(fingerprint) || seen.has(fingerprint)) return false;
    seen.add(fingerprint);
    return true;
  });
  const spent: Spent = { names: { comparisons: 0 }, signatureChecks: 0, linksTried: 0, exhausted: false };
  return {
    domain,
    policy: domain.policy,
    anchors: domain.anchors,
    sent,
    ...common,
    spent,
    paths: [],
    refusal: undefined,
  };
}

/** Refusals of a leaf that do not depend on its issuer. */
function refuseLeaf(search: Search, leaf: Certificate): Refusal | undefined {
  const certificate = labelOf(leaf);
  if (isSelfSigned(search, leaf)) return new SelfSigned({ certificate });
  if (leaf.basicConstraints?.ca === true) {
    return new KeyUsage({ certificate, needed: "use by a node: it is a CA's certificate" });
  }
  if (leaf.keyUsage !== undefined && !leaf.keyUsage.includes("digitalSignature")) {
    return new KeyUsage({ certificate, needed: "digitalSignature" });
  }
  if (leaf.keyUsage?.includes("keyCertSign") === true) {
    return new KeyUsage({ certificate, needed: "restraint: only a CA may have keyCertSign (RFC 5280 §4.2.1.3)" });
  }
  return refuseKey(leaf, search.policy.leafAlgorithms) ?? refusePurposes(search.policy, leaf) ?? refuseCritical(leaf) ??
    refuseForm(search, leaf, "leaf") ??
    // The leaf of a partner is none of the node's own bundle: its claim is wrong only where a path of this bundle exists.
    (search.domain.name === undefined ? undefined : refuseClaims(search.domain, leaf));
}

/** Extends `path` by each certificate that may have issued its last one; collects complete paths. */
function extend(search: Search, path: Path): void {
  const last = path.at(-1)!;
  const issued = (issuer: Certificate) =>
    sameBytes(issuer.subject.der, last.issuer.der) && !path.some((earlier) => sameKeyAndName(earlier, issuer));
  const anchors = byKeyId(search.anchors.filter(issued), last);
  const sent = byKeyId(search.sent.filter(issued), last);
  if (search.explains && anchors.length + sent.length === 0) note(search, unknownIssuer(last), path);
  for (const [index, issuer] of [...anchors, ...sent].entries()) {
    if (search.spent.exhausted || search.paths.length === pathsMax) return;
    const anchored = index < anchors.length;
    const longer: Path = [...path, issuer];
    const refusal = refuseLink(search, path, { issuer, anchored });
    if (refusal !== undefined) note(search, refusal, longer);
    else if (!anchored) extend(search, longer);
    else {
      const outside = refuseNames(longer, search.spent.names) ??
        (search.domain.name === undefined ? refuseClaims(search.domain, path[0]) : undefined);
      if (outside === undefined) search.paths.push(longer);
      else note(search, outside, longer);
    }
  }
}

/**
 * Why `issuer`, whose name fits, cannot stand next on `path`. The signature comes first, so that the other reasons are
 * given only for a certificate that did sign.
 */
function refuseLink(
  search: Search,
  path: Path,
  { issuer, anchored }: { readonly issuer: Certificate; readonly anchored: boolean },
): Refusal | undefined {
  const certificate = labelOf(issuer);
  const child = path.at(-1)!;
  if (isExhausting(search, anchored)) return new BudgetExceeded({ what: "links tried", max: linksTriedMax });
  if (path.length >= pathLengthMax) return new PathTooLong({ certificate, max: pathLengthMax - 2 });
  const { caAlgorithms } = search.policy;
  const algorithm = refuseSignatureAlgorithm(child, caAlgorithms) ?? refuseKey(issuer, caAlgorithms);
  if (algorithm !== undefined) return algorithm;
  const signed = signedBy(search, child, issuer);
  if (signed === undefined) return new BudgetExceeded({ what: "signature checks", max: signatureChecksMax });
  if (!signed) return new BadSignature({ certificate: labelOf(child), issuer: issuer.subject.text });
  if (issuer.basicConstraints?.ca !== true) return new NotACa({ certificate });
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes("keyCertSign")) {
    return new KeyUsage({ certificate, needed: "keyCertSign" });
  }
  // Self-issued certificates (a CA's new key signed by its old one) do not count (RFC 5280 §4.2.1.9).
  const below = path.slice(1).filter((ca) => !isSelfIssued(ca)).length;
  const { pathLength } = issuer.basicConstraints;
  if (pathLength !== undefined && below > pathLength) return new PathTooLong({ certificate, max: pathLength });
  const { intermediatesMax } = search.limits;
  const between = anchored || isSelfIssued(issuer) ? below : below + 1;
  if (intermediatesMax !== undefined && between > intermediatesMax) {
    return new PathTooLong({ certificate, max: intermediatesMax });
  }
  return refusePurposes(search.policy, issuer) ?? refuseCritical(issuer) ??
    refuseForm(search, issuer, anchored && isSelfIssued(issuer) ? "root" : "intermediate");
}

/** Counts a link that is tried. Whether it is one too many: then the search in this domain ends. */
function isExhausting({ spent, links }: Search, anchored: boolean): boolean {
  spent.linksTried += 1;
  if (!anchored) links.tried += 1;
  // A domain whose anchor issued the leaf needs none of the links that the peer sent.
  spent.exhausted ||= spent.linksTried > linksTriedMax || (!anchored && links.tried > linksTriedMax);
  return spent.exhausted;
}

/**
 * Checks the form of a certificate against the policy's profile, and against the rules of the Web PKI where the policy
 * requires them. An old root's self-signature may use an unsupported algorithm: nothing depends on it.
 */
function refuseForm(search: Search, of: Certificate, place: Place): Refusal | undefined {
  const { profile, webPki, purposes = nodePurposes } = search.policy;
  const isOwn = () =>
    signedBy(search, of, of) === true || (place === "root" && !isKnownSignature(of.signatureAlgorithm));
  const bare = profile === "rfc5280" ? refuseBare(of, place, isOwn) : undefined;
  return bare ?? (webPki === "require" ? refuseUnusual(of, place, purposes) : undefined);
}

function isSelfSigned(search: Search, of: Certificate): boolean {
  return isSelfIssued(of) && signedBy(search, of, of) === true;
}

/** Whether the issuer's key made the child's signature; undefined where the budget is spent. */
function signedBy({ spent, links }: Search, child: Certificate, issuer: Certificate): boolean | undefined {
  const known = links.verified.get(child) ?? new Map<Certificate, boolean>();
  links.verified.set(child, known);
  let signed = known.get(issuer);
  if (signed !== undefined || links.isKnownLink(child, issuer)) return signed ?? true;
  if (spent.signatureChecks >= signatureChecksMax) {
    spent.exhausted = true;
    return undefined;
  }
  spent.signatureChecks += 1;
  const { tbs, signatureAlgorithm, signature } = child;
  signed = verifySignature({ data: tbs, algorithm: signatureAlgorithm, signature }, issuer.publicKey);
  known.set(issuer, signed);
  return signed;
}

/** Why the CAs of this trust domain may not issue what a leaf claims; undefined where they may. */
function refuseClaims({ claims, foreign = [], roles }: TrustDomain, leaf: Certificate): Refusal | undefined {
  const certificate = labelOf(leaf);
  const uris = leaf.subjectAltNames.filter(({ type }) => type === "uri").map(({ value }) => value);
  const claimed = uris.map((uri) => /^spiffe:\/\/([^/]*)(?:\/([^/]*))?/.exec(uri) ?? []);
  const isForeign = ([, domain]: readonly string[], uri: string) =>
    claims === undefined ? foreign.some((name) => isUnder(uri, name)) : domain !== claims;
  const outside = uris.findIndex((uri, index) => isForeign(claimed[index]!, uri));
  if (outside >= 0) return new NameConstraint({ certificate, name: uris[outside]! });
  // A leaf without a role could have any: where a domain is limited to some roles, each of its leaves must name one.
  const named = claimed.length === 0 ? [undefined] : claimed.map(([, , role]) => role);
  const denied = roles && named.findIndex((role) => !roles.some((allowed) => allowed === role));
  if (denied === undefined || denied < 0) return undefined;
  return new RoleNotAllowed({ certificate, role: named[denied] ?? "a node without a role", allowed: roles! });
}

/** Whether a URI is of a trust domain, however it is spelt. */
function isUnder(uri: string, domain: string): boolean {
  const [, host] = /^spiffe:\/\/(?:[^/@]*@)?([^/:?#]*)/.exec(uri.toLowerCase()) ?? [];
  return host?.replace(/\.+$/, "") === domain;
}

/** An extended key usage, where there is one, must allow every purpose; on a CA it bounds what it may issue for. */
function refusePurposes(policy: Policy, of: Certificate): ExtendedKeyUsage | undefined {
  const usages = of.extendedKeyUsage;
  if (usages === undefined || usages.includes("2.5.29.37.0")) return undefined;
  const missing = (policy.purposes ?? nodePurposes).find((purpose) => !usages.includes(purpose));
  if (missing === undefined) return undefined;
  const names: Readonly<Record<string, string>> = {
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
  };
  return new ExtendedKeyUsage({ certificate: labelOf(of), needed: names[missing] ?? missing });
}

function refuseCritical(of: Certificate): UnknownCriticalExtension | undefined {
  const [oid] = of.unknownCritical;
  return oid === undefined ? undefined : new UnknownCriticalExtension({ certificate: labelOf(of), oid });
}

/** Two certificates of one CA (Go crypto/x509 stops cycles by the same rule). */
function sameKeyAndName(a: Certificate, b: Certificate): boolean {
  return sameBytes(a.subject.der, b.subject.der) && sameBytes(a.publicKey.spki, b.publicKey.spki);
}

/** Issuers with the key identifier that the child names come first, issuers with another come last. */
function byKeyId(issuers: readonly Certificate[], child: Certificate): readonly Certificate[] {
  const wanted = child.authorityKeyId;
  if (wanted === undefined || issuers.length < 2) return issuers;
  const rank = ({ subjectKeyId }: Certificate) => subjectKeyId === wanted ? 0 : subjectKeyId === undefined ? 1 : 2;
  return issuers.toSorted((a, b) => rank(a) - rank(b));
}

function unknownIssuer(of: Certificate): UnknownIssuer {
  return new UnknownIssuer({ certificate: labelOf(of), issuer: of.issuer.text });
}

function note(search: Search, refusal: Refusal, path: Path): void {
  search.refusal = moreTelling(search.refusal, withTried(refusal, path));
}
