/**
 * Third check of the gate: which paths lead from the leaf to an anchor?
 *
 * A depth-first search over the anchors and what the peer sent. Every signature it verifies is counted against a
 * budget, and it goes on from a certificate only after a signature verified, so the budget bounds the whole search.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../bytes.ts";
import { type Certificate, isSelfIssued, labelOf } from "../certificate.ts";
import type { Path, PathsFound, WellFormed } from "../path.ts";
import {
  BadSignature,
  BudgetExceeded,
  ExtendedKeyUsage,
  KeyUsage,
  NotACa,
  PathTooLong,
  type Refusal,
  type RefusalCode,
  SelfSigned,
  UnknownCriticalExtension,
  UnknownIssuer,
} from "../refusal.ts";
import { verifySignature } from "../signature.ts";
import type { Policy, TrustSnapshot } from "../trust.ts";
import { refuseKey, refuseSignatureAlgorithm } from "./algorithm.ts";
import { type ComparisonBudget, refuseNames } from "./name_constraints.ts";

/** Certificates of one path, leaf and anchor included. webpki allows 6 CAs between; deployments here have 1 or 2. */
export const pathLengthMax = 8;
/** Signatures verified in one search (Go crypto/x509: `maxChainSignatureChecks`; webpki has the same). */
export const signatureChecksMax = 100;
/** Candidates kept. More than one comes of renewed and cross-signed CAs only. */
export const pathsMax = 16;

/** Purposes that a node's certificate must be good for: every node dials and is dialled (RFC 5280 §4.2.1.12). */
export const nodePurposes = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"] as const;

/**
 * Finds the paths from the leaf to an anchor on which every signature verifies and every constraint holds: CA flag,
 * key usage, extended key usage, path length, name constraints, critical extensions, algorithms of the CAs
 * (RFC 5280 §6.1). The others may come in any order, and unrelated ones do no harm. Key identifiers order the search
 * and prove nothing.
 *
 * Looks at no date and at no revocation list: `checkValidity` and `checkRevocation` do.
 *
 * @param wellFormed The chain that the peer sent.
 * @param snapshot Anchors and policy. An anchor may be an intermediate; it is held to its own constraints too.
 * @returns At least one path; or the most telling of the reasons for which there is none.
 */
export function findPaths(wellFormed: WellFormed, snapshot: TrustSnapshot): Result.Result<PathsFound, Refusal> {
  const { leaf } = wellFormed;
  const anchors = new Set(snapshot.anchors.map(({ fingerprint }) => fingerprint));
  const search: Search = {
    policy: snapshot.policy,
    anchors: snapshot.anchors,
    // A sent copy of an anchor only leads the long way round, and the leaf issues nothing.
    sent: wellFormed.others.filter(({ fingerprint }, index, all) =>
      !anchors.has(fingerprint) && fingerprint !== leaf.fingerprint &&
      all.findIndex((other) => other.fingerprint === fingerprint) === index
    ),
    names: { comparisons: 0 },
    paths: [],
    signatureChecks: 0,
    exhausted: false,
    refusal: undefined,
  };
  const refusal = refuseLeaf(search, leaf);
  if (refusal !== undefined) return Result.fail(refusal);
  extend(search, [leaf]);
  if (search.paths.length === 0) return Result.fail(search.refusal ?? unknownIssuer(leaf));
  const { paths, signatureChecks } = search;
  return Result.succeed({ paths, signatureChecks } as unknown as PathsFound);
}

interface Search {
  readonly policy: Policy;
  readonly anchors: readonly Certificate[];
  readonly sent: readonly Certificate[];
  readonly names: ComparisonBudget;
  readonly paths: Path[];
  signatureChecks: number;
  exhausted: boolean;
  refusal: Refusal | undefined;
}

/** What of a leaf can be refused whoever issued it. */
function refuseLeaf(search: Search, leaf: Certificate): Refusal | undefined {
  const certificate = labelOf(leaf);
  if (isSelfIssued(leaf) && signedBy(search, leaf, leaf)) return new SelfSigned({ certificate });
  if (leaf.basicConstraints?.ca === true) {
    return new KeyUsage({ certificate, needed: "use by a node: it is a CA's certificate" });
  }
  if (leaf.keyUsage !== undefined && !leaf.keyUsage.includes("digitalSignature")) {
    return new KeyUsage({ certificate, needed: "digitalSignature" });
  }
  return refusePurposes(search.policy, leaf) ?? refuseCritical(leaf);
}

