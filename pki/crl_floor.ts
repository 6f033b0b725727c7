/**
 * High-water marks of revocation lists: a list older than one that was in force before is refused.
 *
 * @module
 */
import * as Result from "effect/Result";
import { compareAge, type CrlFloor, floorKeyOf, type HeldList, wasVerified } from "./crl.ts";
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
    const { key, value } = markOf(list);
    if (wasVerified(list) && BigInt(value) > BigInt(floor[key] ?? -1)) floor[key] = value;
  };
  for (const list of previous.flatMap((each) => each.delta === undefined ? [each] : [each, each.delta])) mark(list);
  const newest = new Map<string, LocatedList>();
  for (const located of lists) {
    const other = newest.get(floorKeyOf(located.list));
    if (other === undefined || compareAge(located.list, other.list) > 0) newest.set(floorKeyOf(located.list), located);
  }
  for (const { list, line } of newest.values()) {
    const seen = newerSeen(list, floor);
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

/** Marks of numbers and of dates do not mix: a date's key has an ending of its own. */
function markOf(list: HeldList): { readonly key: string; readonly value: string } {
  const key = floorKeyOf(list);
  if (list.number !== undefined) return { key, value: list.number };
  return { key: `${key}@`, value: String(Math.max(0, list.thisUpdate.getTime())) };
}

function newerSeen(list: HeldList, floor: CrlFloor): string | undefined {
  const { key, value } = markOf(list);
  const seen = floor[key];
  if (list.number === undefined) {
    const number = floor[floorKeyOf(list)];
    if (number !== undefined) return number;
    return seen !== undefined && BigInt(value) < BigInt(seen) ? new Date(Number(seen)).toISOString() : undefined;
  }
  return seen !== undefined && BigInt(value) < BigInt(seen) ? seen : undefined;
}
