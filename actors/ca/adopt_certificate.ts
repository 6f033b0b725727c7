/**
 * A certificate of ours that the register does not know, because it is a backup's: it is entered when it renews.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { verifySignature } from "../../pki/signature.ts";
import { plainSerial } from "../certutil/revocation_record.ts";
import { backdateMs } from "./backdate.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, keyHash, type ListSigner, signersOf } from "./certificate_authority.ts";
import {
  certificateOf,
  type CertificateRow,
  enterCertificate,
  identityOf,
  lockForked,
  roleOf,
} from "./certificate_rows.ts";
import { isRevoked } from "./crl_rows.ts";
import type { RegisterRows } from "./register.ts";
import { gapOf, isToBeRevoked, nameRevokedAt } from "./restored_rows.ts";
import { stopRenewals } from "./stopped_renewals.ts";

/** What became of it. */
export type Adopted =
  | { readonly kind: "entered" | "revoked"; readonly row: CertificateRow }
  /** The certificate that it seems to renew was renewed for another key since. */
  | { readonly kind: "forked"; readonly row: CertificateRow; readonly refusal: CaRefused };

/**
 * Enters an unexpired certificate that was issued in the gap of the backup. It becomes the successor of the newest certificate of its
 * name that has none. One whose name, or the certificate before it, was revoked since is entered as `revoked`, and its renewals are
 * stopped: the caller lists it. One that a later token replaced is refused and not entered: what is entered counts as newer than that token.
 */
export function adoptCertificate(
  ca: CertificateAuthority,
  rows: RegisterRows,
  der: Uint8Array,
  at: Date,
): Result.Result<Adopted, CaRefused> {
  const gap = gapOf(rows, at);
  const certificate = Result.getOrUndefined(parseCertificate(der));
  const signer = certificate && signersOf(ca).find((each) => isIssuedBy(certificate, each));
  const isOurs = gap !== undefined && certificate !== undefined && signer !== undefined &&
    isOfGap(certificate, gap.to, at);
  const role = certificate && roleOf(identityOf(certificate), ca.domain);
  if (!isOurs || role === undefined || role === "ca" || role === "identity") {
    return Result.fail(
      new CaRefused({ code: "not-issued-here", detail: "the register does not know this certificate" }),
    );
  }
  const identity = identityOf(certificate);
  if (isRevoked(rows, { issuer: signer.issuerId, serial: plainSerial(certificate.serial) })) {
    const detail = `the certificate of ${identity} is revoked`;
    return Result.fail(new CaRefused({ code: "certificate-revoked", detail }));
  }
  if (isToBeRevoked(rows, plainSerial(certificate.serial))) {
    const detail = `renewals of the certificate of ${identity} are stopped: its revocation is not signed yet`;
    return Result.fail(new CaRefused({ code: "name-locked", detail }));
  }
  if (isReplacedSince(rows, identity, Math.min(+certificate.period.notBefore, gap.to - backdateMs))) {
    const detail = `a later token replaced the certificates of ${identity}`;
    return Result.fail(new CaRefused({ code: "renewal-replaced", detail }));
  }
  const before = newestBefore(rows, identity, certificate);
  const isForked = before?.successor_key != null && before.successor_key !== keyHash(certificate.publicKey.spki);
  const predecessor = before?.successor_key === null ? before.fingerprint : undefined;
  enterCertificate(rows, { certificate, issuer: signer.issuerId, predecessor });
  const row = certificateOf(rows, certificate.fingerprint)!;
  if (isForked) {
    lockForked(rows, identity, at);
    const detail = `${identity} was renewed since the backup, for another key`;
    return Result.succeed({ kind: "forked", row, refusal: new CaRefused({ code: "renewal-forked", detail }) });
  }
  // An earlier revocation is no reason: the name may have got another token in the gap.
  const isLineRevoked = before?.revoked != null && before.revoked >= gap.to;
  if (!isLineRevoked && nameRevokedAt(rows, identity) === undefined) return Result.succeed({ kind: "entered", row });
  stopRenewals(rows, identity, at, row.serial);
  return Result.succeed({ kind: "revoked", row });
}

/** Unexpired, and issued before the register was restored: later ones are in it. */
function isOfGap({ period }: Certificate, to: number, at: Date): boolean {
  return period.notAfter >= at && +period.notBefore <= to;
}

/**
 * Whether a token that replaces has a certificate that begins at a time or later. The certificates of tokens since the restore begin
 * {@linkcode backdateMs} before it at the earliest: they count also where the clock of the lost CA was ahead of theirs.
 */
function isReplacedSince(rows: RegisterRows, identity: string, begin: number): boolean {
  const sql = `
SELECT 1 FROM tokens t CROSS JOIN certificates c ON c.token = t.id
WHERE t.identity = ? AND t.replaces = 1 AND c.not_before >= ?`;
  return rows.first(sql, identity, begin) !== undefined;
}

function isIssuedBy(certificate: Certificate, { issuer }: ListSigner): boolean {
  const { tbs: data, signatureAlgorithm: algorithm, signature } = certificate;
  return sameBytes(certificate.issuer.der, issuer.certificate.subject.der) &&
    verifySignature({ data, algorithm, signature }, issuer.certificate.publicKey);
}

interface Before {
  readonly fingerprint: string;
  readonly successor_key: string | null;
  /** When it was revoked. */
  readonly revoked: number | null;
}

/** The newest certificate of a name that began before this one, the key of the one that renews it, and its revocation. */
function newestBefore(rows: RegisterRows, identity: string, { period }: Certificate): Before | undefined {
  const sql = `
SELECT c.fingerprint, s.key AS successor_key, r.revoked FROM certificates c
LEFT JOIN certificates s ON s.predecessor = c.fingerprint
LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial
WHERE c.identity = ? AND c.not_before <= ? ORDER BY c.not_before DESC, c.rowid DESC LIMIT 1`;
  return rows.first(sql, identity, +period.notBefore);
}
