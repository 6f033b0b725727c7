/**
 * Renewal: a certificate for one that this CA issued, by the register.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, Result } from "effect";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { adoptCertificate } from "./adopt_certificate.ts";
import { type CaRefusalCode, CaRefused } from "./ca_refused.ts";
import { backdateMs } from "./backdate.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import {
  certificateOf,
  type CertificateRow,
  countLive,
  countSince,
  enterCertificate,
  isCompromisedKey,
  isReplaced,
  lockForked,
  lockOf,
  roleOf,
  successorOf,
} from "./certificate_rows.ts";
import { againOf, type IssuedDer, limited } from "./enrol.ts";
import { boundTo } from "./hardware_rows.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { revokeRows } from "./revoke.ts";
import { allowRenewals } from "./stopped_renewals.ts";
import { checkWishes, type ReadRequest, readRequest, signLeaf } from "./sign_leaf.ts";

/** What a node sends, and from where. */
export interface ReenrolRequest {
  /** The certificate of its connection, DER; TLS has proved that the node has its key. */
  readonly certificate: Uint8Array;
  /** The signing request, DER. */
  readonly csr: Uint8Array;
  /** The sender's address, without its port. */
  readonly address: string;
}

/** Certificates that one name can get in {@linkcode renewalsWindowMs}: each stays in the register. */
export const renewalsMax = 240;
/** Unexpired and unrevoked certificates with which a name gets no other by renewal: all of them are revoked in a page or two. */
export const unexpiredMax = 500;
/** Milliseconds in which they are counted. */
export const renewalsWindowMs = 60 * 60_000;
/** Certificates in a row whose answers were lost: each is read for a renewal. */
export const unseenMax = 240;

/** What the register says about a renewal. */
export type Renewal = { readonly kind: "sign"; readonly predecessor: string } | {
  readonly kind: "again";
  readonly der: IssuedDer;
} | {
  readonly kind: "forked";
  readonly refusal: CaRefused;
};

/**
 * Renews a certificate: subject and names are the former one's.
 *
 * The certificate's bytes decide, not its path: it is a row of the register, not revoked, and the newest of its line. The same new
 * key gets the same answer again, unless that is not valid yet, because the CA's clock was ahead, or has ended, because the answer was
 * lost: then its successor is the answer. Another key for a certificate that was renewed before means that two nodes have it: refused,
 * and the name's renewals stop until an operator decides.
 */
export function reenrol(
  ca: CertificateAuthority,
  request: ReenrolRequest,
  at: Date,
): Effect.Effect<IssuedDer, CaRefused | RegisterFailure> {
  const renewal = ca.inLine(request.address)(Effect.gen(function* () {
    const row = yield* rowOf(ca, request, at);
    const former = yield* Effect.fromResult(readFormer(request.certificate));
    const read = yield* Effect.fromResult(readRequest(ca, request.csr));
    yield* Effect.fromResult(checkWishes(read.csr, { subject: former.subject, names: former.subjectAltNames }));
    const outcome = yield* Effect.fromResult(ca.register.transaction((rows) => decideRenewal(rows, row, read, at)));
    if (outcome.kind === "again") return outcome.der;
    if (outcome.kind === "forked") {
      const { identity, fingerprint } = row;
      ca.onAlarm({ kind: "renewal-forked", identity, fingerprint, address: request.address });
      return yield* outcome.refusal;
    }
    const lifetimeMs = ca.lifetimeMs(roleOf(row.identity, ca.domain));
    const certificate = yield* signLeaf(ca, read, { identity: { renews: former }, lifetimeMs }, at);
    return yield* Effect.fromResult(ca.register.transaction<IssuedDer, never>((rows) => {
      enterCertificate(rows, { certificate, issuer: ca.issuerId, predecessor: outcome.predecessor });
      return Result.succeed(certificate.der);
    }));
  }));
  return limited(ca.failures.renewals, request.address, at, renewal);
}

/** The row of what is to be renewed. A register that is a backup's learns it here. */
function rowOf(
  ca: CertificateAuthority,
  { certificate, address }: ReenrolRequest,
  at: Date,
): Effect.Effect<CertificateRow, CaRefused | RegisterFailure> {
  return Effect.gen(function* () {
    const known = ca.register.transaction((rows) => memberRow(ca, rows, certificate, at));
    const isUnknown = Result.isFailure(known) && known.failure._tag === "CaRefused" &&
      known.failure.code === "not-issued-here";
    if (!isUnknown) return yield* Effect.fromResult(known);
    const adopted = yield* Effect.fromResult(
      ca.register.transaction((rows) => adoptCertificate(ca, rows, certificate, at)),
    );
    const { identity, fingerprint } = adopted.row;
    ca.onAlarm({
      kind: adopted.kind === "forked" ? "renewal-forked" : "certificate-unknown",
      identity,
      fingerprint,
      address,
    });
    if (adopted.kind === "forked") return yield* adopted.refusal;
    if (adopted.kind === "entered") return adopted.row;
    // Where it cannot be listed now, its renewals stay stopped.
    yield* revokeRows(ca, [adopted.row], at);
    yield* Effect.fromResult(ca.register.transaction<void, never>((rows) => {
      allowRenewals(rows, identity, adopted.row.serial);
      return Result.void;
    }));
    return yield* Effect.fromResult(refuse("certificate-revoked", `the certificate of ${identity} is revoked`));
  });
}

