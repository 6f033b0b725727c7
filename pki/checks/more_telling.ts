/**
 * Of several refusals of one chain, which does the operator need?
 *
 * @module
 */
import type { Refusal, RefusalCode } from "../refusal.ts";

/** From the least specific to the most specific: of several refusals the last in this list is returned. */
const tellingOrder: readonly RefusalCode[] = [
  "unknown-issuer",
  "bad-signature",
  "unsupported-key-algorithm",
  "self-signed",
  "not-a-ca",
  "key-usage",
  "path-too-long",
  "extended-key-usage",
  "unknown-critical-extension",
  "malformed-certificate",
  "role-not-allowed",
  "name-constraint",
  "budget-exceeded",
];

/** The more specific of two refusals; the first where both are equally specific. */
export function moreTelling(before: Refusal | undefined, next: Refusal | undefined): Refusal | undefined {
  if (before === undefined || next === undefined) return before ?? next;
  return tellingOrder.indexOf(next.code) > tellingOrder.indexOf(before.code) ? next : before;
}
