/**
 * The CAs of a configuration, as the register knows them: where `rotate-ca` waits for approvals, a CA with others does not run.
 *
 * @module
 */
import { canonicalJson } from "../../pki/canonical_json.ts";
import type { RotateCa } from "../../pki/approval/online_operation.ts";
import { enterFact, factOf } from "./approval_rows.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import { enterLapsed } from "./lapsed_rows.ts";
import type { RegisterRows } from "./register.ts";

/** The CAs of a configuration, each by the SHA-256 of its key. */
export type ConfiguredCas = Omit<RotateCa, "name">;

const [inForce, approved, until] = ["configured_cas", "approved_cas", "approved_cas_until"];

/** Those of a CA. */
export function configuredCas({ issuerId, next, retired }: CertificateAuthority): ConfiguredCas {
  return {
    issues: issuerId,
    next: next.slice(0, 1).map(({ publicKey }) => keyHash(publicKey.spki)),
    retired: retired.map((each) => each.issuerId),
  };
}

const textOf = ({ issues, next, retired }: ConfiguredCas) => canonicalJson({ issues, next, retired });

/** Enters them as those in force. */
export function enterConfiguredCas(rows: RegisterRows, cas: ConfiguredCas): void {
  enterFact(rows, inForce, textOf(cas));
}

/** Enters those that were approved: the configuration may change to them, once, until their request expires. */
export function enterApprovedCas(rows: RegisterRows, cas: ConfiguredCas, expires: Date): void {
  enterFact(rows, approved, textOf(cas));
  enterFact(rows, until, String(+expires));
}

/** Whether a configuration may have these CAs at a time. An approval without an end, of an earlier version, counts no more. */
export function arePermitted(rows: RegisterRows, cas: ConfiguredCas, at: Date): boolean {
  if (factOf(rows, inForce) === textOf(cas)) return true;
  return factOf(rows, approved) === textOf(cas) && +at < Number(factOf(rows, until) ?? 0);
}

/** Where these CAs were approved, they are those in force from now on. */
export function takeApprovedCas(rows: RegisterRows, cas: ConfiguredCas): void {
  if (factOf(rows, approved) !== textOf(cas)) return;
  enterConfiguredCas(rows, cas);
  rows.change("DELETE FROM facts WHERE name IN (?, ?)", approved, until);
  rows.record({ type: "ca.rotated", outcome: "done", detail: { ...cas } });
}

/** Ends an approval of CAs that the configuration did not change to, or with which the CA was not started, before the request expired. */
export function lapseApprovedCas(rows: RegisterRows, at: Date): void {
  if (+at < Number(factOf(rows, until) ?? Infinity)) return;
  const detail = "the CA was not started with the approved CAs before the request expired";
  endApprovedCas(rows, { reason: "not taken", detail }, at);
}

/** Ends an approval of CAs with which the CA was not started yet. */
export function endApprovedCas(
  rows: RegisterRows,
  { reason, detail }: { readonly reason: string; readonly detail?: string },
  at: Date,
): void {
  const end = factOf(rows, until);
  if (end === undefined) return;
  rows.change("DELETE FROM facts WHERE name IN (?, ?)", approved, until);
  const sql = `
SELECT id FROM approval_requests WHERE operation = 'rotate-ca' AND state = 'executed' AND expires = ?
ORDER BY ended DESC, rowid DESC LIMIT 1`;
  const id = rows.first<{ readonly id: string }>(sql, Number(end))?.id;
  rows.record({ type: "approval.lapsed", outcome: reason, detail: { id, approved: true } });
  if (id !== undefined) enterLapsed(rows, { id, reason: detail ?? reason }, at);
}
