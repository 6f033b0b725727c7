/**
 * Approvers, requests that wait for their approvals, and these approvals, in the register.
 *
 * A request is there from the operator's command, or a node's enrolment, until it ends: `executed` with enough approvals, `denied` by
 * an operator, or `lapsed`: expired, made under another policy, or not to be done any more. Its id is the beginning of its digest.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { type ApprovalPolicy, type OperationName, parseApprovalPolicy } from "../../pki/approval/approval_policy.ts";
import {
  type ApprovalRequest,
  composeApprovalRequest,
  type OperationParts,
  parseApprovalRequest,
} from "../../pki/approval/approval_request.ts";
import { requestLifeMaxMs } from "../../pki/approval/verify_approvals.ts";
import { detailBytesMax } from "../audit/audit_record.ts";
import { CaRefused } from "./ca_refused.ts";
import { enterLapsed, lapsedPrefix } from "./lapsed_rows.ts";
import type { RegisterRows } from "./register.ts";

/** Requests that wait at once. */
export const openApprovalsMax = 256;
/** Executed requests that are kept for export, and as many that ended otherwise: many denials push no executed one out. The audit log has all. */
export const endedApprovalsMax = 1_000;
/** Characters of an id: 8 octets, hexadecimal. */
export const approvalIdCharacters = 16;

/** What became of a request. */
export type ApprovalState = "open" | "executed" | "denied" | "lapsed";

/** A request. */
export interface ApprovalRow {
  readonly id: string;
  /** What approvers sign the hash of. */
  readonly line: string;
  /** The line of the policy under which it was made. */
  readonly policy: string;
  readonly operation: OperationName;
  readonly asked: number;
  readonly expires: number;
  /** Id of the token, where it is an enrolment. */
  readonly token: string | null;
  readonly state: ApprovalState;
  readonly ended: number | null;
}

/** The fact that holds the line of the policy in force. */
export const policyFact = "approval_policy";

/** Reads a fact. */
export function factOf(rows: RegisterRows, name: string): string | undefined {
  return rows.first<{ readonly value: string }>("SELECT value FROM facts WHERE name = ?", name)?.value;
}

/** Enters a fact. */
export function enterFact(rows: RegisterRows, name: string, value: string): void {
  rows.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value);
}

/** The policy in force; undefined where nothing waits for approvals. */
export function policyOf(rows: RegisterRows): ApprovalPolicy | undefined {
  const line = factOf(rows, policyFact);
  // Only lines that were read are entered.
  return line === undefined ? undefined : Result.getOrThrow(parseApprovalPolicy(line));
}

/** Puts a policy in force. */
export function enterPolicy(
  rows: RegisterRows,
  { line, digest, threshold, approvers, operations }: ApprovalPolicy,
): void {
  enterFact(rows, policyFact, line);
  rows.record({
    type: "approval.policy",
    outcome: "done",
    detail: {
      policy: digest,
      threshold,
      operations,
      approvers: approvers.map(({ name, keyId }) => `${name} ${keyId}`),
    },
  });
}

/** Whether an operation waits for approvals. */
export function needsApprovals(rows: RegisterRows, operation: string): boolean {
  return policyOf(rows)?.operations.some((each) => each === operation) ?? false;
}

/** What a request is entered with. */
export interface NewApprovalRequest {
  readonly operation: OperationParts;
  /** SHA-256 of the key of the CA that executes it. */
  readonly ca: string;
  /** 32 random octets, hexadecimal. */
  readonly nonce: string;
  readonly token?: string | undefined;
}

/** What a request's line says but for its end and its nonce. */
const substanceOf = (line: string) => line.replace(/"expires":"[^"]*","nonce":"[^"]*",/, "");

/** A request of an operator that waits and wants the same of the same CA, under the policy in force. */
export function openRequestLike(
  rows: RegisterRows,
  { operation, ca }: Pick<NewApprovalRequest, "operation" | "ca">,
  at: Date,
): ApprovalRow | undefined {
  const policy = policyOf(rows);
  if (policy === undefined) return undefined;
  const frame = { ca, expires: at, nonce: "", policy: policy.digest };
  const wanted = substanceOf(composeApprovalRequest(operation, frame));
  return openApprovals(rows, at).find(({ token, line }) => token === null && substanceOf(line) === wanted);
}

