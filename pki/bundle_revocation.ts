/**
 * Which CAs of a bundle revocation lists refuse: the list of the CA that signed them does. Pure.
 *
 * The maker of a bundle chooses the names in it: each of a thousand CAs of one name may have signed each other. So the number of
 * signatures that are verified has a limit.
 *
 * @module
 */
import { toHex } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { findRevocation, type HeldCrl, isSignedBy, newestOfEach } from "./crl.ts";
import { markKey } from "./crl_marks.ts";
import { covers } from "./crl_scope.ts";
import { hasSigned } from "./foreign_cas.ts";

/** Signatures that are verified for each CA of a bundle, on average: a network has fewer CAs of one name. */
const signaturesForEachCa = 4;
/** Of a small bundle, this many for all of its CAs together. */
const signaturesMin = 100;

/** The CAs of one name and key, to which the same lists belong. */
export interface Issuer {
  readonly cas: readonly [Certificate, ...Certificate[]];
  /** The newest lists that they signed. */
  readonly lists: readonly HeldCrl[];
}

/** The issuers of a bundle, by the hexadecimal DER of their names. */
export type Issuers = ReadonlyMap<string, readonly Issuer[]>;

/** Finds the lists of each issuer. */
export function issuersOf(cas: readonly Certificate[], lists: readonly HeldCrl[]): Issuers {
  const named = Map.groupBy(lists, ({ issuer }) => toHex(issuer.der));
  const issuers = new Map<string, Issuer[]>();
  for (const [name, namesakes] of Map.groupBy(cas, ({ subject }) => toHex(subject.der))) {
    const all = named.get(name) ?? [];
    const keys = [...Map.groupBy(namesakes, markKey).values()] as [Certificate, ...Certificate[]][];
    issuers.set(
      name,
      keys.map((cas) => ({ cas, lists: newestOfEach(all.filter((list) => isListOf(list, cas[0]))) })),
    );
  }
  return issuers;
}

/**
 * Whether a CA signed a list. No signature verifies under two keys: one that was found good under another key before is not verified.
 */
export function isListOf(list: HeldCrl, ca: Certificate): boolean {
  return (list.vouchedBy === undefined || list.vouchedBy === markKey(ca)) && isSignedBy(list, ca);
}

/**
 * The CAs whose issuer's lists refuse them.
 *
 * @param refuses Whether the lists of this issuer, which has the name of the CA's, refuse it. Called for each CA with each issuer of
 * that name: it must be fast.
 * @param unproven Whether a CA is refused where the limit leaves open which CA of the name signed it.
 */
export function refusedAmong(
  cas: readonly Certificate[],
  issuers: Issuers,
  refuses: (ca: Certificate, issuer: Issuer) => boolean,
  unproven: "refused" | "kept",
): readonly Certificate[] {
  const max = Math.max(signaturesMin, signaturesForEachCa * cas.length);
  let verified = 0;
  const isProven = (issuer: Certificate, ca: Certificate) => {
    verified += 1;
    return verified > max ? unproven === "refused" : hasSigned(issuer, ca);
  };
  return cas.filter((ca) =>
    (issuers.get(toHex(ca.issuer.der)) ?? []).some((issuer) => refuses(ca, issuer) && isProven(issuer.cas[0], ca))
  );
}

/**
 * The CAs that lists revoke.
 *
 * @param unproven `refused` for the CAs of the same bundle. For those of another, `kept`: by many CAs of one name, a partner could
 * revoke CAs that it did not issue.
 */
export function revokedAmong(
  cas: readonly Certificate[],
  issuers: Issuers,
  unproven: "refused" | "kept",
): readonly Certificate[] {
  const revokes = (ca: Certificate, { lists }: Issuer) =>
    lists.some((list) => covers(list.scope, ca) && findRevocation(list, ca.serial) !== undefined);
  return refusedAmong(cas, issuers, revokes, unproven);
}