/** Goes on from the last certificate of `path` to each that may have issued it; complete paths are collected. */
function extend(search: Search, path: Path): void {
  const last = path.at(-1)!;
  const issued = (issuer: Certificate) =>
    sameBytes(issuer.subject.der, last.issuer.der) && !path.some((earlier) => sameKeyAndName(earlier, issuer));
  const anchors = byKeyId(search.anchors.filter(issued), last);
  const sent = byKeyId(search.sent.filter(issued), last);
  if (anchors.length + sent.length === 0) note(search, unknownIssuer(last));
  for (const [index, issuer] of [...anchors, ...sent].entries()) {
    if (search.exhausted || search.paths.length === pathsMax) return;
    const refusal = refuseLink(search, path, issuer);
    if (refusal !== undefined) {
      note(search, refusal);
      continue;
    }
    const longer: Path = [...path, issuer];
    if (index >= anchors.length) {
      extend(search, longer);
      continue;
    }
    const outside = refuseNames(longer, search.names);
    if (outside === undefined) search.paths.push(longer);
    else note(search, outside);
  }
}

/**
 * Why `issuer`, whose name fits, cannot stand next on `path`. The signature comes first, so that the other reasons are
 * given only for a certificate that did sign.
 */
function refuseLink(search: Search, path: Path, issuer: Certificate): Refusal | undefined {
  const certificate = labelOf(issuer);
  const child = path.at(-1)!;
  if (path.length >= pathLengthMax) return new PathTooLong({ certificate, max: pathLengthMax - 2 });
  const { caAlgorithms } = search.policy;
  const algorithm = refuseSignatureAlgorithm(child, caAlgorithms) ?? refuseKey(issuer, caAlgorithms);
  if (algorithm !== undefined) return algorithm;
  if (search.signatureChecks >= signatureChecksMax) {
    search.exhausted = true;
    return new BudgetExceeded({ what: "signature checks", max: signatureChecksMax });
  }
  if (!signedBy(search, child, issuer)) {
    return new BadSignature({ certificate: labelOf(child), issuer: issuer.subject.text });
  }
  if (issuer.basicConstraints?.ca !== true) return new NotACa({ certificate });
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes("keyCertSign")) {
    return new KeyUsage({ certificate, needed: "keyCertSign" });
  }
  // Self-issued certificates (a CA's new key signed by its old one) do not count (RFC 5280 §4.2.1.9).
  const below = path.slice(1).filter((ca) => !isSelfIssued(ca)).length;
  const { pathLength } = issuer.basicConstraints;
  if (pathLength !== undefined && below > pathLength) return new PathTooLong({ certificate, max: pathLength });
  return refusePurposes(search.policy, issuer) ?? refuseCritical(issuer);
}

function signedBy(search: Search, child: Certificate, issuer: Certificate): boolean {
  search.signatureChecks += 1;
  const { tbs, signatureAlgorithm, signature } = child;
  return verifySignature({ data: tbs, algorithm: signatureAlgorithm, signature }, issuer.publicKey);
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

/** Those whose key identifier is the one that the child names come first, those that name another last. */
function byKeyId(issuers: readonly Certificate[], child: Certificate): readonly Certificate[] {
  const wanted = child.authorityKeyId;
  if (wanted === undefined || issuers.length < 2) return issuers;
  const rank = ({ subjectKeyId }: Certificate) => subjectKeyId === wanted ? 0 : subjectKeyId === undefined ? 1 : 2;
  return issuers.toSorted((a, b) => rank(a) - rank(b));
}

function unknownIssuer(of: Certificate): UnknownIssuer {
  return new UnknownIssuer({ certificate: labelOf(of), issuer: of.issuer.text });
}

/** From what says least about the certificate to what says most: of several refusals the last in this list is given. */
const tellingOrder: readonly RefusalCode[] = [
  "unknown-issuer",
  "bad-signature",
  "unsupported-key-algorithm",
  "not-a-ca",
  "key-usage",
  "path-too-long",
  "extended-key-usage",
  "unknown-critical-extension",
  "name-constraint",
  "budget-exceeded",
];

function note(search: Search, refusal: Refusal): void {
  const before = search.refusal === undefined ? -1 : tellingOrder.indexOf(search.refusal.code);
  if (tellingOrder.indexOf(refusal.code) > before) search.refusal = refusal;
}
