/**
 * Enrolments that wait for an operator's yes or no. A request has the id of its token.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { enterDenial, needsApprovals, openApprovalOf } from "./approval_rows.ts";
import { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** How long a request waits, in milliseconds; its token lives as long. */
export const requestLifetimeMs = 7 * 24 * 60 * 60_000;
/** How long the answer can be fetched after the decision, in milliseconds. */
export const answerLifetimeMs = 24 * 60 * 60_000;
/** Requests of a page. */
export const requestsPageRows = 1_000;

/** What an operator decides. */
export type Decision = "approved" | "denied";

/** Enters a request: the token belongs to this key, and waits with it. */
export function enterRequest(
  rows: RegisterRows,
  { token, key, address }: { readonly token: string; readonly key: string; readonly address: string },
  at: Date,
): void {
  const sql = "UPDATE tokens SET used_key = ?, used_address = ?, expires = ? WHERE id = ?";
  rows.change(sql, key, address, +at + requestLifetimeMs, token);
  rows.change("INSERT INTO requests VALUES (?, ?, NULL, NULL)", token, +at);
  rows.record({ type: "request.entered", outcome: "done", detail: { token, key, address } });
}

/** What became of a token's request; undefined where it has none. */
export function decisionOn(rows: RegisterRows, token: string): Decision | "open" | undefined {
  const row = rows.first<{ decision: Decision | null }>("SELECT decision FROM requests WHERE token = ?", token);
  return row === undefined ? undefined : row.decision ?? "open";
}

/** A request that waits. */
export interface OpenRequest {
  readonly id: string;
  /** SPIFFE ID. */
  readonly identity: string;
  /** The role that its certificates grant. */
  readonly role: Role;
  /** SHA-256 of the key's SPKI, hexadecimal. */
  readonly key: string;
  readonly address: string;
  readonly asked: number;
  readonly expires: number;
}

/** Where a page of requests ended. */
export type RequestMark = Pick<OpenRequest, "asked" | "id">;

const open = `
SELECT t.id, t.identity, t.role, t.used_key AS key, t.used_address AS address, r.asked, t.expires
FROM requests r JOIN tokens t ON t.id = r.token
WHERE r.decision IS NULL AND t.void = 0 AND t.expires > ?`;

/** The requests that wait, the oldest first: a page of them, behind a mark. */
export function openRequests(
  rows: RegisterRows,
  at: Date,
  after: RequestMark = { asked: -1, id: "" },
): readonly OpenRequest[] {
  const sql = `${open} AND (r.asked, r.token) > (?, ?) ORDER BY r.asked, r.token LIMIT ${requestsPageRows}`;
  return rows.all(sql, +at, after.asked, after.id);
}

/** Who decides where the command gives no name. */
export const unnamed = "an operator";

/** Decides a request that waits. The node fetches the answer within a day. */
export function decide(
  ca: CertificateAuthority,
  { id, decision, by = unnamed }: { readonly id: string; readonly decision: Decision; readonly by?: string },
  at: Date,
): Effect.Effect<OpenRequest, CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.suspend(() =>
    Effect.fromResult(ca.register.transaction((rows) => {
      const request = rows.first<OpenRequest>(`${open} AND r.token = ?`, +at, id);
      if (request === undefined) {
        const detail = `no request ${id} waits`;
        return Result.fail(new CaRefused({ code: "request-unknown", detail }));
      }
      const operation = `issue-role:${request.role}`;
      if (decision === "approved" && needsApprovals(rows, operation)) {
        const detail = `${operation} waits for approvals`;
        return Result.fail(new CaRefused({ code: "approvals-required", detail }));
      }
      rows.change("UPDATE requests SET decision = ?, decided = ? WHERE token = ?", decision, +at, id);
      rows.change("UPDATE tokens SET expires = ? WHERE id = ?", +at + answerLifetimeMs, id);
      // A decision on the enrolment is one on its request for approvals.
      const waiting = openApprovalOf(rows, id, at)?.id;
      if (waiting !== undefined) enterDenial(rows, { id: waiting, by }, at);
      rows.record({ type: "request.decided", outcome: decision, peer: request.identity, detail: { token: id, by } });
      return Result.succeed(request);
    }))
  ));
}
