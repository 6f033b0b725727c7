/**
 * What a CA lets its operator do over its admin socket.
 *
 * @module
 */
import { isAbsolute } from "node:path";
import { Effect, Result, Schema } from "effect";
import { revocationReasons } from "../../pki/issue/mod.ts";
import { emptyBody, jsonRoute } from "../admin/json_route.ts";
import { type AdminAnswer, adminBackupMs, type AdminRoutes } from "../admin/serve_admin.ts";
import { fileMark } from "../files/file_mark.ts";
import type { Ports } from "../runtime/ports.ts";
import type { KnownFork } from "../witness/known_forks.ts";
import { caRefusals, CaRefused } from "./ca_refused.ts";
import { deniedRequests, denyApproval, waitingRequests } from "./approval_ceremony.ts";
import { approvalRoutes, shownStanding } from "./approval_routes.ts";
import { approvalRowOf, policyOf } from "./approval_rows.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { type ListedRow } from "./certificate_rows.ts";
import { revokeByOperator } from "./operator_acts.ts";
import { operatorStatus, pageOfNodes } from "./operator_views.ts";
import { decide, type OpenRequest, openRequests, requestsPageRows, unnamed } from "./request_rows.ts";
import { enterBackup } from "./restored_rows.ts";
import type { MakeRoute, RouteOutcome } from "./route.ts";
import { takeRootList } from "./take_root_list.ts";
import { createToken } from "./token_rows.ts";

const text = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(1_024));
const tokenBody = Schema.Struct({
  role: Schema.Literals(["gateway", "scheduler", "worker", "data"]),
  name: text,
  san: Schema.optionalKey(Schema.Array(text).check(Schema.isMaxLength(100))),
  lifetime_s: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 86_400 }))),
  replace: Schema.optionalKey(Schema.Boolean),
  identity: Schema.optionalKey(Schema.Boolean),
});
const reason = Schema.optionalKey(
  Schema.Literals(Object.keys(revocationReasons) as (keyof typeof revocationReasons)[]),
);
/** Names that one command revokes. */
const namesMax = 500;
const revokeBody = Schema.Union([
  Schema.Struct({ name: text, reason }),
  Schema.Struct({ names: Schema.Array(text).check(Schema.isMinLength(1), Schema.isMaxLength(namesMax)), reason }),
  Schema.Struct({ serial: text, reason }),
]);
const fileBody = Schema.Struct({ file: text });
const nodesBody = Schema.Struct({
  name: Schema.optionalKey(text),
  after: Schema.optionalKey(Schema.Struct({ not_after: Schema.Int, rowid: Schema.Int })),
});
const requestsBody = Schema.Struct({ after: Schema.optionalKey(Schema.Struct({ asked: Schema.Int, id: text })) });
const decideBody = Schema.Struct({
  id: text,
  decision: Schema.Literals(["approved", "denied"]),
  /** Who decides, as the command states it: the socket knows its user alone. */
  by: Schema.optionalKey(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(100))),
});

type Outcome = RouteOutcome;

/** What a program knows of a CA that its register does not. */
export interface ProgramView {
  /** The forks of audit logs that the CA's witness knows. */
  readonly forks?: (() => readonly KnownFork[]) | undefined;
  /** Why its port is not open; undefined where it is, or nothing went wrong. */
  readonly problem?: (() => string | undefined) | undefined;
  /** Why the file of approvers would prevent the next start; undefined where it would not. */
  readonly nextStart?: (() => string | undefined) | undefined;
}

const notAbsolute = Effect.fail(new CaRefused({ code: "name-not-allowed", detail: "the file's path is not absolute" }));

/**
 * All of them. Bodies and answers are JSON; times are RFC 3339.
 *
 * @param seen What the program knows of the CA, and its register does not.
 */
export function adminRoutes(
  ca: CertificateAuthority,
  ports: Pick<Ports, "now" | "run">,
  { forks = () => [], problem = () => undefined, nextStart = () => undefined }: ProgramView = {},
): AdminRoutes {
  const route: MakeRoute = (summary, body, act) =>
    jsonRoute({ summary, body }, (asked) => {
      const at = new Date(ports.now());
      return answerOf(ports, Effect.suspend(() => act(ca, asked, at)));
    });
  return {
    "GET /status": route(
      "Show how the CA stands.",
      emptyBody,
      (_, _body, at) => operatorStatus(ca, at, { forks: forks(), problem: problem(), nextStart: nextStart() }),
    ),
    "POST /ca/nodes": route("List certificates that have not ended, a page at a time.", nodesBody, pageOfNodes),
    "POST /ca/token": route("Make a token with which one node gets its certificate.", tokenBody, makeToken),
    "POST /ca/revoke": route("Revoke a name, or a certificate and those that renew it.", revokeBody, revokeTarget),
    "POST /ca/root-list": route("Publish a list that was signed with the root's key.", fileBody, publishRootList),
    "POST /ca/requests": route("List the enrolments that wait, a page at a time.", requestsBody, pageOfRequests),
    "POST /ca/decide": route(
      "Decide an enrolment that waits.",
      decideBody,
      decideRequest,
    ),
    ...approvalRoutes(route),
    "POST /ca/backup": Object.assign(route("Copy the register to a file.", fileBody, backUp), {
      timeoutMs: adminBackupMs,
    }),
  };
}

