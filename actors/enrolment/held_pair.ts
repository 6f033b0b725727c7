/**
 * The pair that a node holds, whether it has ended or not, and what a new certificate has to be to take its place.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate, Role } from "../../pki/certificate.ts";
import { keyMatches, parsePrivateKey, toTlsPem } from "../../pki/key.ts";
import { formatPem } from "../../pki/pem.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { checkOwnChain } from "../trust/load_identity.ts";
import { makeIdentity } from "../trust/make_identity.ts";
import { certificatesOf } from "./ca_trust.ts";
import { type EnrolmentRefused, enrolmentRefused, wantsList } from "./enrolment_refused.ts";
import type { HeldFiles } from "./enrolment_store.ts";

/** A certificate and its key. */
export interface HeldPair {
  readonly leaf: Certificate;
  /** The leaf, then its issuers. */
  readonly chain: readonly Certificate[];
  /** Both as the TLS libraries take them: the files may be indented, or hold more. */
  readonly certPem: string;
  readonly keyPem: string;
  /** When the key was written, in milliseconds since the epoch; undefined where that is not known. */
  readonly keyWrittenAt: number | undefined;
  /** Whether the key is still in the state directory alone: the process ended between two renames. */
  readonly isTorn: boolean;
}

/** The pair in these files; undefined where certificate and key are missing or do not belong together. */
export function pairOf({ certPem, keyPem, keyWrittenAt, next }: HeldFiles): HeldPair | undefined {
  if (certPem === undefined) return undefined;
  const chain = certificatesOf(certPem);
  const [leaf] = chain;
  if (leaf === undefined) return undefined;
  const keyOf = (pem: string | undefined): string | undefined => {
    const key = pem === undefined ? undefined : parsePrivateKey(pem);
    const isIts = key !== undefined && Result.isSuccess(key) && keyMatches(leaf, key.success);
    return isIts ? toTlsPem(key.success) : undefined;
  };
  const made = { leaf, chain, certPem: chainText(chain) };
  const own = keyOf(keyPem);
  if (own !== undefined) return { ...made, keyPem: own, keyWrittenAt, isTorn: false };
  const spare = keyOf(next?.keyPem);
  return spare === undefined ? undefined : { ...made, keyPem: spare, keyWrittenAt: undefined, isTorn: true };
}

/** Trust domain and role of a certificate's one URI SAN, `spiffe://<domain>/<role>/<name>`; undefined where it has another form. */
export function spiffeOf(
  { subjectAltNames }: Certificate,
): { readonly domain: string; readonly role: string } | undefined {
  const uris = subjectAltNames.filter(({ type }) => type === "uri").map(({ value }) => value);
  const [, domain, role] =
    /^spiffe:\/\/([a-z0-9._-]{1,255})\/([a-zA-Z0-9._-]+)\/[a-zA-Z0-9._/-]+$/.exec(uris[0] ?? "") ?? [];
  return uris.length !== 1 || domain === undefined || role === undefined ? undefined : { domain, role };
}

/** What a new certificate has to be. */
export interface IssuedTerms {
  /** DER of the public key that was to be certified. */
  readonly spki: Uint8Array;
  readonly keyPem: string;
  readonly domain: string;
  readonly role: Role;
  /** The certificate that it renews. */
  readonly former?: Certificate | undefined;
  /** The trust that it will be used with. */
  readonly snapshot: TrustSnapshot;
  readonly at: Date;
}

/**
 * Checks what a CA issued: it is about this node's key and name, valid now, and the node's own trust accepts it, as its peers
 * will.
 *
 * @param chain The leaf, then its issuers.
 */
export function checkIssued(chain: readonly Certificate[], terms: IssuedTerms): EnrolmentRefused | undefined {
  const { spki, keyPem, domain, role, former, snapshot, at } = terms;
  const [leaf] = chain;
  const refuse = (detail: string) => enrolmentRefused("own-certificate-refused", detail);
  if (leaf === undefined || !sameBytes(leaf.publicKey.spki, spki)) return refuse("it is about another key");
  const named = spiffeOf(leaf);
  if (named?.domain !== domain) return refuse(`it is of ${named?.domain ?? "no trust domain"}, not of ${domain}`);
  if (named.role !== role) {
    return enrolmentRefused("token-role", `the certificate is a ${named.role}'s, and this node is a ${role}`);
  }
  if (former !== undefined && namesOf(leaf) !== namesOf(former)) {
    return refuse(`it has other names than the one that it renews: ${namesOf(leaf)}, not ${namesOf(former)}`);
  }
  const made = makeIdentity({ certPem: chainText(chain), keyPem }, { at });
  if (Result.isFailure(made)) return refuse(made.failure.message);
  const refusal = checkOwnChain(made.success, snapshot, { at });
  if (refusal === undefined) return undefined;
  return wantsList(refusal.code) ? enrolmentRefused("lists-missing", refusal.message) : refuse(refusal.message);
}

/** A chain as PEM. */
export function chainText(chain: readonly Certificate[]): string {
  return chain.map(({ der }) => formatPem("CERTIFICATE", der)).join("");
}

/** Subject and names of a certificate, to compare. */
export const namesOf = ({ subject, subjectAltNames }: Certificate) =>
  [subject.text, ...subjectAltNames.map(({ type, value }) => `${type}:${value}`).sort()].join(", ");
