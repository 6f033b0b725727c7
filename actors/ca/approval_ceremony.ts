/**
 * Approvals of a CA's requests: taken one by one; with enough of them the request is executed, once.
 *
 * An approval is in the register before anything is done with it, and what is done ends the request in the same transaction. A CA
 * that is killed in between finds a request that waits with enough approvals, and executes it when it starts.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { Effect, Result } from "effect";
import type { Approver } from "../../pki/approval/approval_policy.ts";
import type { ApprovalRefused } from "../../pki/approval/approval_refused.ts";
import type { OperationParts } from "../../pki/approval/approval_request.ts";
import { requestLifeMaxMs } from "../../pki/approval/verify_approvals.ts";
import { toHex } from "../../pki/bytes.ts";
import {
  type ApprovalEnd,
  type ApprovalRow,
  approvalRowOf,
  approvalsOf,
  type ApprovalState,
  approvedIds,
  approverIdsOf,
  denialOf,
  deniedSince,
  endApproval,
  enterApproval,
  enterApprovalRequest,
  enterDenial,
  factOf,
  lapse,
  openApprovals,
  openRequestLike,
  policyFact,
  policyOf,
} from "./approval_rows.ts";
import { lapseApprovedCas } from "./authorities_fact.ts";
import { doApproved } from "./approved_acts.ts";
import { type CaRefusalCode, CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { judgeApprovals, type JudgedCeremony } from "./judge_approvals.ts";
import { endUnreported, unreportedLapsed } from "./lapsed_rows.ts";
import { nextTurn } from "./make_lists.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

type Failure = CaRefused | RegisterFailure;

/** Where a request stands. */
export interface CeremonyStanding {
  readonly id: string;
  readonly operation: string;
  readonly state: ApprovalState;
  readonly expires: number;
  /** Names of those who approved. */
  readonly approvers: readonly string[];
  readonly threshold: number;
  /** Why an approved request was not done; undefined where nothing went wrong. */
  readonly reason: string | undefined;
}

/** What goes with a request. */
export interface RequestedFor {
  /** The node that enrols. */
  readonly identity?: string;
  /** Id of its token. */
  readonly token?: string;
  /** Goes with the transaction. */
  readonly also?: (rows: RegisterRows) => void;
}

/** Enters a request, for callers whose turn it is. Where an operator's waits already, it is that one: copies would divide the approvals. */
export function requestApprovals(
  ca: CertificateAuthority,
  operation: OperationParts,
  at: Date,
  { identity, token, also }: RequestedFor = {},
): Effect.Effect<CeremonyStanding, Failure> {
  const { name } = operation;
  const request = { operation, ca: ca.issuerId, nonce: toHex(randomBytes(32)), token };
  return Effect.map(
    Effect.fromResult(ca.register.transaction((rows) => {
      also?.(rows);
      const before = token === undefined ? openRequestLike(rows, request, at) : undefined;
      const entered = before === undefined ? enterApprovalRequest(rows, request, at) : Result.succeed(before);
      return Result.map(entered, (row) => ({ isNew: before === undefined, shown: shownRows(rows, [row])[0]! }));
    })),
    ({ isNew, shown: { id, state, expires, approvers, threshold } }) => {
      if (isNew) ca.onAlarm({ kind: "approvals-pending", identity: identity ?? name, operation: name, id });
      return { id, operation: name, state, expires, approvers, threshold, reason: undefined };
    },
  ).pipe(Effect.tap(() => nextTurn));
}

/** Takes an approval, and executes the request when it has enough of them. */
export function takeApproval(
  ca: CertificateAuthority,
  { id, approval }: { readonly id: string; readonly approval: string },
  at: Date,
): Effect.Effect<CeremonyStanding, Failure> {
  return ca.inTurn(Effect.gen(function* () {
    const judged = yield* Effect.fromResult(
      ca.register.transaction((rows) => enterJudged(ca, rows, { id, approval }, at)),
    );
    // Of many at once, each has a turn of the event loop for itself.
    yield* nextTurn;
    if (judged.isApproved) return yield* execute(ca, id, at);
    return standingOf(id, judged, { state: "open" });
  }));
}

