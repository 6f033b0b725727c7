/**
 * The revocation lists that a node can hand on, and the keys whose lists it takes.
 *
 * @module
 */
import { compareNumbers } from "../../pki/crl.ts";
import { domainKey, markKey } from "../../pki/crl_marks.ts";
import { heldCrls, type HeldList } from "../../pki/held_crls.ts";
import { crlsOf, domainsOf, type TrustSnapshot } from "../../pki/trust.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { crlNumberDigitsMax } from "../../transport/protocols/mod.ts";
import type { CrlIssuer } from "../files/arriving_crls.ts";
import { keptPath } from "../files/state_directory.ts";

/** A list that lies in the state directory, and what peers are told about it. */
export interface OfferedList {
  readonly notice: CrlNotice;
  readonly path: string;
}

/** What one list takes the place of: lists of the same key, scope and kind. */
export function slotOf({ issuer, scope, base }: Pick<CrlNotice, "issuer" | "scope" | "base">): string {
  return `${issuer} ${scope} ${base === null ? "complete" : "delta"}`;
}

/** What peers are told about a list that the node has. */
export function offeredAs(list: Omit<HeldList, "nextUpdate" | "kind"> & { readonly path: string }): OfferedList {
  const { key: issuer, scope, number, baseNumber, sha256, sizeBytes, thisUpdate, path } = list;
  const updated = Math.floor(thisUpdate.getTime() / 1_000);
  return { notice: { issuer, scope, number, base: baseNumber ?? null, sha256, size: sizeBytes, updated }, path };
}

/** The newest list of each slot. */
export function newestOf(lists: readonly OfferedList[]): ReadonlyMap<string, OfferedList> {
  const newest = new Map<string, OfferedList>();
  for (const list of lists) {
    const slot = slotOf(list.notice);
    const other = newest.get(slot);
    if (other === undefined || compareNumbers(list.notice.number, other.notice.number) > 0) newest.set(slot, list);
  }
  return newest;
}

/**
 * Of the newest lists, the number of the delta that is in force on the complete one; undefined where none fits it, or one of the two is
 * among `lost`: another complete list may have to take their place.
 */
export function effectiveOf(
  newest: ReadonlyMap<string, OfferedList>,
  { issuer, scope }: Pick<CrlNotice, "issuer" | "scope">,
  lost: ReadonlySet<string>,
): string | undefined {
  const [complete, delta] = [null, ""].map((base) => newest.get(slotOf({ issuer, scope, base }))?.notice);
  if (complete === undefined || typeof delta?.base !== "string") return undefined;
  if (lost.has(complete.sha256) || lost.has(delta.sha256)) return undefined;
  const fits = compareNumbers(delta.base, complete.number) <= 0 && compareNumbers(complete.number, delta.number) < 0;
  return fits ? delta.number : undefined;
}

/** The lists of a snapshot whose signature was verified, as they lie in the state directory. */
export function offeredBy(snapshot: TrustSnapshot, stateDir: string): readonly OfferedList[] {
  return heldCrls(snapshot).held.map((list) => offeredAs({ ...list, path: keptPath(stateDir, list) }));
}

/** Whether a notice can name a list. RFC 5280, section 5.2.3, allows numbers of 49 digits: such a list comes from files and by HTTP alone. */
export function isNameable({ number }: CrlNotice): boolean {
  return number.length <= crlNumberDigitsMax;
}

/** SHA-256 of every list of a snapshot, also of those that contradict others. */
export function hashesOf(snapshot: TrustSnapshot): readonly string[] {
  return crlsOf(snapshot).flatMap(({ sha256, delta }) => [sha256, delta?.sha256]).filter((hash) => hash !== undefined);
}

/**
 * The keys whose lists a node takes, by their SHA-256: those of its anchors, intermediates of the bundle among them. A list of an
 * issuer whose certificate only peers send cannot be verified before such a peer comes: it does not travel.
 */
export function issuersOf(snapshot: TrustSnapshot): ReadonlyMap<string, CrlIssuer> {
  const issuers = new Map<string, CrlIssuer>();
  for (const { name, policy, anchors } of domainsOf(snapshot)) {
    for (const certificate of anchors) {
      const key = markKey(certificate);
      if (!issuers.has(key)) issuers.set(key, { domain: domainKey(name), key, certificate, policy });
    }
  }
  return issuers;
}
