/**
 * What a node takes of the CA certificates that a CA offers (RFC 7030 §4.1): the pinned root, the intermediates that a root in
 * force signed, and a new root only by a certificate of the old one. Anything else in an answer is dropped.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { findRevocation } from "../../pki/crl.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { verifySignature } from "../../pki/signature.ts";
import { makeTrustSnapshot, type Policy, type TrustSnapshot } from "../../pki/trust.ts";

import { type EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** CAs between a leaf and its root at most; the networks that we know have one. */
const intermediatesMax = 8;
/** Certificates that are tried as the root at most: a root, its renewals, and cross-certificates of its name. */
const rootTriesMax = 8;

/** SHA-256 of a public key (DER of its SPKI), hexadecimal. */
export function keyIdOf({ publicKey }: Certificate): string {
  return createHash("sha256").update(publicKey.spki).digest("hex");
}

/**
 * The root that a token pins: the one certificate among those offered whose key has this hash.
 *
 * @param anchor SHA-256 of the root's SPKI, hexadecimal.
 */
export function pinnedRoot(
  offered: readonly Certificate[],
  { anchor, url, at }: { readonly anchor: string; readonly url: string; readonly at: Date },
): Result.Result<Certificate, EnrolmentRefused> {
  const roots = rootsAmong(offered.filter((each) => keyIdOf(each) === anchor), at);
  const root = roots.find((each) => isCaAt(each, at));
  if (root !== undefined) return Result.succeed(root);
  const detail = roots.length === 0
    ? `${url} has another root than the token names`
    : `the root of ${url} is not valid at ${at.toISOString()}`;
  return Result.fail(enrolmentRefused("ca-foreign", detail));
}

/** A root that is valid now, whatever its key. */
export function anyRoot(offered: readonly Certificate[], at: Date): Certificate | undefined {
  return rootsAmong(offered, at).find((each) => isCaAt(each, at));
}

/** Roots, those that are valid now first. Who offers them decides how many there are, so that only a few signatures are verified. */
function rootsAmong(offered: readonly Certificate[], at: Date): readonly Certificate[] {
  const named = offered.filter(({ issuer, subject }) => sameBytes(issuer.der, subject.der));
  const valid = named.filter((each) => isCaAt(each, at));
  const distinct = new Map([...valid, ...named].map((each) => [each.fingerprint, each]));
  return [...distinct.values()].slice(0, rootTriesMax).filter(isRoot);
}

/** What of a refreshed bundle depends on the node. */
export interface RefreshTerms {
  readonly at: Date;
  /** The lists that the node has; without them nothing is known to be revoked. */
  readonly snapshot?: Pick<TrustSnapshot, "revocation"> | undefined;
}

/**
 * The bundle after a renewal: the present one without what has ended or is revoked, with new intermediates of its roots, and with
 * roots that one of its roots vouches for (NewWithOld, RFC 7030 §4.1.3). Where nothing would be left, the present one.
 *
 * @param present The certificates of `trust_pem`.
 * @param offered Those that the CA offers.
 */
export function refreshTrust(
  present: readonly Certificate[],
  offered: readonly Certificate[],
  { at, snapshot }: RefreshTerms,
): readonly Certificate[] {
  const inForce = (each: Certificate) => isCaAt(each, at) && !isRevoked(each, snapshot);
  const kept = present.filter(inForce);
  if (kept.length === 0) return present;
  const roots = kept.filter(isRoot);
  const signedByRoot = (each: Certificate) => roots.some((root) => mayIssueCas(root) && isSignedBy(each, root));
  const vouched = offered.filter((each) => !isRoot(each) && inForce(each) && signedByRoot(each));
  const newRoots = offered.filter((each) =>
    isRoot(each) && inForce(each) && vouched.some((other) => isSameCa(other, each))
  );
  const all = [...kept, ...vouched.filter((each) => !newRoots.some((root) => isSameCa(each, root))), ...newRoots];
  return all.filter((each, index) => all.findIndex((other) => sameBytes(other.der, each.der)) === index);
}

/** The chain that a node shows: its leaf, then its issuers below the root, from those offered. */
export function chainOf(leaf: Certificate, offered: readonly Certificate[]): readonly Certificate[] {
  const chain = [leaf];
  while (chain.length <= intermediatesMax) {
    const last = chain[chain.length - 1]!;
    const above = offered.find((each) => !chain.includes(each) && isCa(each) && isSignedBy(last, each));
    if (above === undefined || isRoot(above)) return chain;
    chain.push(above);
  }
  return chain;
}

/** A bundle as PEM. */
export function bundleText(certificates: readonly Certificate[]): string {
  return certificates.map(({ der }) => formatPem("CERTIFICATE", der)).join("");
}

/** The certificates of a PEM text; blocks that cannot be read are left out. */
export function certificatesOf(pem: string): readonly Certificate[] {
  const blocks = parsePem(pem);
  if (Result.isFailure(blocks)) return [];
  return blocks.success.flatMap(({ der }) => {
    const parsed = parseCertificate(Uint8Array.from(der));
    return Result.isSuccess(parsed) ? [parsed.success] : [];
  });
}

/** A snapshot of a bundle without lists. */
export function snapshotOf(
  bundle: readonly Certificate[],
  { policy, at }: { readonly policy: Policy; readonly at: Date },
): Result.Result<TrustSnapshot, EnrolmentRefused> {
  const made = makeTrustSnapshot({ trustPem: bundleText(bundle), policy, generation: 0, at });
  return Result.mapBoth(made, {
    onSuccess: ({ snapshot }) => snapshot,
    onFailure: ({ message }) => enrolmentRefused("own-certificate-refused", message),
  });
}

const isCa = ({ basicConstraints, keyUsage }: Certificate) =>
  basicConstraints?.ca === true && (keyUsage === undefined || keyUsage.includes("keyCertSign"));

function isCaAt(certificate: Certificate, at: Date): boolean {
  const { notBefore, notAfter } = certificate.period;
  return isCa(certificate) && certificate.unknownCritical.length === 0 && notBefore <= at && at <= notAfter;
}

/** An anchor's own limits do not reach the CAs that become anchors next to it: a root that may have no CA below adds none. */
const mayIssueCas = ({ basicConstraints, nameConstraints }: Certificate) =>
  basicConstraints?.pathLength !== 0 && nameConstraints === undefined;

function isSignedBy({ issuer, tbs: data, signatureAlgorithm: algorithm, signature }: Certificate, by: Certificate) {
  return sameBytes(issuer.der, by.subject.der) && verifySignature({ data, algorithm, signature }, by.publicKey);
}

/** Not by its names alone: a new root that the old one vouches for may have the same. */
const isRoot = (each: Certificate): boolean => isSignedBy(each, each);

const isSameCa = (a: Certificate, b: Certificate) =>
  sameBytes(a.subject.der, b.subject.der) && sameBytes(a.publicKey.spki, b.publicKey.spki);

function isRevoked({ issuer, serial }: Certificate, snapshot: RefreshTerms["snapshot"]): boolean {
  const lists = snapshot?.revocation?.lists ?? [];
  return lists.some((list) => sameBytes(list.issuer.der, issuer.der) && findRevocation(list, serial) !== undefined);
}