function enterJudged(
  ca: CertificateAuthority,
  rows: RegisterRows,
  { id, approval }: { readonly id: string; readonly approval: string },
  at: Date,
): Result.Result<JudgedCeremony, CaRefused> {
  const row = approvalRowOf(rows, id);
  if (row === undefined) return Result.fail(unknownRequest(id));
  const holds = Result.mapError(judgeRow(ca, rows, row, at, [approval]), refusalOf);
  return Result.map(holds, (judged) => {
    const before = approvalsOf(rows, id);
    const { approver } = JSON.parse(approval) as { readonly approver: string };
    const { name } = judged.approvers.find(({ keyId }: Approver) => keyId === approver)!;
    if (before.length < judged.approvers.length) enterApproval(rows, { id, approver, name, line: approval });
    return judged;
  });
}

function judgeRow(
  ca: CertificateAuthority,
  rows: RegisterRows,
  row: ApprovalRow,
  at: Date,
  more: readonly string[] = [],
): Result.Result<JudgedCeremony, ApprovalRefused> {
  const approvals = [...approvalsOf(rows, row.id), ...more];
  const ceremony = { ...row, policy: factOf(rows, policyFact), approvals };
  return judgeApprovals(ceremony, { at, ca: ca.issuerId });
}

const refusalOf = ({ code, detail }: ApprovalRefused) =>
  new CaRefused({ code: "approval-refused", detail: `${code}: ${detail}`, remedy: remedies[code] });

const anotherRequest = "Make a new request: repeat its command; a node makes the next one when it asks again.";
const anotherApprover = "Have another approver of the policy approve it: hypha-ca approve ID --key FILE.";
/** What helps where the same person's next approval would be refused too. */
const remedies: Readonly<Partial<Record<ApprovalRefused["code"], string>>> = {
  "approval-expired": anotherRequest,
  "approval-replayed": anotherRequest,
  "approval-other-policy": anotherRequest,
  "approval-other-ca": anotherRequest,
  "approval-expires-late": "Set the clock of the CA's machine right.",
  "approval-repeated": anotherApprover,
  "approval-unlisted": anotherApprover,
};

const unknownRequest = (id: string) => new CaRefused({ code: "request-unknown", detail: `no request ${id} is known` });

function standingOf(
  id: string,
  { request, approvers, policy }: JudgedCeremony,
  { state, reason }: { readonly state: ApprovalState; readonly reason?: string },
): CeremonyStanding {
  return {
    id,
    operation: request.operation.name,
    state,
    expires: +request.expires,
    approvers: approvers.map(({ name }) => name),
    threshold: policy.threshold,
    reason,
  };
}

/** What passes: the request stays, and is tried again. */
const passing: readonly CaRefusalCode[] = ["busy", "issuer-ended", "signer-unavailable"];

/** Executes a request that waits with enough approvals; they are verified again, under the policy in force. */
function execute(ca: CertificateAuthority, id: string, at: Date): Effect.Effect<CeremonyStanding, Failure> {
  return Effect.gen(function* () {
    const row = (yield* Effect.fromResult(ca.register.read((rows) => approvalRowOf(rows, id))))!;
    const judged = yield* Effect.fromResult(ca.register.read((rows) => judgeRow(ca, rows, row, at)));
    if (Result.isFailure(judged)) {
      const refusal = refusalOf(judged.failure);
      // The clock was set back since the request was made: with the right time it holds again.
      if (judged.failure.code === "approval-expires-late") reportNotDone(ca, { ...row, reason: refusal.message });
      else yield* end(ca, { id, state: "lapsed", reason: refusal.detail }, at);
      return yield* refusal;
    }
    const { request: { operation, expires }, approvers } = judged.success;
    const finish = (rows: RegisterRows) => {
      const reason = `approved by ${approvers.map(({ name }) => name).join(", ")}`;
      endApproval(rows, { id, state: "executed", reason }, at);
    };
    const done = yield* Effect.result(doApproved(ca, { operation, expires, finish }, at));
    if (Result.isSuccess(done)) return standingOf(id, judged.success, { state: "executed" });
    const { message: reason } = done.failure;
    const waits = done.failure._tag !== "CaRefused" || passing.includes(done.failure.code);
    if (waits) reportNotDone(ca, { id, operation: operation.name, reason });
    else yield* end(ca, { id, state: "lapsed", reason: done.failure.code, detail: reason }, at);
    return standingOf(id, judged.success, { state: waits ? "open" : "lapsed", reason });
  });
}