function makeToken(
  ca: CertificateAuthority,
  { role, name, san, lifetime_s: seconds, replace, identity: isIdentity }: typeof tokenBody.Type,
  at: Date,
): Outcome {
  const lifetimeMs = seconds === undefined ? undefined : seconds * 1_000;
  const [replaces, key] = [replace === true ? "yes" : "no", isIdentity === true ? "hardware" : "tls"] as const;
  const request = { role, name, san, lifetimeMs, replaces, key };
  return Effect.map(
    createToken(ca, request, at),
    ({ text: token, identity, expires, voided }) => ({ token, identity, expires: expires.toISOString(), voided }),
  );
}

function revokeTarget(
  ca: CertificateAuthority,
  { reason = "unspecified", ...target }: typeof revokeBody.Type,
  at: Date,
): Outcome {
  const targets = "names" in target ? target.names.map((name) => ({ name })) : [target];
  return Effect.map(revokeByOperator(ca, targets, reason, at), (acted) => {
    const { voided = [] } = acted;
    if ("waits" in acted) return { waits: shownStanding(acted.waits), voided };
    const { done } = acted;
    const { number, gap } = done.at(-1) ?? {};
    const shown = ({ identity, serial }: ListedRow) => ({ identity, serial });
    return {
      revoked: done.flatMap(({ certificates }) => certificates.map(shown)),
      unlisted: done.flatMap(({ unlisted }) => unlisted.map(shown)),
      voided,
      ...(number === undefined ? {} : { number }),
      ...(gap === undefined
        ? {}
        : { gap: { from: new Date(gap.from).toISOString(), to: new Date(gap.to).toISOString() } }),
    };
  });
}

/** Ids of enrolments that one operator decides, and of requests that wait for approvals. */
function decideRequest(ca: CertificateAuthority, body: typeof decideBody.Type, at: Date): Outcome {
  const { id, decision, by = unnamed } = body;
  return Effect.gen(function* () {
    const waiting = yield* Effect.fromResult(ca.register.read((rows) => approvalRowOf(rows, id)));
    if (waiting === undefined) return shownRequest(yield* decide(ca, body, at));
    if (decision === "denied") return { identity: (yield* denyApproval(ca, { id, by }, at)).operation };
    const detail = `${waiting.operation} waits for approvals`;
    return yield* new CaRefused({ code: "approvals-required", detail });
  });
}

function publishRootList(ca: CertificateAuthority, { file }: typeof fileBody.Type, at: Date): Outcome {
  if (!isAbsolute(file)) return notAbsolute;
  return Effect.map(
    takeRootList(ca, file, at),
    (lists) =>
      lists.map(({ issuer, number, next_update: end }) => ({ issuer, number, ends: new Date(end).toISOString() })),
  );
}

/** The requests that wait for approvals, and those denied within a day, are on the first page. */
function pageOfRequests(ca: CertificateAuthority, { after }: typeof requestsBody.Type, at: Date): Outcome {
  return Effect.fromResult(ca.register.read((rows) => {
    const page = openRequests(rows, at, after);
    const last = page.length < requestsPageRows ? undefined : page.at(-1);
    const mark = last === undefined ? {} : { after: { asked: last.asked, id: last.id } };
    const operations: readonly string[] = policyOf(rows)?.operations ?? [];
    const requests = page.filter(({ role }) => !operations.includes(`issue-role:${role}`));
    const approvals = after === undefined ? [...waitingRequests(rows, at), ...deniedRequests(rows, at)] : [];
    return {
      requests: requests.map(shownRequest),
      approvals: approvals.map(({ asked, deniedBy, ...each }) => ({
        ...shownStanding({ ...each, reason: undefined }),
        ...(deniedBy === undefined ? {} : { denied_by: deniedBy }),
        asked: new Date(asked).toISOString(),
      })),
      ...mark,
    };
  }));
}

function backUp({ register }: CertificateAuthority, { file }: typeof fileBody.Type, at: Date): Outcome {
  if (!isAbsolute(file)) return notAbsolute;
  return Effect.flatMap(
    Effect.promise(() => {
      // A full disk prevents no backup.
      register.transaction((rows) => Result.succeed(enterBackup(rows, at)));
      return register.backup(file);
    }),
    (done) => Effect.fromResult(Result.map(done, () => ({ file, mark: fileMark(file) }))),
  );
}

/** Runs an operation; its refusal is an answer too. */
function answerOf(ports: Pick<Ports, "run">, operation: Outcome): Promise<AdminAnswer> {
  const answered: Effect.Effect<AdminAnswer> = Effect.match(operation, {
    onSuccess: (body) => ({ status: 200, body }),
    onFailure: (error) => {
      const { message } = error;
      if (error._tag === "RegisterFailure") {
        return { status: 503, body: { code: `register-${error.problem}`, error: message, hint: "" } };
      }
      const { code, hint } = error;
      return { status: caRefusals[code].status, body: { code, error: message, hint } };
    },
  });
  return new Promise((resolve, reject) => {
    ports.run(answered, (exit) => exit._tag === "Success" ? resolve(exit.value) : reject(new Error("no answer")));
  });
}

const shownRequest = ({ asked, expires, ...request }: OpenRequest) => ({
  ...request,
  asked: new Date(asked).toISOString(),
  expires: new Date(expires).toISOString(),
});