/** Enters a request; it expires after a day. */
export function enterApprovalRequest(
  rows: RegisterRows,
  { operation, ca, nonce, token }: NewApprovalRequest,
  at: Date,
): Result.Result<ApprovalRow, CaRefused> {
  const policy = policyOf(rows);
  if (policy === undefined) return refuse("approvers-refused", "no approvers are set");
  lapse(rows, at);
  const open = rows.first<{ n: number }>("SELECT count(*) AS n FROM approval_requests WHERE state = 'open'")!.n;
  if (open >= openApprovalsMax) return refuse("too-many-requests", `${open} requests wait for approvals`);
  const expires = Math.floor((+at + requestLifeMaxMs) / 1_000) * 1_000;
  const line = composeApprovalRequest(operation, { ca, expires: new Date(expires), nonce, policy: policy.digest });
  return Result.map(readRequest(line), ({ digest }) => {
    const id = digest.slice(0, approvalIdCharacters);
    const sql =
      "INSERT INTO approval_requests (id, line, policy, operation, asked, expires, token) VALUES (?, ?, ?, ?, ?, ?, ?)";
    rows.change(sql, id, line, policy.line, operation.name, +at, expires, token ?? null);
    recordRequest(rows, { id, line, operation: operation.name });
    return approvalRowOf(rows, id)!;
  });
}

/** Code points of a request in one of several records: four octets each at most, below `detailBytesMax`. */
const recordedPart = /[\s\S]{1,900}/gu;

/** Records a request whole: the audit log would cut one that is too long for a record, which takes several. */
function recordRequest(
  rows: RegisterRows,
  { id, line, operation }: Pick<ApprovalRow, "id" | "line"> & { readonly operation: string },
): void {
  const isShort = Buffer.byteLength(JSON.stringify({ id, request: line })) <= detailBytesMax;
  const texts = isShort ? [line] : line.match(recordedPart) ?? [];
  for (const [index, request] of texts.entries()) {
    const place = texts.length === 1 ? {} : { part: index + 1, parts: texts.length };
    rows.record({ type: "approval.requested", outcome: "done", peer: operation, detail: { id, request, ...place } });
  }
}

/** Reads a request's line. One that is too long cannot be approved. */
export function readRequest(line: string): Result.Result<ApprovalRequest, CaRefused> {
  return Result.mapError(
    parseApprovalRequest(line),
    ({ detail }) => new CaRefused({ code: "too-many-certificates", detail }),
  );
}

/** A request by its id. */
export function approvalRowOf(rows: RegisterRows, id: string): ApprovalRow | undefined {
  return rows.first("SELECT * FROM approval_requests WHERE id = ?", id);
}

/** The lines of a request's approvals. */
export function approvalsOf(rows: RegisterRows, id: string): readonly string[] {
  const sql = "SELECT line FROM approvals WHERE request = ? ORDER BY rowid";
  return rows.all<{ readonly line: string }>(sql, id).map(({ line }) => line);
}

/** Key ids of those who approved a request. */
export function approverIdsOf(rows: RegisterRows, id: string): readonly string[] {
  const sql = "SELECT approver FROM approvals WHERE request = ?";
  return rows.all<{ readonly approver: string }>(sql, id).map(({ approver }) => approver);
}

/** Names of those who approved a request, by the policy under which it was made. */
export function approverNamesOf(rows: RegisterRows, id: string): readonly string[] {
  const row = approvalRowOf(rows, id);
  if (row === undefined) return [];
  const given = approverIdsOf(rows, id);
  const { approvers } = Result.getOrThrow(parseApprovalPolicy(row.policy));
  return approvers.filter(({ keyId }) => given.includes(keyId)).map(({ name }) => name);
}

/** Enters an approval that was checked. */
export function enterApproval(
  rows: RegisterRows,
  { id, approver, name, line }: {
    readonly id: string;
    readonly approver: string;
    readonly name: string;
    readonly line: string;
  },
): void {
  rows.change("INSERT INTO approvals VALUES (?, ?, ?)", id, approver, line);
  rows.record({ type: "approval.given", outcome: "done", peer: name, detail: { id, approval: line } });
}

/** The requests that wait, the oldest first. */
export function openApprovals(rows: RegisterRows, at: Date): readonly ApprovalRow[] {
  const sql = "SELECT * FROM approval_requests WHERE state = 'open' AND expires > ? ORDER BY asked, id";
  return rows.all(sql, +at);
}

/** The open request of a token. */
export function openApprovalOf(rows: RegisterRows, token: string, at: Date): ApprovalRow | undefined {
  return rows.first("SELECT * FROM approval_requests WHERE token = ? AND state = 'open' AND expires > ?", token, +at);
}