function reportNotDone(
  ca: CertificateAuthority,
  { id, operation, reason }: Pick<ApprovalRow, "id" | "operation"> & { readonly reason: string },
): void {
  ca.onAlarm({ kind: "approved-not-done", identity: operation, operation, id, reason });
}

function end(ca: CertificateAuthority, ended: ApprovalEnd, at: Date): Effect.Effect<void, RegisterFailure> {
  return Effect.andThen(
    Effect.fromResult(
      ca.register.transaction<boolean, never>((rows) => Result.succeed(endApproval(rows, ended, at))),
    ),
    reportLapsed(ca),
  );
}

/** Reports what lapsed although it was approved. One that was reported when the CA is killed may be reported again. */
function reportLapsed(ca: CertificateAuthority): Effect.Effect<void, RegisterFailure> {
  return Effect.gen(function* () {
    for (const { id, operation, reason } of yield* Effect.fromResult(ca.register.read(unreportedLapsed))) {
      ca.onAlarm({ kind: "approved-lapsed", identity: operation, operation, id, reason });
      yield* Effect.fromResult(
        ca.register.transaction<void, never>((rows) => Result.succeed(endUnreported(rows, id))),
      );
    }
  });
}

/** Executes what was approved before the CA ended or its key was away, ends what has expired, and reports what lapsed although it was approved. */
export function resumeApproved(ca: CertificateAuthority, at: Date): Effect.Effect<void, Failure> {
  return ca.inTurn(Effect.gen(function* () {
    const ids = yield* Effect.fromResult(ca.register.transaction<readonly string[], never>((rows) => {
      lapseApprovedCas(rows, at);
      if (rows.first(anyOpen) === undefined) return Result.succeed([]);
      lapse(rows, at);
      return Result.succeed(approvedIds(rows, at));
    }));
    yield* reportLapsed(ca);
    for (const id of ids) yield* Effect.catchTag(execute(ca, id, at), "CaRefused", () => Effect.void);
  }));
}

const anyOpen = "SELECT 1 FROM approval_requests WHERE state = 'open' LIMIT 1";

/**
 * Denies a request: it ends, and a node whose enrolment it was gets no certificate.
 *
 * One operator can, without a signature: a denial permits nothing, and an operator with access to the admin socket can stop the CA too.
 * The register and the audit log name the operator.
 */
export function denyApproval(
  ca: CertificateAuthority,
  { id, by }: { readonly id: string; readonly by: string },
  at: Date,
): Effect.Effect<ApprovalRow, Failure> {
  return ca.inTurn(Effect.suspend(() =>
    Effect.fromResult(ca.register.transaction((rows) => {
      const row = approvalRowOf(rows, id);
      if (row === undefined || !enterDenial(rows, { id, by }, at)) {
        return Result.fail(unknownRequest(id));
      }
      const sql = "UPDATE requests SET decision = 'denied', decided = ? WHERE token = ? AND decision IS NULL";
      if (row.token !== null) rows.change(sql, +at, row.token);
      return Result.succeed(row);
    }))
  ));
}

/** A request that waits, or was denied, with those who have approved it. */
export interface WaitingRequest extends Omit<CeremonyStanding, "reason"> {
  readonly asked: number;
  /** Who denied it; undefined while it waits. */
  readonly deniedBy?: string | undefined;
}

/** All requests that wait. */
export function waitingRequests(rows: RegisterRows, at: Date): readonly WaitingRequest[] {
  return shownRows(rows, openApprovals(rows, at));
}

/** The requests that were denied within a day, the newest first. */
export function deniedRequests(rows: RegisterRows, at: Date): readonly WaitingRequest[] {
  return shownRows(rows, deniedSince(rows, new Date(+at - requestLifeMaxMs)));
}

function shownRows(rows: RegisterRows, found: readonly ApprovalRow[]): readonly WaitingRequest[] {
  const { approvers = [], threshold = 0 } = policyOf(rows) ?? {};
  return found.map(({ id, operation, state, expires, asked }) => {
    const given = approverIdsOf(rows, id);
    const names = approvers.filter(({ keyId }) => given.includes(keyId)).map(({ name }) => name);
    return { id, operation, state, expires, asked, approvers: names, threshold, deniedBy: denialOf(rows, id) };
  });
}
