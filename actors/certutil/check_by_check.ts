/**
 * The checks of a chain one by one, in their order, for an operator who wants to see how far it came.
 *
 * @module
 */
import { Result } from "effect";
import { checksOf, type Outcome, type Outcomes, type Proofs } from "../../pki/checks/check_table.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";

const checks = checksOf("chain");
type StepName = (typeof checks)[number]["name"];

/** The name of a check in the command's output: the table's, but for one that was published under another. */
type Label = Exclude<StepName, "wellFormed"> | "form";
const labelOf = (name: StepName): Label => name === "wellFormed" ? "form" : name;

/** One check, and what it proved or why it refused. */
export interface CheckStep {
  readonly check: Label;
  readonly ok: boolean;
  readonly detail: string;
}

/** What the operator reads of each proof. */
const details: { readonly [Name in StepName]: (proof: Proofs[Name], snapshot: TrustSnapshot) => string } = {
  wellFormed: ({ leaf, others }) => {
    const sent = others.length === 0 ? "" : `, and ${others.length} certificates behind it`;
    return `${leaf.subject.text}${sent}`;
  },
  algorithm: ({ label }) => `a key of ${label}`,
  path: ({ paths, signatureChecks }) => {
    const way = paths[0]!.map(({ subject }) => subject.text).join(" ← ");
    return `${way} (${paths.length} in all, ${signatureChecks} signatures)`;
  },
  validity: ({ at }) => `in force at ${at.toISOString()}`,
  revocation: ({ expiresAt }, { revocation }) => {
    const known = revocation === undefined ? "no lists to ask" : "no certificate of the path is revoked";
    return `${known}; the path ends at ${expiresAt.toISOString()}`;
  },
  identity: ({ peer }) => peer,
  role: ({ role }) => role ?? "none claimed, none required",
};

/** Every check up to the first that refused, that one included. */
export function checkByCheck(outcomes: Outcomes, snapshot: TrustSnapshot): readonly CheckStep[] {
  return checks.flatMap(({ name }) => stepOf(name, outcomes[name], snapshot));
}

function stepOf<Name extends StepName>(
  name: Name,
  outcome: Outcome<Proofs[Name]> | undefined,
  snapshot: TrustSnapshot,
): readonly CheckStep[] {
  if (outcome === undefined) return [];
  const check = labelOf(name);
  if (Result.isSuccess(outcome)) return [{ check, ok: true, detail: details[name](outcome.success, snapshot) }];
  return [{ check, ok: false, detail: `${outcome.failure.code}: ${outcome.failure.message}` }];
}
