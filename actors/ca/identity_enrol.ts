/**
 * Enrolment with an identity in hardware: a short-lived TLS certificate for a signing request that the identity's key has signed for.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { type EnrolmentClaim, readEnrolment, verifyEnrolment } from "../../pki/enrolment_jws.ts";
import { backdateMs } from "./backdate.ts";
import { type CaRefusalCode, CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import {
  certificateOf,
  type CertificateRow,
  countSince,
  enterCertificate,
  isCompromisedKey,
  isReplaced,
  lockOf,
  roleOf,
} from "./certificate_rows.ts";
import { type IssuedDer, limited } from "./enrol.ts";
import { isHardwareIdentity, tlsIdentityOf } from "./hardware_rows.ts";
import { renewalsMax, renewalsWindowMs } from "./reenrol.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { checkWishes, type ReadRequest, readRequest, signLeaf } from "./sign_leaf.ts";

/** How long a TLS certificate lives at most that was issued for an identity in hardware, in milliseconds. */
export const tlsLifetimeMaxMs = 24 * 60 * 60_000;

/** What a node sends, and from where. */
export interface IdentityEnrolRequest {
  /** `pki/enrolment_jws.ts` describes it. */
  readonly body: Uint8Array;
  /** The sender's address, without its port. */
  readonly address: string;
}

type Failure = CaRefused | RegisterFailure;

/** An identity whose signature is verified. */
interface Proved {
  readonly row: CertificateRow;
  readonly certificate: Certificate;
  readonly read: ReadRequest;
}

/**
 * Issues a TLS certificate that lives a day at most and never beyond the identity's certificate. Its role is the one of the identity's
 * token, in the register; its other names are those of the identity's certificate.
 *
 * The nonce counts as used from the moment at which the signature over it is verified: what is refused afterwards, or cannot be signed
 * now, needs another one.
 */
export function enrolIdentity(
  ca: CertificateAuthority,
  { body, address }: IdentityEnrolRequest,
  at: Date,
): Effect.Effect<IssuedDer, Failure> {
  const issue = ca.inTurn(Effect.gen(function* () {
    const claim = yield* Effect.fromResult(readBody(body));
    const proved = yield* Effect.fromResult(prove(ca, claim, at));
    const terms = yield* recorded(ca, proved, Effect.fromResult(termsOf(ca, proved, at)));
    const certificate = yield* signLeaf(ca, proved.read, terms, at);
    return yield* Effect.fromResult(ca.register.transaction<IssuedDer, never>((rows) => {
      enterCertificate(rows, { certificate, issuer: ca.issuerId, identifiedBy: proved.row.fingerprint });
      return Result.succeed(certificate.der);
    }));
  }));
  return limited(ca.failures.renewals, address, at, issue);
}

const refuse = (code: CaRefusalCode, detail: string) => Result.fail(new CaRefused({ code, detail }));

function readBody(body: Uint8Array): Result.Result<EnrolmentClaim, CaRefused> {
  const text = Result.try({
    try: () => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body),
    catch: () => new CaRefused({ code: "jws-malformed", detail: "the body is not UTF-8" }),
  });
  return Result.flatMap(text, (read) =>
    Result.mapError(
      readEnrolment(read),
      ({ problem, detail }) => new CaRefused({ code: `jws-${problem}`, detail }),
    ));
}

/** Checks nonce, certificate, signature and request; notes that the nonce was used. */
function prove(
  ca: CertificateAuthority,
  claim: EnrolmentClaim,
  at: Date,
): Result.Result<Proved, Failure> {
  return Result.gen(function* () {
    const bad = ca.nonces.refuse(claim.nonce, +at);
    if (bad !== undefined) return yield* refuse(bad, "the nonce of the request is not good");
    const row = yield* ca.register.transaction((rows) => identityRow(rows, claim.certificate, at));
    const certificate = yield* Result.mapError(
      parseCertificate(claim.certificate),
      ({ message: detail }) => new CaRefused({ code: "not-issued-here", detail }),
    );
    yield* Result.mapError(
      verifyEnrolment(claim, certificate),
      ({ problem, detail }) => new CaRefused({ code: `jws-${problem}`, detail }),
    );
    if (ca.nonces.use(claim.nonce, +at) === "full") return yield* refuse("busy", "too many nonces were used");
    const read = yield* readRequest(ca, claim.csr);
    return { row, certificate, read };
  });
}

/** The row of an identity's certificate that counts. Its bytes decide: what this register does not know is another CA's. */
function identityRow(rows: RegisterRows, der: Uint8Array, at: Date): Result.Result<CertificateRow, CaRefused> {
  const row = certificateOf(rows, createHash("sha256").update(der).digest("hex"));
  if (row === undefined) return refuse("not-issued-here", "the register does not know the certificate in x5c");
  if (!isHardwareIdentity(row.identity)) {
    return refuse("not-issued-here", `the certificate of ${row.identity} is not one of an identity in hardware`);
  }
  if (row.revoked !== null) return refuse("certificate-revoked", `the certificate of ${row.identity} is revoked`);
  if (+at <= row.not_after) return Result.succeed(row);
  return refuse("identity-expired", `the identity's certificate ended at ${new Date(row.not_after).toISOString()}`);
}

/** Subject, names and life of the certificate; or why there is none. */
function termsOf(ca: CertificateAuthority, { row, certificate, read }: Proved, at: Date) {
  return ca.register.transaction((rows) =>
    Result.gen(function* () {
      const { identity } = row;
      const named = isReplaced(rows, row) ? undefined : tlsIdentityOf(rows, row);
      if (named === undefined) {
        return yield* refuse("renewal-replaced", `a later token replaced the certificates of ${identity}`);
      }
      if ((lockOf(rows, identity) ?? lockOf(rows, named.identity)) !== undefined) {
        return yield* refuse("name-locked", `renewals of ${identity} are stopped`);
      }
      if (sameBytes(read.csr.publicKey.spki, certificate.publicKey.spki)) {
        return yield* refuse("csr-not-allowed", "the request is about the identity's own key");
      }
      if (isCompromisedKey(rows, read.key)) yield* refuse("csr-not-allowed", "the request's key is compromised");
      const others = certificate.subjectAltNames.filter(({ type }) => type !== "uri");
      const wanted = {
        subject: certificate.subject,
        names: [...others, { type: "uri", value: named.identity } as const],
      };
      yield* checkWishes(read.csr, wanted);
      const recent = countSince(rows, named.identity, new Date(+at - renewalsWindowMs - backdateMs));
      if (recent >= renewalsMax) {
        return yield* refuse("renewed-too-often", `${named.identity} has ${recent} certificates of the last hour`);
      }
      const lifetimeMs = Math.min(
        ca.lifetimeMs(roleOf(named.identity, ca.domain)),
        tlsLifetimeMaxMs,
        row.not_after - +at,
      );
      return { identity: { renews: { ...certificate, subjectAltNames: wanted.names } }, lifetimeMs };
    })
  );
}

/** What is refused although the identity's signature is good is recorded. */
function recorded<A>(
  { register }: CertificateAuthority,
  { row }: Proved,
  operation: Effect.Effect<A, Failure>,
): Effect.Effect<A, Failure> {
  return Effect.tapError(operation, (error) =>
    Effect.sync(() => {
      if (error._tag !== "CaRefused") return;
      const detail = { fingerprint: row.fingerprint, message: error.detail };
      register.transaction<void, never>((rows) => {
        rows.record({ type: "enrolment.refused", outcome: error.code, peer: row.identity, detail });
        return Result.void;
      });
    }));
}
