/**
 * Why approvals do not permit an operation.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** What an operator can do about each refusal, by its code. Codes never change. */
export const approvalHints = {
  "approval-policy-malformed": "Put back the policy as hypha-certutil approvers or execute wrote it.",
  "approval-request-malformed": "Copy the request again, or make a new one: hypha-certutil request.",
  "approval-malformed": "Copy the approval again, or have the approver run hypha-certutil approve again.",
  "approval-too-many-files": "Give one request, and of each approver one approval.",
  "approval-other-policy": "The approvers have changed since, or this is another CA's policy: make a new request.",
  "approval-other-ca": "Give the certificate of the CA that the request names with --ca-cert.",
  "approval-not-needed": "Run the operation's own command: this policy lets it do without approvals.",
  "approval-expired": "Make a new request and have it approved: hypha-certutil request.",
  "approval-expires-late": "Check the clocks of both machines; then make a new request: hypha-certutil request.",
  "approval-replayed": "The operation was executed already. To do it once more, make a new request.",
  "approval-other-request": "Have the approver approve this request: hypha-certutil approve.",
  "approval-unlisted": "Take the approval out, and ask an approver that the policy lists.",
  "approval-repeated": "Take one of the two approvals out, and ask another approver.",
  "approval-signature": "Take the approval out and find out who changed it; have the approver approve again.",
  "approvals-missing": "Ask more of the listed approvers: hypha-certutil approve.",
} as const;

/** The kind of a refusal. */
export type ApprovalRefusalCode = keyof typeof approvalHints;

/** Approvals that do not permit an operation. */
export class ApprovalRefused extends Data.TaggedError("ApprovalRefused")<{
  readonly code: ApprovalRefusalCode;
  /** What is wrong, for people. */
  readonly detail: string;
}> {
  /** What an operator can do. */
  get hint(): string {
    return approvalHints[this.code];
  }
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot accept approvals: ${this.detail}`;
  }
}

/** Fails with an {@linkcode ApprovalRefused}. */
export function refuseApproval(code: ApprovalRefusalCode, detail: string): Result.Result<never, ApprovalRefused> {
  return Result.fail(new ApprovalRefused({ code, detail }));
}
