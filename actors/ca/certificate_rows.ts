/**
 * Issued certificates in the register.
 *
 * @module
 */
import type { Certificate, MemberRole } from "../../pki/certificate.ts";
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
export function isReplaced(
  rows: RegisterRows,
  { fingerprint, identity }: Pick<CertificateRow, "fingerprint" | "identity">,
): boolean {
  const sql = `
SELECT 1 FROM tokens t CROSS JOIN certificates c ON c.token = t.id
WHERE t.identity = ? AND t.replaces = 1
AND c.rowid > (SELECT rowid FROM certificates WHERE fingerprint = ?)`;
  return rows.first(sql, identity, fingerprint) !== undefined;
}

/** How many certificates of an identity begin after a time. */
export function countSince(rows: RegisterRows, identity: string, begin: Date): number {
  const sql = "SELECT count(*) AS count FROM certificates WHERE identity = ? AND not_before > ?";
  return rows.first<{ readonly count: number }>(sql, identity, +begin)?.count ?? 0;
}

/** How many unexpired, unrevoked certificates an identity has; counted up to `most`. */
export function countLive(rows: RegisterRows, identity: string, at: Date, most: number): number {
  const live = `
SELECT 1 FROM certificates c LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial
WHERE c.identity = ? AND c.not_after >= ? AND r.revoked IS NULL LIMIT ?`;
  const sql = `SELECT count(*) AS count FROM (${live})`;
  return rows.first<{ readonly count: number }>(sql, identity, +at, most)?.count ?? 0;
}

/** Identities of one name are looked at up to this number: one a role. */
const identitiesMax = 8;

/** The identities that have certificates that end at or after a time, by the whole SPIFFE ID or by its last part. */
export function identitiesOf(rows: RegisterRows, name: string, end: Date): readonly string[] {
  const isThere = (identity: string) =>
    rows.first("SELECT 1 FROM certificates WHERE identity = ? AND not_after >= ? LIMIT 1", identity, +end) !==
      undefined;
  if (isThere(name)) return [name];
  const found: string[] = [];
  for (let last = ""; found.length < identitiesMax;) {
    // One step a name, over the index: a name may have many certificates.
    const sql = "SELECT min(identity) AS next FROM certificates WHERE name = ? AND identity > ?";
    const next = rows.first<{ readonly next: string | null }>(sql, name, last)?.next ?? undefined;
    if (next === undefined) break;
    found.push(last = next);
  }
  return found.filter(isThere);
}

/** Certificates that are read in one transaction. */
export const pageRows = 500;

/** A row without the certificate's bytes. */
export type ListedRow = Omit<CertificateRow, "der"> & { readonly rowid: number };

const listed = `
SELECT c.rowid, c.fingerprint, c.issuer, c.serial, c.identity, c.key, c.not_before, c.not_after, c.predecessor, c.token, r.revoked
FROM certificates c LEFT JOIN revocations r ON r.issuer = c.issuer AND r.serial = c.serial`;
/** Selects {@linkcode ListedRow}s; a condition on `c` and `r` follows. */
export const listedWhere: string = `${listed} WHERE`;

/** Certificates of an identity, the newest first, {@linkcode pageRows} of those that were entered before one. */
export function certificatesBefore(rows: RegisterRows, identity: string, rowid: number): readonly ListedRow[] {
  const sql = `${listed} WHERE c.identity = ? AND c.rowid < ? ORDER BY c.rowid DESC LIMIT ${pageRows}`;
  return rows.all(sql, identity, rowid);
}

/** Where a page of certificates begins: behind this one. */
export interface PageMark {
  readonly not_after: number;
  readonly rowid: number;
}

