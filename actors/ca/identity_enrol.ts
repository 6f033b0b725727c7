/**
 * Enrolment with an identity in hardware: what its key has signed for. A signing request for a new key gets a short-lived TLS
 * certificate; one for the identity's own key renews the identity's certificate.
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
  type NewCertificate,
  roleOf,
} from "./certificate_rows.ts";
import { type IssuedDer, limited } from "./enrol.ts";
import { isHardwareIdentity, tlsIdentityOf } from "./hardware_rows.ts";
import { decideRenewal, renewalsMax, renewalsWindowMs } from "./reenrol.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { checkWishes, type LeafTerms, type ReadRequest, readRequest, signLeaf } from "./sign_leaf.ts";

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

/** What a request gets: a certificate to be signed, or the one that an earlier answer had. */
type Decided = { readonly kind: "again"; readonly der: IssuedDer } | {
  readonly kind: "sign";
  readonly terms: LeafTerms;
  /** How the register enters it. */
  readonly as: Pick<NewCertificate, "predecessor" | "identifiedBy">;
};

/**
 * Issues a certificate for the signature of an identity.
 *
 * One for TLS lives a day at most and never beyond the identity's certificate. Its role is the one of the identity's token, in the
 * register; its other names are those of the identity's certificate.
 *
 * The identity's own certificate is renewed in the second half of its life, and after it for as long as a node's is: then it has the
 * same names, and the lifetime of `[ca.roles.identity]`.
 *
 * The nonce counts as used from the moment at which the signature over it is verified: what is refused afterwards, or cannot be signed
 * now, needs another one.
 */
export function enrolIdentity(
  ca: CertificateAuthority,
  { body, address }: IdentityEnrolRequest,
  at: Date,
): Effect.Effect<IssuedDer, Failure> {
  const issue = ca.inLine(address)(Effect.gen(function* () {
    const claim = yield* Effect.fromResult(readBody(body));
    const proved = yield* Effect.fromResult(prove(ca, claim, at));
    const isOwnKey = sameBytes(proved.read.csr.publicKey.spki, proved.certificate.publicKey.spki);
    const decide = isOwnKey ? renewalOf : tlsTermsOf;
    const decided = yield* recorded(ca, proved, Effect.fromResult(decide(ca, proved, at)));
    if (decided.kind === "again") return decided.der;
    const certificate = yield* signLeaf(ca, proved.read, decided.terms, at);
    return yield* Effect.fromResult(ca.register.transaction<IssuedDer, never>((rows) => {
      enterCertificate(rows, { certificate, issuer: ca.issuerId, ...decided.as });
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
    const row = yield* ca.register.transaction((rows) => identityRow(ca, rows, claim.certificate, at));
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
function identityRow(
  { renewAfterExpiryMs }: CertificateAuthority,
  rows: RegisterRows,
  der: Uint8Array,
  at: Date,
): Result.Result<CertificateRow, CaRefused> {
  const row = certificateOf(rows, createHash("sha256").update(der).digest("hex"));
  if (row === undefined) return refuse("not-issued-here", "the register does not know the certificate in x5c");
  if (!isHardwareIdentity(row.identity)) {
    return refuse("not-issued-here", `the certificate of ${row.identity} is not one of an identity in hardware`);
  }
  if (row.revoked !== null) return refuse("certificate-revoked", `the certificate of ${row.identity} is revoked`);
  return +at <= row.not_after + renewAfterExpiryMs ? Result.succeed(row) : expired(row);
}

const expired = ({ not_after }: CertificateRow) =>
  refuse("identity-expired", `the identity's certificate ended at ${new Date(not_after).toISOString()}`);

/** The name that an identity's certificate gets TLS certificates for, while it does. */
function namedBy(rows: RegisterRows, row: CertificateRow): Result.Result<string, CaRefused> {
  const { identity } = row;
  const named = isReplaced(rows, row) ? undefined : tlsIdentityOf(rows, row);
  if (named === undefined) return refuse("renewal-replaced", `a later token replaced the certificates of ${identity}`);
  const lock = lockOf(rows, identity) ?? lockOf(rows, named.identity);
  if (lock === undefined) return Result.succeed(named.identity);
  return refuse("name-locked", `renewals of ${identity} are stopped: ${lock}`);
}

/** The identity's own certificate is asked for again: its next one. */
function renewalOf(ca: CertificateAuthority, { row, certificate, read }: Proved, at: Date) {
  return ca.register.transaction<Decided, CaRefused>((rows) =>
    Result.gen(function* () {
      yield* namedBy(rows, row);
      yield* checkWishes(read.csr, { subject: certificate.subject, names: certificate.subjectAltNames });
      // Each renewal is one row more between the certificate and its token.
      const from = new Date((row.not_before + row.not_after) / 2);
      if (at < from) return yield* refuse("renewed-too-often", `it can be renewed from ${from.toISOString()} on`);
      const renewal = yield* decideRenewal(rows, row, read, at);
      if (renewal.kind === "forked") return yield* Result.fail(renewal.refusal);
      if (renewal.kind === "again") return renewal;
      const terms = { identity: { renews: certificate }, lifetimeMs: ca.lifetimeMs("identity") };
      return { kind: "sign", terms, as: { predecessor: renewal.predecessor, identifiedBy: row.fingerprint } };
    })
  );
}

/** Subject, names and life of a certificate for TLS; or why there is none. */
function tlsTermsOf(ca: CertificateAuthority, { row, certificate, read }: Proved, at: Date) {
  return ca.register.transaction<Decided, CaRefused>((rows) =>
    Result.gen(function* () {
      const named = yield* namedBy(rows, row);
      if (+at > row.not_after) return yield* expired(row);
      if (isCompromisedKey(rows, read.key)) yield* refuse("csr-not-allowed", "the request's key is compromised");
      const others = certificate.subjectAltNames.filter(({ type }) => type !== "uri");
      const wanted = { subject: certificate.subject, names: [...others, { type: "uri", value: named } as const] };
      yield* checkWishes(read.csr, wanted);
      const recent = countSince(rows, named, new Date(+at - renewalsWindowMs - backdateMs));
      if (recent >= renewalsMax) {
        return yield* refuse("renewed-too-often", `${named} has ${recent} certificates of the last hour`);
      }
      const lifetimeMs = Math.min(ca.lifetimeMs(roleOf(named, ca.domain)), tlsLifetimeMaxMs, row.not_after - +at);
      const identity = { renews: { ...certificate, subjectAltNames: wanted.names } };
      return { kind: "sign", terms: { identity, lifetimeMs }, as: { identifiedBy: row.fingerprint } };
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
