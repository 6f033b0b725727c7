/**
 * What a node trusts at one moment, domain by domain.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Certificate, MemberRole } from "./certificate.ts";
import type { HeldCrl, RevocationIndex } from "./crl.ts";
import type { Policy } from "./policy.ts";

/** An organisation that a node trusts: its CAs, its lists, its policy, and what its certificates may claim. */
export interface TrustDomain {
  /** Name of the domain, as in `spiffe://<name>/…`; undefined for the node's own bundle. */
  readonly name: string | undefined;
  /** The domain that its certificates may claim; undefined: any but `foreign`. */
  readonly claims?: string | undefined;
  /** Domains that its certificates may not claim: the others' names, where it is the node's own bundle. */
  readonly foreign?: readonly string[] | undefined;
  /** Its server says which CAs it has, if one is the root with the pin (`markKey`); undefined: files of the operator do. */
  readonly fetched?: { readonly pin: string | undefined } | undefined;
  /** Its CA certificates. */
  readonly anchors: readonly Certificate[];
  /** Changes exactly when what decides about its paths changes: its CAs, its policy, its roles, the names it may claim. */
  readonly anchorsId: string;
  /** One index per issuer that has a list; undefined when no revocation list is configured. */
  readonly revocation: RevocationIndex | undefined;
  /** The policy for its certificates. */
  readonly policy: Policy;
  /** Roles that its certificates may claim, and one of which each must; any or none where undefined. */
  readonly roles?: readonly MemberRole[] | undefined;
}

/** What a node trusts at one moment. */
export interface TrustSnapshot {
  /** Grows by one with each change of trust on this node. */
  readonly generation: number;
  /** The CA certificates that are trusted. */
  readonly anchors: readonly Certificate[];
  /** Changes exactly when the `anchorsId` of any domain does. */
  readonly anchorsId: string;
  /** The same of the node's own bundle alone; `anchorsId` where undefined. */
  readonly ownAnchorsId?: string | undefined;
  /** One index per issuer that has a list; undefined when no revocation list is configured. */
  readonly revocation: RevocationIndex | undefined;
  /** The policy for certificates of the node's own bundle. */
  readonly policy: Policy;
  /** The only domain that certificates of the node's own bundle may claim; undefined: any but those of `domains`. */
  readonly ownName?: string | undefined;
  /** Other trust domains; the fields above describe the node's own bundle. Their names differ. */
  readonly domains?: readonly TrustDomain[];
}

const listed = new WeakMap<TrustSnapshot, readonly TrustDomain[]>();

/** The domains of a snapshot: the node's own bundle, then the others. */
export function domainsOf(snapshot: TrustSnapshot): readonly TrustDomain[] {
  const known = listed.get(snapshot);
  if (known !== undefined) return known;
  const { anchors, anchorsId, ownAnchorsId = anchorsId, ownName: claims, revocation, policy, domains = [] } = snapshot;
  const foreign = domains.map(({ name }) => name).filter((name) => name !== undefined);
  const own = { name: undefined, claims, foreign, anchors, anchorsId: ownAnchorsId, revocation, policy };
  const all = [own, ...domains];
  listed.set(snapshot, all);
  return all;
}

/** The domain of that name. An unknown domain has no anchors. */
export function domainOf(snapshot: TrustSnapshot, name: string | undefined): TrustDomain {
  const { policy } = snapshot;
  const unknown: TrustDomain = { name, anchors: [], anchorsId: "", revocation: { lists: [] }, policy };
  return domainsOf(snapshot).find((domain) => domain.name === name) ?? unknown;
}

/** The policy of a snapshot with the algorithms of all its domains: what no domain allows is refused before any search. */
export function widestPolicy(snapshot: TrustSnapshot): Policy {
  if (snapshot.domains === undefined) return snapshot.policy;
  const policies = domainsOf(snapshot).map(({ policy }) => policy);
  const leafAlgorithms = [...new Set(policies.flatMap((policy) => policy.leafAlgorithms))];
  const caAlgorithms = [...new Set(policies.flatMap((policy) => policy.caAlgorithms))];
  return { ...snapshot.policy, leafAlgorithms, caAlgorithms };
}

/** All revocation lists of a snapshot. */
export function crlsOf(snapshot: TrustSnapshot): readonly HeldCrl[] {
  return domainsOf(snapshot).flatMap(({ revocation }) => revocation?.lists ?? []);
}

/** The names of the domains whose `anchorsId` differs, or that only one of both snapshots has. */
export function changedDomains(before: TrustSnapshot, after: TrustSnapshot): ReadonlySet<string | undefined> {
  if (before.anchorsId === after.anchorsId) return new Set();
  const [old, next] = [before, after].map((each) =>
    new Map(domainsOf(each).map(({ name, anchorsId }) => [name, anchorsId]))
  ) as [Map<string | undefined, string>, Map<string | undefined, string>];
  return new Set([...old.keys(), ...next.keys()].filter((name) => old.get(name) !== next.get(name)));
}

/** A hash over everything that decides which paths exist in a domain. The order of its bundle does not count. */
export function identifyAnchors(
  { name, claims, foreign, anchors, policy, roles }: Omit<TrustDomain, "anchorsId" | "revocation" | "fetched">,
): string {
  const prints = anchors.map(({ fingerprint }) => fingerprint).sort();
  const names = [name, claims, foreign?.toSorted()];
  const parts = [names, prints, Object.entries(policy).sort(([a], [b]) => a < b ? -1 : 1), roles];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

/** The same of all domains. */
export function identifyDomains(domains: readonly Pick<TrustDomain, "name" | "anchorsId">[]): string {
  const parts = domains.map(({ name, anchorsId }) => [name, anchorsId]);
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
