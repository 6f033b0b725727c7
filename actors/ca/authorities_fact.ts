/**
 * The CAs of a configuration, as the register knows them: where `rotate-ca` waits for approvals, a CA with others does not run.
 *
 * @module
 */
import { canonicalJson } from "../../pki/canonical_json.ts";
import type { RotateCa } from "../../pki/approval/online_operation.ts";
import { enterFact, factOf } from "./approval_rows.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import type { RegisterRows } from "./register.ts";

/** The CAs of a configuration, each by the SHA-256 of its key. */
export type ConfiguredCas = Omit<RotateCa, "name">;

const [inForce, approved] = ["configured_cas", "approved_cas"];

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

/** Enters those that were approved: the configuration may change to them, once. */
export function enterApprovedCas(rows: RegisterRows, cas: ConfiguredCas): void {
  enterFact(rows, approved, textOf(cas));
}

/** Whether a configuration may have these CAs. */
export function arePermitted(rows: RegisterRows, cas: ConfiguredCas): boolean {
  return [inForce, approved].some((name) => factOf(rows, name) === textOf(cas));
}

/** Where these CAs were approved, they are those in force from now on. */
export function takeApprovedCas(rows: RegisterRows, cas: ConfiguredCas): void {
  if (factOf(rows, approved) !== textOf(cas)) return;
  enterConfiguredCas(rows, cas);
  rows.change("DELETE FROM facts WHERE name = ?", approved);
  rows.record({ type: "ca.rotated", outcome: "done", detail: { ...cas } });
}
