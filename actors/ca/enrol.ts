/**
 * Enrolment: a certificate for a token and a signing request.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { Certificate } from "../../pki/certificate.ts";
import type { ApprovedRole } from "../../pki/approval/online_operation.ts";
import { requestApprovals } from "./approval_ceremony.ts";
import { needsApprovals, openApprovalOf } from "./approval_rows.ts";
import { type CaRefusalCode, CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { certificateForToken, type CertificateRow, enterCertificate, roleOf } from "./certificate_rows.ts";
import type { FailureLimit } from "./failure_limit.ts";
import { refuseNew } from "./refuse_new.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { decisionOn, enterRequest } from "./request_rows.ts";
import { leafTbs, type LeafTerms, type ReadRequest, readRequest, signLeaf } from "./sign_leaf.ts";
import { isSecretOf, type JoinToken, parseToken } from "./token.ts";
import { tokenOf, type TokenRow, unlock } from "./token_rows.ts";

/** What a node sends, and from where. */
export interface EnrolRequest {
  /** The token's text. */
  readonly token: string;
  /** The name that goes with it; undefined where the client gives none. */
  readonly name?: string | undefined;
  /** The signing request, DER. */
  readonly csr: Uint8Array;
  /** The sender's address, without its port. */
  readonly address: string;
}

/** A certificate that was issued, DER. */
export type IssuedDer = Uint8Array;

/**
 * Issues the certificate of a token.
 *
 * A token belongs to the first key that it is used with: the same token and key get the same certificate again until the token
 * expires, so that a lost answer loses nothing. Another key is refused, with an alarm.
 */
export function enrol(
  ca: CertificateAuthority,
  request: EnrolRequest,
  at: Date,
): Effect.Effect<IssuedDer, CaRefused | RegisterFailure> {
  return limited(
    ca.failures.enrolments,
    request.address,
    at,
    ca.inLine(request.address)(Effect.gen(function* () {
      const row = yield* readToken(ca, request, at);
      const read = yield* Effect.fromResult(readRequest(ca, request.csr));
      const before = yield* Effect.fromResult(
        ca.register.transaction((rows) => stateOf(ca, rows, { row, read, address: request.address }, at)),
      );
      const identity = { commonName: row.name, san: JSON.parse(row.sans) as readonly string[] };
      const terms = { identity, lifetimeMs: ca.lifetimeMs(roleOf(row.identity, ca.domain)) };
      if (before === "unrequested") yield* requestEnrolment(ca, { row, read, address: request.address }, terms, at);
      if (before === "pending" || before === "unrequested") {
        const detail = `the request of ${row.identity} waits for a decision`;
        return yield* new CaRefused({ code: "request-pending", detail });
      }
      if (before !== undefined) return before;
      const certificate = yield* signLeaf(ca, read, terms, at);
      return yield* Effect.fromResult(
        ca.register.transaction((rows) => enter(ca, rows, { row, read, certificate, address: request.address })),
      );
    })),
  );
}

/** Enters a request for the approvals of persons: with the bytes that the CA would sign. */
function requestEnrolment(
  ca: CertificateAuthority,
  { row, read, address }: Use,
  terms: LeafTerms,
  at: Date,
): Effect.Effect<void, CaRefused | RegisterFailure> {
  return Effect.gen(function* () {
    const tbs = yield* leafTbs(ca, read, terms, at);
    const replaces = row.replaces === 1 ? { replaces: true } as const : {};
    const operation = { name: `issue-role:${row.role as ApprovedRole}`, tbs, token: row.id, ...replaces } as const;
    yield* requestApprovals(ca, operation, at, {
      identity: row.identity,
      token: row.id,
      also: (rows) => {
        if (row.used_key === null) enterRequest(rows, { token: row.id, key: read.key, address }, at);
      },
    });
  });
}

/** Checks that a request carries a token that was not used up; it is not used by this. */
export function checkUnusedToken(
  ca: CertificateAuthority,
  request: Omit<EnrolRequest, "csr">,
  at: Date,
): Effect.Effect<void, CaRefused | RegisterFailure> {
  const unused = Effect.flatMap(
    readToken(ca, request, at),
    ({ id, identity }) =>
      Effect.fromResult(ca.register.transaction((rows) => {
        if (certificateForToken(rows, id) === undefined) return Result.void;
        return Result.fail(new CaRefused({ code: "token-used", detail: `the token of ${identity} was used` }));
      })),
  );
  return limited(ca.failures.enrolments, request.address, at, unused);
}

/** An address that has failed too often is not heard; refusals count as failures, and so do defects: a request may cause them. */
export function limited<A>(
  failures: FailureLimit,
  address: string,
  at: Date,
  operation: Effect.Effect<A, CaRefused | RegisterFailure>,
): Effect.Effect<A, CaRefused | RegisterFailure> {
  return Effect.suspend(() => {
    if (failures.isReached(address, +at)) {
      return Effect.fail(new CaRefused({ code: "too-many-failures", detail: `${address} has failed too often` }));
    }
    const count = Effect.sync(() => failures.count(address, +at));
    return operation.pipe(
      Effect.tapError((error) => isSendersFault(error) ? count : Effect.void),
      Effect.tapDefect(() => count),
    );
  });
}

