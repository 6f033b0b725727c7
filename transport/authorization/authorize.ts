/**
 * Whether a member may do an act: the operator's rules, then the table of acts.
 *
 * @module
 */
import { Result } from "effect";
import type { MemberRole } from "../../pki/certificate.ts";
import { standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { NotAuthorized } from "../../pki/refusal.ts";
import { type Act, rowOf } from "./acts.ts";

/** What of a peer's proven identity decides. */
export type ActingMember = Pick<PeerIdentity, "peer" | "name" | "names" | "role">;

/** An operator's rule. */
export interface Rule {
  /** How messages and the log name it: `authorization.rules[0]`. */
  readonly label: string;
  readonly effect: "deny" | "allow";
  readonly acts: readonly Act[];
  /** Whether a pattern of the rule fits the member. */
  readonly fits: (member: ActingMember) => boolean;
}

/** What allowed an act: a rule's label, or `row ACT` of the table. */
export type AllowedBy = string;

/**
 * Decides. A rule that denies wins over every rule that allows, whatever their order; a rule that allows wins over the table,
 * but for the acts that the table closes to rules.
 *
 * @param own The role of the node to which the act is done.
 */
export function authorize(
  act: Act,
  member: ActingMember,
  { own, rules }: { readonly own: MemberRole; readonly rules: readonly Rule[] },
): Result.Result<AllowedBy, NotAuthorized> {
  const { receivedBy, allowedTo, closed } = rowOf(act);
  const row = `row ${act}`;
  const refused = (rule: string) =>
    Result.fail(new NotAuthorized({ act, role: member.role ?? "none", name: member.name, rule }));
  if (receivedBy !== "all" && !receivedBy.includes(own)) return refused(row);
  const fitting = rules.filter((rule) => rule.acts.includes(act) && rule.fits(member));
  const denies = fitting.find(({ effect }) => effect === "deny");
  if (denies !== undefined) return refused(denies.label);
  if (allowedTo === "member" || allowedTo.some((as) => standsFor(member.role, as))) return Result.succeed(row);
  const [allows] = closed === true ? [] : fitting; // none of them denies
  return allows === undefined ? refused(row) : Result.succeed(allows.label);
}
