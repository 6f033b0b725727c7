/**
 * Issued certificates in the register.
 *
 * @module
 */
import type { Certificate, Role } from "../../pki/certificate.ts";
import { plainSerial } from "../certutil/revocation_record.ts";
import { keyHash } from "./certificate_authority.ts";
import type { RegisterRows } from "./register.ts";

/** A certificate that was issued. */
export interface CertificateRow {
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string;
  readonly issuer: string;
  readonly serial: string;
  /** The SPIFFE ID; the subject where the certificate has none. */
  readonly identity: string;
  /** SHA-256 of the SPKI, hexadecimal; null where only its record was imported. */
  readonly key: string | null;
  readonly not_before: number;
  readonly not_after: number;
  /** Null where only its record was imported. */
  readonly der: Uint8Array | null;
  /** Fingerprint of the certificate that it renews. */
  readonly predecessor: string | null;
  /** Id of the token that it was issued for. */
  readonly token: string | null;
  /** When it was revoked; null where it was not. */
  readonly revoked: number | null;
}

const selected = `
SELECT c.*, r.revoked FROM certificates c
LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial`;

/** The certificate with a fingerprint. */
export function certificateOf(rows: RegisterRows, fingerprint: string): CertificateRow | undefined {
  return rows.first(`${selected} WHERE c.fingerprint = ?`, fingerprint);
}

/** The certificate that renews another. */
export function successorOf(rows: RegisterRows, fingerprint: string): CertificateRow | undefined {
  return rows.first(`${selected} WHERE c.predecessor = ?`, fingerprint);
}

/** The certificate that was issued for a token. */
export function certificateForToken(rows: RegisterRows, id: string): CertificateRow | undefined {
  return rows.first(`${selected} WHERE c.token = ?`, id);
}

/** An unexpired, unrevoked certificate of an identity. */
export function liveCertificateOf(rows: RegisterRows, identity: string, at: Date): CertificateRow | undefined {
  return rows.first(`${selected} WHERE c.identity = ? AND c.not_after >= ? AND r.revoked IS NULL`, identity, +at);
}

/** Whether a later token replaced what an identity had when this certificate was entered: its line ends. */
export function isReplaced(rows: RegisterRows, { fingerprint, identity }: CertificateRow): boolean {
  const sql = `
SELECT 1 FROM certificates c JOIN tokens t ON t.id = c.token
WHERE c.identity = ? AND t.replaces = 1
AND c.rowid > (SELECT rowid FROM certificates WHERE fingerprint = ?)`;
  return rows.first(sql, identity, fingerprint) !== undefined;
}

/** How many certificates of an identity begin after a time. */
export function countSince(rows: RegisterRows, identity: string, begin: Date): number {
  const sql = "SELECT count(*) AS count FROM certificates WHERE identity = ? AND not_before > ?";
  return rows.first<{ readonly count: number }>(sql, identity, +begin)?.count ?? 0;
}

/** Certificates that end at or after a time, of all identities or of one. */
export function certificatesSince(rows: RegisterRows, end: Date, identity?: string): readonly CertificateRow[] {
  const order = "ORDER BY c.identity, c.not_before, c.serial";
  return identity === undefined
    ? rows.all(`${selected} WHERE c.not_after >= ? ${order}`, +end)
    : rows.all(`${selected} WHERE c.not_after >= ? AND c.identity = ? ${order}`, +end, identity);
}

/** Certificates with a serial, and those that renew them, directly or not. */
export function lineOf(rows: RegisterRows, serial: string): readonly CertificateRow[] {
  const sql = `
WITH RECURSIVE line (fingerprint) AS (
  SELECT fingerprint FROM certificates WHERE serial = ?
  UNION SELECT c.fingerprint FROM certificates c JOIN line l ON c.predecessor = l.fingerprint
) ${selected} WHERE c.fingerprint IN (SELECT fingerprint FROM line)`;
  return rows.all(sql, plainSerial(serial));
}

/** Whether a certificate about this key was revoked because the key is known to others. */
export function isCompromisedKey(rows: RegisterRows, key: string): boolean {
  const sql = `
SELECT 1 FROM certificates c JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial
WHERE c.key = ? AND r.reason = 'keyCompromise'`;
  return rows.first(sql, key) !== undefined;
}

/** What a certificate is entered with. */
export interface NewCertificate {
  readonly certificate: Certificate;
  readonly issuer: string;
  readonly predecessor?: string | undefined;
  readonly token?: string | undefined;
}

/** Enters a certificate. */
export function enterCertificate(
  rows: RegisterRows,
  { certificate, issuer, predecessor, token }: NewCertificate,
): void {
  const { fingerprint, serial, period, publicKey, der } = certificate;
  rows.change(
    "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    fingerprint,
    issuer,
    plainSerial(serial),
    identityOf(certificate),
    keyHash(publicKey.spki),
    +period.notBefore,
    +period.notAfter,
    der,
    predecessor ?? null,
    token ?? null,
  );
}

/** A certificate's SPIFFE ID; its subject where it has none. */
export function identityOf({ subjectAltNames, subject }: Pick<Certificate, "subjectAltNames" | "subject">): string {
  return subjectAltNames.find(({ type, value }) => type === "uri" && value.startsWith("spiffe://"))?.value ??
    subject.text;
}

/** The role in a SPIFFE ID of a domain; undefined where there is none. */
export function roleOf(identity: string, domain: string): Role | "ca" | undefined {
  const prefix = `spiffe://${domain}/`;
  if (!identity.startsWith(prefix)) return undefined;
  const [role] = identity.slice(prefix.length).split("/");
  return ["gateway", "scheduler", "worker", "data", "ca"].find((each) => each === role) as Role | "ca" | undefined;
}

/** Why an identity's renewals are stopped; undefined where they are not. */
export function lockOf(rows: RegisterRows, identity: string): string | undefined {
  return rows.first<{ reason: string }>("SELECT reason FROM locked_identities WHERE identity = ?", identity)?.reason;
}