/** Ids of the open requests that have as many approvals as the policy wants. */
export function approvedIds(rows: RegisterRows, at: Date): readonly string[] {
  const threshold = policyOf(rows)?.threshold;
  if (threshold === undefined) return [];
  const sql = `
SELECT id FROM approval_requests WHERE state = 'open' AND expires > ?
AND (SELECT count(*) FROM approvals WHERE request = approval_requests.id) >= ? ORDER BY asked, id`;
  return rows.all<{ readonly id: string }>(sql, +at, threshold).map(({ id }) => id);
}

/** How a request ends. */
export interface ApprovalEnd {
  readonly id: string;
  readonly state: Exclude<ApprovalState, "open">;
  readonly reason: string;
  /** More of the reason, where it lapsed. */
  readonly detail?: string;
}

/** Ends a request; false where it had ended before. One that lapses although enough persons have approved it is to be reported. */
export function endApproval(rows: RegisterRows, { id, state, reason, detail }: ApprovalEnd, at: Date): boolean {
  const sql = "UPDATE approval_requests SET state = ?, ended = ? WHERE id = ? AND state = 'open'";
  if (rows.change(sql, state, +at, id) === 0) return false;
  const isLost = state === "lapsed" && hasEnoughApprovals(rows, id);
  rows.record({ type: `approval.${state}`, outcome: reason, detail: { id, ...(isLost ? { approved: true } : {}) } });
  if (isLost) enterLapsed(rows, { id, reason: detail ?? reason }, at);
  return true;
}

/** Whether a request has as many approvals as the policy wants under which it was made. */
function hasEnoughApprovals(rows: RegisterRows, id: string): boolean {
  const { threshold } = Result.getOrThrow(parseApprovalPolicy(approvalRowOf(rows, id)!.policy));
  return approverIdsOf(rows, id).length >= threshold;
}

/** Name of the fact that says who denied a request. */
const denialFact = (id: string) => `denied_by:${id}`;

/** Denies a request; false where it had ended before. The fact is there as long as the request is kept. */
export function enterDenial(
  rows: RegisterRows,
  { id, by }: { readonly id: string; readonly by: string },
  at: Date,
): boolean {
  if (!endApproval(rows, { id, state: "denied", reason: `denied by ${by}` }, at)) return false;
  enterFact(rows, denialFact(id), by);
  return true;
}

/** Who denied a request; undefined where it was not denied. */
export function denialOf(rows: RegisterRows, id: string): string | undefined {
  return factOf(rows, denialFact(id));
}

/** Requests that were denied since a time, the newest first. */
export function deniedSince(rows: RegisterRows, since: Date): readonly ApprovalRow[] {
  const sql = "SELECT * FROM approval_requests WHERE state = 'denied' AND ended > ? ORDER BY ended DESC, id";
  return rows.all(sql, +since);
}

/** Ends the requests that have expired, and forgets those that ended long ago. */
export function lapse(rows: RegisterRows, at: Date): void {
  const expired = "SELECT id FROM approval_requests WHERE state = 'open' AND expires <= ?";
  for (const { id } of rows.all<{ readonly id: string }>(expired, +at)) {
    endApproval(rows, { id, state: "lapsed", reason: "expired" }, at);
  }
  for (const states of ["'executed'", "'denied', 'lapsed'"]) {
    const old =
      `SELECT id FROM approval_requests WHERE state IN (${states}) ORDER BY ended DESC LIMIT -1 OFFSET ${endedApprovalsMax}`;
    rows.change(`DELETE FROM approvals WHERE request IN (${old})`);
    for (const prefix of ["denied_by:", lapsedPrefix]) {
      rows.change(`DELETE FROM facts WHERE name IN (SELECT '${prefix}' || id FROM (${old}))`);
    }
    rows.change(`DELETE FROM approval_requests WHERE id IN (${old})`);
  }
}

/** Ends all that wait: what they were made under no longer holds. */
export function lapseAll(rows: RegisterRows, reason: string, at: Date): void {
  for (const { id } of rows.all<{ readonly id: string }>("SELECT id FROM approval_requests WHERE state = 'open'")) {
    endApproval(rows, { id, state: "lapsed", reason }, at);
  }
}

/** Ends what waits and was made under another CA than this one. */
export function lapseOfOthers(rows: RegisterRows, ca: string, at: Date): void {
  const sql = "SELECT id, line FROM approval_requests WHERE state = 'open'";
  for (const { id, line } of rows.all<{ readonly id: string; readonly line: string }>(sql)) {
    const request = readRequest(line);
    if (Result.isSuccess(request) && request.success.ca === ca) continue;
    endApproval(rows, { id, state: "lapsed", reason: "made under another CA" }, at);
  }
}

const refuse = (code: "approvers-refused" | "too-many-requests", detail: string) =>
  Result.fail(new CaRefused({ code, detail }));