/**
 * The row of a certificate that this CA issued and that counts: not revoked, and not ended longer ago than the terms allow.
 *
 * @param der The certificate of a connection.
 */
export function memberRow(
  ca: CertificateAuthority,
  rows: RegisterRows,
  der: Uint8Array,
  at: Date,
): Result.Result<CertificateRow, CaRefused> {
  const row = certificateOf(rows, createHash("sha256").update(der).digest("hex"));
  if (row === undefined) return refuse("not-issued-here", "the register does not know this certificate");
  if (row.revoked !== null) return refuse("certificate-revoked", `the certificate of ${row.identity} is revoked`);
  if (+at > row.not_after + ca.renewAfterExpiryMs) {
    return refuse("renewal-expired", `the certificate ended at ${new Date(row.not_after).toISOString()}`);
  }
  const role = roleOf(row.identity, ca.domain);
  if (role === "ca" || role === "identity") {
    return refuse("csr-not-allowed", `the certificate of ${row.identity} is not one of a node`);
  }
  return Result.succeed(row);
}

const refuse = (code: CaRefusalCode, detail: string) => Result.fail(new CaRefused({ code, detail }));

function readFormer(der: Uint8Array): Result.Result<Certificate, CaRefused> {
  return Result.mapError(
    parseCertificate(der),
    ({ message: detail }) => new CaRefused({ code: "not-issued-here", detail }),
  );
}

/** What is to be done for a request that renews a certificate. */
export function decideRenewal(
  rows: RegisterRows,
  row: CertificateRow,
  read: ReadRequest,
  at: Date,
): Result.Result<Renewal, CaRefused> {
  const { identity } = row;
  const hardware = boundTo(rows, identity);
  if (hardware !== undefined) {
    return refuse("identity-required", `${identity} gets its certificates for the signature of ${hardware}`);
  }
  let last = row;
  for (let unseen = 0; unseen < unseenMax; unseen++) {
    const decided = decideLink(rows, last, read, at);
    if (Result.isFailure(decided)) return Result.fail(decided.failure);
    if (decided.success.kind !== "onward") return Result.succeed(decided.success);
    last = decided.success.successor;
  }
  return refuse("renewal-expired", `the certificate was renewed ${unseenMax} times since`);
}

/** A renewal of one certificate of a line, or its successor: that is renewed in its turn. */
type Link = Renewal | { readonly kind: "onward"; readonly successor: CertificateRow };

function decideLink(
  rows: RegisterRows,
  row: CertificateRow,
  { key }: ReadRequest,
  at: Date,
): Result.Result<Link, CaRefused> {
  const { identity } = row;
  // Before all else: who holds a certificate of an ended line must not lock the name again.
  if (isReplaced(rows, row)) {
    return refuse("renewal-replaced", `a later token replaced the certificates of ${identity}`);
  }
  const successor = successorOf(rows, row.fingerprint);
  if (successor !== undefined && successor.key !== key) {
    const detail = `the certificate of ${identity} was renewed before, for another key`;
    lockForked(rows, identity, at);
    return Result.succeed({ kind: "forked", refusal: new CaRefused({ code: "renewal-forked", detail }) });
  }
  const lock = lockOf(rows, identity);
  if (lock !== undefined) return refuse("name-locked", `renewals of ${identity} are stopped: ${lock}`);
  if (isCompromisedKey(rows, key)) return refuse("csr-not-allowed", "the request's key is compromised");
  if (successor === undefined) {
    const recent = countSince(rows, identity, new Date(+at - renewalsWindowMs - backdateMs));
    if (recent >= renewalsMax) {
      return refuse("renewed-too-often", `${identity} has ${recent} certificates of the last hour`);
    }
    if (countLive(rows, identity, at, unexpiredMax) < unexpiredMax) {
      return Result.succeed({ kind: "sign", predecessor: row.fingerprint });
    }
    return refuse("renewed-too-often", `${identity} has ${unexpiredMax} certificates that have not ended`);
  }
  // No peer accepts it: it was issued while this CA's clock was ahead, or it has ended and the answer that had it was lost.
  const isUsable = successor.not_before <= +at && +at <= successor.not_after;
  if (!isUsable && successor.revoked === null) return Result.succeed({ kind: "onward", successor });
  return Result.map(againOf(successor, identity), (der) => ({ kind: "again", der }));
}
