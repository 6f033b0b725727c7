/**
 * Whether the approvals of a request permit it now: from the register's rows alone, with time and CA as arguments.
 *
 * @module
 */
import { Result } from "effect";
import { type ApprovalRefused, refuseApproval } from "../../pki/approval/approval_refused.ts";
import { countApprovals, type CountedApprovals } from "../../pki/approval/verify_approvals.ts";
import { sha256 } from "../../pki/approval/canonical_line.ts";
import { approvalIdCharacters, type ApprovalState } from "./approval_rows.ts";

/** A request with its approvals, and the policy in force. */
export interface RegisteredCeremony {
  readonly id: string;
  readonly line: string;
  readonly state: ApprovalState;
  /** The line of the policy in force; undefined where there is none any more. */
  readonly policy: string | undefined;
  readonly approvals: readonly string[];
}

/** What it is compared with. */
export interface CeremonyTerms {
  readonly at: Date;
  /** SHA-256 of the key of the CA that executes it, hexadecimal. */
  readonly ca: string;
}

/** A ceremony that holds. */
export interface JudgedCeremony extends CountedApprovals {
  /** Whether as many have approved as the policy wants. */
  readonly isApproved: boolean;
}

/**
 * Judges a ceremony. It is refused as a whole where one approval does not hold, where the request has ended or expired, and where the
 * policy in force is not the one that it names: then an approver may have left.
 */
export function judgeApprovals(
  { id, line, state, policy, approvals }: RegisteredCeremony,
  { at, ca }: CeremonyTerms,
): Result.Result<JudgedCeremony, ApprovalRefused> {
  if (state !== "open") return refuseApproval("approval-replayed", `request ${id} is ${state}`);
  if (sha256(line).slice(0, approvalIdCharacters) !== id) {
    return refuseApproval("approval-other-request", `request ${id} has the digest of another one`);
  }
  if (policy === undefined) return refuseApproval("approval-other-policy", "no policy is in force");
  const counted = countApprovals({ policy, request: line, approvals }, { at, ca, usedNonces: new Set() });
  return Result.map(counted, (found) => ({
    ...found,
    isApproved: found.approvers.length >= found.policy.threshold,
  }));
}
