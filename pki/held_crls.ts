/**
 * What a node tells others of its revocation lists, and which it lacks.
 *
 * @module
 */
import { type CrlGroup, domainKey, groupCrls, markKey, newerThan, placeOf } from "./crl_marks.ts";
import type { HeldCrl } from "./crl.ts";
import { domainsOf, type TrustDomain, type TrustSnapshot } from "./trust_snapshot.ts";

/** Whose list, and of what. */
export interface CrlPlace {
  /** Name of the trust domain, as marks have it (`ownDomain` for the node's own). */
  readonly domain: string;
  /** SHA-256 of the issuer's SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly key: string;
  /** As `scopeName` has it. */
  readonly scope: string;
}

/** A list in force. Its bytes lie in the state directory, at `keptPath` of these fields, once they were written there. */
export interface HeldList extends CrlPlace {
  readonly kind: "complete" | "delta";
  /** The CRL number, decimal. */
  readonly number: string;
  /** Of a delta: the number of the complete list that it brings up to date. */
  readonly baseNumber: string | undefined;
  /** SHA-256 of its DER, lower-case hexadecimal. */
  readonly sha256: string;
  /** Octets of its DER. */
  readonly sizeBytes: number;
  readonly thisUpdate: Date;
  /** When the next is due; of a complete list with its delta, when the next of both is. */
  readonly nextUpdate: Date;
}

/** A list that was in force before and is not held now, or only an older one: it is to be fetched. */
export interface LackingList extends CrlPlace {
  /** The lowest number that clears again, decimal. */
  readonly number: string;
}

/** The lists of a snapshot, for their exchange. */
export interface HeldCrls {
  readonly held: readonly HeldList[];
  readonly lacking: readonly LackingList[];
}

/** Lists without a CRL number, and those whose signature is not verified, are left out. */
export function heldCrls(snapshot: TrustSnapshot): HeldCrls {
  const domains = domainsOf(snapshot).map((domain) => ({
    domain,
    groups: groupCrls(domain.revocation?.lists ?? []),
  }));
  return {
    held: domains.flatMap(({ domain, groups }) => groups.flatMap((group) => heldOf(domainKey(domain.name), group))),
    lacking: domains.flatMap(({ domain, groups }) => lackingOf(domain, groups)),
  };
}

function heldOf(domain: string, { key, scope, complete, unapplied }: CrlGroup): readonly HeldList[] {
  const place = { domain, key, scope };
  const deltas = [...new Set([complete?.delta, unapplied])];
  const found = [
    { kind: "complete" as const, list: complete },
    ...deltas.map((list) => ({ kind: "delta" as const, list })),
  ];
  return found.flatMap(({ kind, list }) => list === undefined ? [] : factsOf(list, { ...place, kind }));
}

function factsOf(list: HeldCrl, place: CrlPlace & Pick<HeldList, "kind">): readonly HeldList[] {
  const { number, baseNumber, sha256, sizeBytes, thisUpdate, nextUpdate } = list;
  if (number === undefined || sha256 === undefined || sizeBytes === undefined) return [];
  return [{ ...place, number, baseNumber, sha256, sizeBytes, thisUpdate, nextUpdate }];
}

/** Marks of issuers that the domain has no more are left out: their lists could not be verified. */
function lackingOf({ name, anchors, revocation }: TrustDomain, groups: readonly CrlGroup[]): readonly LackingList[] {
  const domain = domainKey(name);
  const issuers = new Set([...anchors.map(markKey), ...groups.map(({ key }) => key)]);
  return Object.values(revocation?.marks ?? {}).flatMap((mark) => {
    if (mark.domain !== domain || !issuers.has(mark.key)) return [];
    const { key, scope, number, unapplied } = mark;
    const group = groups.find((each) => placeOf(domain, each.key, each.scope) === placeOf(domain, key, scope));
    const wanted = group === undefined ? unapplied ?? number : newerThan(group, mark);
    return wanted === undefined || !/^[0-9]+$/.test(wanted) ? [] : [{ domain, key, scope, number: wanted }];
  });
}
