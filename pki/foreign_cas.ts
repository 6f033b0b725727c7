/**
 * CAs in a partner's fetched bundle that are another domain's. Pure.
 *
 * A partner can copy a public CA of another organisation into its bundle. So a CA does not belong to the domain that had it first, but to
 * the one that the operator names with a file or a pin, or whose pinned root signed it. Without any of these, both domains keep the CA,
 * each for its own names: a refusal would let either partner block the other.
 *
 * @module
 */
import { sameBytes } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { markKey } from "./crl_marks.ts";
import { verifySignature } from "./signature.ts";
import type { TrustDomain } from "./trust_snapshot.ts";

/** The domain of a fetched bundle, and its pin. */
export interface FetchedDomain {
  readonly name: string;
  /** The root that the bundle must have (`markKey`); undefined: any. */
  readonly pin: string | undefined;
}

/**
 * Finds the other domain that a CA in a fetched bundle is of: its key is that domain's pin; or the domain has the key too, from a file of
 * the operator, or from a bundle whose pinned root signed this very certificate. Of a fetched domain's key that is this bundle's own
 * pin, there is none.
 *
 * @param domains All of the node.
 * @returns The search, for many CAs.
 */
export function foreignCas(
  domains: readonly TrustDomain[],
): (ca: Certificate, bundle: FetchedDomain) => TrustDomain | undefined {
  const holders = new Map<string, Set<TrustDomain>>();
  const add = (key: string, domain: TrustDomain) => holders.set(key, (holders.get(key) ?? new Set()).add(domain));
  for (const domain of domains) {
    for (const anchor of domain.anchors) add(markKey(anchor), domain);
    if (domain.fetched?.pin !== undefined) add(domain.fetched.pin, domain);
  }
  return (ca, { name, pin }) => {
    const key = markKey(ca);
    return [...holders.get(key) ?? []].find(({ name: other, fetched, anchors }) => {
      if (other === name) return false;
      if (fetched === undefined) return true;
      if (fetched.pin === undefined || fetched.pin === pin || key === pin) return false;
      return key === fetched.pin || anchors.some((root) => markKey(root) === fetched.pin && hasSigned(root, ca));
    });
  };
}

/** Whether the CA's key signed the certificate. */
export function hasSigned(
  { publicKey, subject }: Certificate,
  { issuer, tbs: data, signatureAlgorithm: algorithm, signature }: Certificate,
): boolean {
  return sameBytes(subject.der, issuer.der) && verifySignature({ data, algorithm, signature }, publicKey);
}
