/**
 * Requests and approvals over a CA's admin socket.
 *
 * @module
 */
import { Effect, Schema } from "effect";
import type { AdminRoutes } from "../admin/serve_admin.ts";
import { emptyBody } from "../admin/json_route.ts";
import { type CeremonyStanding, takeApproval } from "./approval_ceremony.ts";
import { approvalRowOf, approvalsOf, denialOf, factOf, policyFact } from "./approval_rows.ts";
import { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { permitRotation, requestPolicy, setFirstPolicy } from "./operator_acts.ts";
import type { MakeRoute, RouteOutcome } from "./route.ts";

const id = Schema.String.check(Schema.isPattern(/^[0-9a-f]{16}$/));
const line = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(65_536));
const digest = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/));
const cas = Schema.Array(digest).check(Schema.isMaxLength(8));
const rotateBody = Schema.Struct({ issues: digest, next: cas, retired: cas });
const idBody = Schema.Struct({ id });
const approveBody = Schema.Struct({ id, approval: line });
const policyBody = Schema.Struct({ policy: line });

/** All of them. */
export function approvalRoutes(route: MakeRoute): AdminRoutes {
  return {
    "GET /ca/approvers": route(
      "Show who approves what.",
      emptyBody,
      (ca) => Effect.fromResult(ca.register.read((rows) => ({ policy: factOf(rows, policyFact) ?? null }))),
    ),
    "POST /ca/approvers": route(
      "Set the first approvers.",
      policyBody,
      (ca, { policy }) => Effect.map(setFirstPolicy(ca, policy), ({ digest }) => ({ digest })),
    ),
    "POST /ca/change-approvers": route(
      "Request other approvers: the present ones approve them.",
      policyBody,
      (ca, { policy }, at) => Effect.map(requestPolicy(ca, policy, at), shownStanding),
    ),
    "POST /ca/request": route("Show a request with its approvals.", idBody, showRequest),
    "POST /ca/approve": route(
      "Take an approver's approval of a request; with enough of them it is executed.",
      approveBody,
      (ca, given, at) => Effect.map(takeApproval(ca, given, at), shownStanding),
    ),
    "POST /ca/rotate": route(
      "Ask whether the configuration may have these CAs.",
      rotateBody,
      (ca, wanted, at) =>
        Effect.map(
          permitRotation(ca, wanted, at),
          (acted) => "done" in acted ? { permitted: true } : { waits: shownStanding(acted.waits) },
        ),
    ),
  };
}

function showRequest(ca: CertificateAuthority, { id }: typeof idBody.Type): RouteOutcome {
  return Effect.flatMap(
    Effect.fromResult(ca.register.read((rows) => {
      const row = approvalRowOf(rows, id);
      if (row === undefined) return undefined;
      const deniedBy = denialOf(rows, id);
      return {
        ...{ id, state: row.state, request: row.line, approvals: approvalsOf(rows, id), policy: row.policy },
        ...(deniedBy === undefined ? {} : { denied_by: deniedBy }),
      };
    })),
    (shown) =>
      shown === undefined
        ? Effect.fail(new CaRefused({ code: "request-unknown", detail: `no request ${id} is known` }))
        : Effect.succeed(shown),
  );
}

/** Where a request stands, with times as RFC 3339. */
export function shownStanding({ expires, reason, ...standing }: CeremonyStanding): Readonly<Record<string, unknown>> {
  return { ...standing, expires: new Date(expires).toISOString(), ...(reason === undefined ? {} : { reason }) };
}
