/**
 * What a CA does once enough persons have approved it. Each act ends its request in its last transaction.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { ApprovedOperation } from "../../pki/approval/approval_request.ts";
import type { IssueRole } from "../../pki/approval/online_operation.ts";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { signedCertificate } from "../../pki/issue/certificate_template.ts";
import { verifySignature } from "../../pki/signature.ts";
import { enterPolicy, lapseAll } from "./approval_rows.ts";
import { configuredCas, endApprovedCas, enterApprovedCas, enterConfiguredCas } from "./authorities_fact.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import { certificateForToken, enterCertificate, identityOf } from "./certificate_rows.ts";
import { refuseNew } from "./refuse_new.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { answerLifetimeMs } from "./request_rows.ts";
import { revokeListed } from "./revoke.ts";
import { tokenOf, type TokenRow, unlock } from "./token_rows.ts";

/** What was approved. */
export interface ApprovedAct {
  readonly operation: ApprovedOperation;
  /** When the request expires. */
  readonly expires: Date;
  /** Ends the request. */
  readonly finish: (rows: RegisterRows) => void;
}

type Acting = Effect.Effect<void, CaRefused | RegisterFailure>;

/** Does what was approved, for callers whose turn it is. */
export function doApproved(ca: CertificateAuthority, { operation, expires, finish }: ApprovedAct, at: Date): Acting {
  const change = (act: (rows: RegisterRows) => void): Acting =>
    Effect.fromResult(ca.register.transaction<void, never>((rows) => {
      finish(rows);
      return Result.succeed(act(rows));
    }));
  switch (operation.name) {
    case "issue-intermediate":
    case "revoke-ca":
      return refuse("approval-refused", `${operation.name} needs the key of a CA that is offline`);
    case "change-approvers":
      return change((rows) => {
        enterPolicy(rows, operation.policy);
        enterConfiguredCas(rows, configuredCas(ca));
        const reason = "the approvers changed";
        lapseAll(rows, reason, at);
        endApprovedCas(rows, { reason }, at);
      });
    case "rotate-ca":
      return change((rows) => enterApprovedCas(rows, operation, expires));
    case "revoke-many":
      return revokeListed(ca, { ...operation, finish }, at);
    default:
      return issueApproved(ca, { operation, finish }, at);
  }
}

const refuse = (code: CaRefused["code"], detail: string) => Effect.fail(new CaRefused({ code, detail }));

interface IssueAct {
  readonly operation: IssueRole & { readonly certificate: Certificate };
  readonly finish: ApprovedAct["finish"];
}

/** Signs the approved bytes, and no others. The node fetches its certificate with the token that it has. */
function issueApproved(ca: CertificateAuthority, { operation, finish }: IssueAct, at: Date): Acting {
  const { tbs, certificate } = operation;
  return Effect.gen(function* () {
    yield* Effect.fromResult(checkTerms(ca, certificate, at));
    yield* Effect.fromResult(ca.register.transaction((rows) => tokenFor(rows, operation, at)));
    const signed = yield* Effect.tryPromise({
      try: () => sign(ca, tbs),
      catch: (error) => new CaRefused({ code: "signer-unavailable", detail: String(error) }),
    });
    yield* Effect.fromResult(ca.register.transaction((rows) =>
      Result.map(tokenFor(rows, operation, at), (row) => {
        rows.change("UPDATE requests SET decision = 'approved', decided = ? WHERE token = ?", +at, row.id);
        rows.change("UPDATE tokens SET expires = ? WHERE id = ?", +at + answerLifetimeMs, row.id);
        rows.record({ type: "token.used", outcome: "done", peer: row.identity, detail: { token: row.id } });
        if (row.replaces === 1) unlock(rows, row);
        enterCertificate(rows, { certificate: signed, issuer: ca.issuerId, token: row.id });
        finish(rows);
      })
    ));
  });
}

/** The CA may have been rotated since, or end soon. */
function checkTerms(
  ca: CertificateAuthority,
  { issuer, period }: Certificate,
  at: Date,
): Result.Result<void, CaRefused> {
  const own = ca.issuer.certificate;
  const detail = !sameBytes(issuer.der, own.subject.der)
    ? `the request names ${issuer.text} as its issuer`
    : period.notAfter > own.period.notAfter || period.notAfter <= at
    ? "the certificate would end after the CA's, or has ended"
    : undefined;
  return detail === undefined ? Result.void : Result.fail(new CaRefused({ code: "approval-refused", detail }));
}

/** The token of the enrolment: bound to this key and name, not void, without a certificate. */
function tokenFor(
  rows: RegisterRows,
  { name, token, certificate, replaces }: IssueAct["operation"],
  at: Date,
): Result.Result<TokenRow, CaRefused> {
  const row = tokenOf(rows, token);
  const key = keyHash(certificate.publicKey.spki);
  const isBound = row !== undefined && row.void === 0 && row.used_key === key && name === `issue-role:${row.role}` &&
    row.identity === identityOf(certificate) && certificateForToken(rows, token) === undefined;
  if (!isBound) {
    return Result.fail(
      new CaRefused({ code: "approval-refused", detail: `token ${token} is not one of this enrolment` }),
    );
  }
  // A request that an earlier version made shows it of no token.
  if ((row.replaces === 1) !== (replaces === true)) {
    const does = replaces === true ? "replaces nothing" : "replaces what its name has";
    const detail = `token ${token} ${does}, and the request did not show that: approve the node's next request`;
    return Result.fail(new CaRefused({ code: "approval-refused", detail }));
  }
  const refused = refuseNew(rows, { row, key }, at);
  return refused === undefined ? Result.succeed(row) : Result.fail(refused);
}

async function sign(ca: CertificateAuthority, tbs: Uint8Array): Promise<Certificate> {
  const { key, certificate: own } = ca.issuer;
  const der = signedCertificate(tbs, key.signatureAlgorithm, await key.sign(tbs));
  const certificate = Result.getOrThrow(parseCertificate(Uint8Array.from(der)));
  const { tbs: data, signatureAlgorithm: algorithm, signature } = certificate;
  if (verifySignature({ data, algorithm, signature }, own.publicKey)) return certificate;
  throw new Error("the signature does not verify under the CA's key");
}
