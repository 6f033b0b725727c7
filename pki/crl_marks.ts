/**
 * High-water marks of revocation lists: a list older than one that was in force before is refused.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import { compareAge, type CrlFloor, type HeldList, verifierOf } from "./crl.ts";
import { scopeKey } from "./crl_scope.ts";
import type { LocatedList } from "./list_reader.ts";
import { CrlRollback } from "./refusal.ts";
import { refuseTrust, type TrustError } from "./trust_error.ts";

/**
 * Refuses a file whose newest list of a CA is older than one seen before, and raises the marks.
 *
 * Lists are told apart by their number; of those without one the date counts, and where there was a number before, a list
 * without one is older.
 *
 * @param before The marks so far.
 * @param previous Lists of the snapshot before, which some peer's path may have shown to be good since.
 * @param lists Those of the new one.
 */
export function raiseFloor(
  before: CrlFloor | undefined,
  previous: readonly HeldList[],
  lists: readonly LocatedList[],
): Result.Result<CrlFloor, TrustError> {
  const floor: Record<string, string> = { ...before };
  const mark = (list: HeldList) => {
    if (verifierOf(list) === undefined) return;
    for (const place of placesOf(list)) {
      const { key, value } = markOf(list, place);
      if (BigInt(value) > BigInt(floor[key] ?? -1)) floor[key] = value;
    }
  };
  for (const list of previous.flatMap((each) => each.delta === undefined ? [each] : [each, each.delta])) mark(list);
  const newest = new Map<string, LocatedList>();
  for (const located of lists) {
    const place = placesOf(located.list)[0];
    const other = newest.get(place);
    if (other === undefined || compareAge(located.list, other.list) > 0) newest.set(place, located);
  }
  for (const [place, { list, line }] of newest) {
    const seen = newerSeen(list, place, floor);
    if (seen !== undefined) {
      const number = list.number ?? `none, of ${list.thisUpdate.toISOString()}`;
      const refusal = new CrlRollback({ issuer: list.issuer.text, number, seen });
      const { message: detail, hint } = refusal;
      return refuseTrust({ input: "crls_pem", problem: "crl-rollback", line, detail, hint, refusal });
    }
    mark(list);
  }
  return Result.succeed(floor);
}

/**
 * Where a list's number is remembered: issuer, signing key (a CA's new key may count from 1 again), what it covers, and
 * whether it is a delta. The key is the one under which the signature was found good, as the list itself may name none;
 * and the one that the list names, by which it is found as long as nobody has checked it.
 */
function placesOf(list: HeldList): readonly [string, ...string[]] {
  const place = (key: string) => {
    // Each part ends itself: DER, hexadecimal, and a text with two slashes in it.
    const hash = createHash("sha256").update(list.issuer.der).update(key).update(scopeKey(list.scope));
    if (list.baseNumber !== undefined) hash.update("delta");
    return hash.digest("hex");
  };
  const verifier = verifierOf(list);
  const named = place(list.authorityKeyId ?? "");
  return verifier === undefined ? [named] : [place(verifier), named];
}

/** Marks of numbers and of dates do not mix: a date's key has an ending of its own. */
function markOf(list: HeldList, place: string): { readonly key: string; readonly value: string } {
  if (list.number !== undefined) return { key: place, value: list.number };
  return { key: `${place}@`, value: String(Math.max(0, list.thisUpdate.getTime())) };
}

function newerSeen(list: HeldList, place: string, floor: CrlFloor): string | undefined {
  const { key, value } = markOf(list, place);
  const seen = floor[key];
  if (list.number === undefined) {
    const number = floor[place];
    if (number !== undefined) return number;
    return seen !== undefined && BigInt(value) < BigInt(seen) ? new Date(Number(seen)).toISOString() : undefined;
  }
  return seen !== undefined && BigInt(value) < BigInt(seen) ? seen : undefined;
}