/** A request that waits is no fault either. */
const othersFaults: readonly CaRefusalCode[] = [
  "busy",
  "issuer-ended",
  "signer-unavailable",
  "request-pending",
  "too-many-requests",
];

function isSendersFault(error: CaRefused | RegisterFailure): boolean {
  return error._tag === "CaRefused" && !othersFaults.includes(error.code);
}

/** A token of another CA is refused before the register is asked: each part of a token counts. */
function readToken(
  ca: CertificateAuthority,
  request: Omit<EnrolRequest, "csr">,
  at: Date,
): Effect.Effect<TokenRow, CaRefused | RegisterFailure> {
  return Effect.suspend(() =>
    Effect.fromResult(Result.gen(function* () {
      const token = yield* parseToken(request.token);
      if (token.anchor !== ca.anchorId || token.url !== ca.url) {
        return yield* Result.fail(new CaRefused({ code: "token-foreign", detail: "the token is another CA's" }));
      }
      return yield* ca.register.transaction((rows) => checkToken(rows, token, request, at));
    }))
  );
}

/** Compared where no row is found, so that an unknown id takes as long as a wrong secret. */
const noHash = "0".repeat(64);

function checkToken(
  rows: RegisterRows,
  token: JoinToken,
  { name }: Pick<EnrolRequest, "name">,
  at: Date,
): Result.Result<TokenRow, CaRefused> {
  const row = tokenOf(rows, token.id);
  if (!isSecretOf(token.secret, row?.secret_hash ?? noHash) || row === undefined || row.void !== 0) {
    return Result.fail(new CaRefused({ code: "token-unknown", detail: "the register has no such token" }));
  }
  if (name !== undefined && name !== "" && name !== row.name) {
    return Result.fail(new CaRefused({ code: "token-unknown", detail: `the token is not for ${name}` }));
  }
  if (+at >= row.expires) {
    const detail = `the token expired at ${new Date(row.expires).toISOString()}`;
    return Result.fail(new CaRefused({ code: "token-expired", detail }));
  }
  return Result.succeed(row);
}

interface Use {
  readonly row: TokenRow;
  readonly read: ReadRequest;
  readonly address: string;
}

/** The certificate of a token that was used before; undefined where one is to be made; a request is entered here. */
function stateOf(
  ca: CertificateAuthority,
  rows: RegisterRows,
  { row, read, address }: Use,
  at: Date,
): Result.Result<IssuedDer | "pending" | "unrequested" | undefined, CaRefused> {
  const { identity } = row;
  // Whatever one operator has decided: no certificate is made here.
  const needsPersons = needsApprovals(rows, `issue-role:${row.role}`);
  if (row.used_key === null) {
    const refused = refuseNew(rows, { row, key: read.key }, at);
    if (refused !== undefined) return Result.fail(refused);
    if (needsPersons) return Result.succeed("unrequested");
    if (!ca.approvedRoles.includes(row.role)) return Result.succeed(undefined);
    enterRequest(rows, { token: row.id, key: read.key, address }, at);
    ca.onAlarm({ kind: "request-pending", identity, id: row.id, address });
    return Result.succeed("pending");
  }
  if (row.used_key !== read.key) {
    ca.onAlarm({ kind: "token-used", identity, firstAddress: row.used_address ?? "", address });
    const detail = `the token of ${identity} was used by ${row.used_address} with another key`;
    return Result.fail(new CaRefused({ code: "token-used", detail }));
  }
  const issued = certificateForToken(rows, row.id);
  const decision = issued === undefined ? decisionOn(rows, row.id) : undefined;
  if (decision === undefined) return againOf(issued, identity);
  if (decision === "denied") {
    return Result.fail(new CaRefused({ code: "request-denied", detail: `the request of ${identity} was denied` }));
  }
  const waits = needsPersons ? openApprovalOf(rows, row.id, at) !== undefined : decision === "open";
  if (waits) return Result.succeed("pending");
  const refused = refuseNew(rows, { row, key: read.key }, at);
  if (refused !== undefined) return Result.fail(refused);
  return Result.succeed(needsPersons ? "unrequested" : undefined);
}

/** The certificate that an earlier answer had. */
export function againOf(row: CertificateRow | undefined, identity: string): Result.Result<IssuedDer, CaRefused> {
  if (row?.der != null && row.revoked === null) return Result.succeed(row.der);
  return Result.fail(
    new CaRefused({ code: "certificate-revoked", detail: `the certificate of ${identity} is revoked` }),
  );
}

function enter(
  ca: CertificateAuthority,
  rows: RegisterRows,
  { row, read, certificate, address }: Use & { readonly certificate: Certificate },
): Result.Result<IssuedDer, never> {
  rows.change("UPDATE tokens SET used_key = ?, used_address = ? WHERE id = ?", read.key, address, row.id);
  rows.record({ type: "token.used", outcome: "done", peer: row.identity, detail: { token: row.id, address } });
  if (row.replaces === 1) unlock(rows, row);
  enterCertificate(rows, { certificate, issuer: ca.issuerId, token: row.id });
  return Result.succeed(certificate.der);
}