/** Certificates by their end, {@linkcode pageRows} of those behind a mark, of all identities or of one. */
export function certificatesAfter(rows: RegisterRows, mark: PageMark, identity?: string): readonly ListedRow[] {
  const behind = "(c.not_after, c.rowid) > (?, ?)";
  const order = `ORDER BY c.not_after, c.rowid LIMIT ${pageRows}`;
  return identity === undefined
    ? rows.all(`${listed} WHERE ${behind} ${order}`, mark.not_after, mark.rowid)
    : rows.all(`${listed} WHERE c.identity = ? AND ${behind} ${order}`, identity, mark.not_after, mark.rowid);
}

/** Certificates with a serial: one an issuer. */
export function certificatesWithSerial(rows: RegisterRows, serial: string): readonly ListedRow[] {
  return rows.all(`${listed} WHERE c.serial = ? LIMIT ${pageRows}`, plainSerial(serial));
}

/** A certificate and those that renew it, directly or not, {@linkcode pageRows} of them: each has one successor at most. */
export function lineOf(rows: RegisterRows, fingerprint: string): readonly ListedRow[] {
  const line: ListedRow[] = [];
  let next = rows.first<ListedRow>(`${listed} WHERE c.fingerprint = ?`, fingerprint);
  while (next !== undefined && line.length < pageRows) {
    line.push(next);
    next = rows.first(`${listed} WHERE c.predecessor = ?`, next.fingerprint);
  }
  return line;
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
  /** Fingerprint of the identity's certificate that it was issued for; it is recorded. */
  readonly identifiedBy?: string | undefined;
}

/** Enters a certificate. */
export function enterCertificate(
  rows: RegisterRows,
  { certificate, issuer, predecessor, token, identifiedBy }: NewCertificate,
): void {
  const { fingerprint, serial, period, publicKey, der } = certificate;
  rows.change(
    "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    fingerprint,
    issuer,
    plainSerial(serial),
    identityOf(certificate),
    nameOf(identityOf(certificate)),
    keyHash(publicKey.spki),
    +period.notBefore,
    +period.notAfter,
    der,
    predecessor ?? null,
    token ?? null,
  );
  rows.record({
    type: "certificate.issued",
    outcome: "done",
    peer: identityOf(certificate),
    detail: {
      ...{ serial: plainSerial(serial), issuer, fingerprint, notAfter: period.notAfter },
      ...{ predecessor, token, identifiedBy },
    },
  });
}

/** A certificate's SPIFFE ID; its subject where it has none. */
export function identityOf({ subjectAltNames, subject }: Pick<Certificate, "subjectAltNames" | "subject">): string {
  return subjectAltNames.find(({ type, value }) => type === "uri" && value.startsWith("spiffe://"))?.value ??
    subject.text;
}

/** The last part of a SPIFFE ID; of another identity all of it. */
export function nameOf(identity: string): string {
  return identity.startsWith("spiffe://") ? identity.slice(identity.lastIndexOf("/") + 1) : identity;
}

/** What stands in a SPIFFE ID as its role. */
export type IssuedRole = MemberRole | "identity";

/** The role in a SPIFFE ID of a domain; undefined where there is none. */
export function roleOf(identity: string, domain: string): IssuedRole | undefined {
  const prefix = `spiffe://${domain}/`;
  if (!identity.startsWith(prefix)) return undefined;
  const [role] = identity.slice(prefix.length).split("/");
  return (["gateway", "scheduler", "worker", "data", "ca", "identity"] as const).find((each) => each === role);
}

/** Two nodes have one key: the name gets no certificate until a token replaces, whatever else stopped its renewals. */
export function lockForked(rows: RegisterRows, identity: string, at: Date): void {
  const enter =
    "INSERT INTO locked_identities VALUES (?, ?, ?) ON CONFLICT (identity) DO UPDATE SET reason = excluded.reason";
  rows.change(enter, identity, +at, "renewal-forked");
  rows.record({ type: "name.locked", outcome: "renewal-forked", peer: identity });
}

/** Why an identity's renewals are stopped; undefined where they are not. */
export function lockOf(rows: RegisterRows, identity: string): string | undefined {
  return rows.first<{ reason: string }>("SELECT reason FROM locked_identities WHERE identity = ?", identity)?.reason;
}
