/**
 * Whether approvals permit an operation: from texts alone, with time and trust as arguments.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Approval, isSignedBy, parseApproval } from "./approval.ts";
import { type ApprovalPolicy, type Approver, approversMax, parseApprovalPolicy } from "./approval_policy.ts";
import { type ApprovalRefused, refuseApproval } from "./approval_refused.ts";
import { type ApprovalRequest, parseApprovalRequest } from "./approval_request.ts";

declare const proof: unique symbol;

/** How long a request may be approved and executed, in milliseconds. */
export const requestLifeMaxMs: number = 24 * 60 * 60 * 1_000;
/** How far the clocks of the machines that make and execute a request may differ, in milliseconds. */
export const requestSkewMs: number = 5 * 60 * 1_000;

/** Whether a request ends later than one that is made at a time may. */
export function expiresLate({ expires }: Pick<ApprovalRequest, "expires">, at: Date): boolean {
  return expires.getTime() - at.getTime() > requestLifeMaxMs + requestSkewMs;
}

/** The texts of a ceremony. */
export interface CeremonyTexts {
  /** The policy in force, without the line feed at its end. */
  readonly policy: string;
  /** The request. */
  readonly request: string;
  /** The approvals, in any order. */
  readonly approvals: readonly string[];
}

/** What the texts are compared with. */
export interface CeremonyContext {
  /** When it is executed; the caller owns the clock. */
  readonly at: Date;
  /** Nonces of the requests that were executed. */
  readonly usedNonces: ReadonlySet<string>;
  /** SHA-256 of the public key of the CA that executes it, hexadecimal; undefined where the CA is not checked. */
  readonly ca: string | undefined;
}

/** Proof that the approvals permit the request. Only {@linkcode verifyApprovals} makes one. */
export interface Approved {
  readonly [proof]: "Approved";
  readonly request: ApprovalRequest;
  readonly policy: ApprovalPolicy;
  /** Who approved it, in the order of the policy. */
  readonly approvers: readonly Approver[];
}

/**
 * Checks a ceremony: the request names this policy and this CA, its operation waits for approvals, it has neither
 * expired nor been executed; each approval is of this request, by a listed approver, each of them once, with a valid
 * signature; they are as many as the policy's threshold. One approval that does not hold refuses the whole.
 *
 * Does not check whether the operation can be done, such as whether the CA issued what is to be revoked.
 */
export function verifyApprovals(
  texts: CeremonyTexts,
  context: CeremonyContext,
): Result.Result<Approved, ApprovalRefused> {
  return Result.flatMap(countApprovals(texts, context), (counted) => {
    const [count, { threshold }] = [counted.approvers.length, counted.policy];
    return count < threshold
      ? refuseApproval("approvals-missing", `${count} of the listed approvers approved, ${threshold} must`)
      : Result.succeed(counted as unknown as Approved);
  });
}

/** A ceremony whose approvals hold; they may be fewer than the policy wants. */
export interface CountedApprovals extends Omit<Approved, typeof proof> {}

/** Checks all that {@linkcode verifyApprovals} checks, but for the number of the approvals. */
export function countApprovals(
  texts: CeremonyTexts,
  context: CeremonyContext,
): Result.Result<CountedApprovals, ApprovalRefused> {
  const policy = parseApprovalPolicy(texts.policy);
  if (Result.isFailure(policy)) return Result.fail(policy.failure);
  const request = parseApprovalRequest(texts.request);
  if (Result.isFailure(request)) return Result.fail(request.failure);
  const refusal = refuseRequest(request.success, policy.success, context);
  if (refusal !== undefined) return refusal;
  return Result.map(
    approversOf(texts.approvals, request.success, policy.success),
    (approvers) => ({ request: request.success, policy: policy.success, approvers }),
  );
}

function refuseRequest(
  request: ApprovalRequest,
  policy: ApprovalPolicy,
  context: CeremonyContext,
): Result.Result<never, ApprovalRefused> | undefined {
  const { ca, expires, nonce, operation, policy: named } = request;
  if (named !== policy.digest) {
    return refuseApproval("approval-other-policy", `the request names policy ${named}, this one is ${policy.digest}`);
  }
  if (context.ca !== undefined && ca !== context.ca) {
    return refuseApproval("approval-other-ca", `the request is for the CA with key ${ca}, this one's is ${context.ca}`);
  }
  if (!policy.operations.includes(operation.name)) {
    return refuseApproval("approval-not-needed", `the policy does not list ${operation.name}`);
  }
  if (!(expires.getTime() > context.at.getTime())) {
    return refuseApproval("approval-expired", `the request expired at ${expires.toISOString()}`);
  }
  if (expiresLate(request, context.at)) {
    return refuseApproval("approval-expires-late", `the request expires at ${expires.toISOString()}, in over a day`);
  }
  return context.usedNonces.has(nonce)
    ? refuseApproval("approval-replayed", `the request with nonce ${nonce} was executed already`)
    : undefined;
}

function approversOf(
  texts: readonly string[],
  { digest }: ApprovalRequest,
  { approvers }: ApprovalPolicy,
): Result.Result<readonly Approver[], ApprovalRefused> {
  if (texts.length > approversMax) {
    return refuseApproval("approval-too-many-files", `there are more than ${approversMax} approvals`);
  }
  const approvals = new Map<Approver, Approval>();
  for (const text of texts) {
    const parsed = parseApproval(text);
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure);
    const approval = parsed.success;
    const approver = approvers.find(({ keyId }) => keyId === approval.approver);
    if (approval.request !== digest) {
      const whose = approver?.name ?? approval.approver;
      return refuseApproval("approval-other-request", `the approval of ${whose} is of another request`);
    }
    if (approver === undefined) {
      return refuseApproval("approval-unlisted", `the policy does not list the approver with key ${approval.approver}`);
    }
    if (approvals.has(approver)) return refuseApproval("approval-repeated", `${approver.name} approved twice`);
    approvals.set(approver, approval);
  }
  for (const [approver, approval] of approvals) {
    if (isSignedBy(approval, approver)) continue;
    return refuseApproval("approval-signature", `the signature of ${approver.name} does not verify`);
  }
  return Result.succeed(approvers.filter((approver) => approvals.has(approver)));
}
