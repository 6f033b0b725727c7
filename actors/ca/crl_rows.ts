/**
 * Revocations and revocation lists in the register.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { RevocationReason } from "../../pki/issue/mod.ts";
import type { RegisterRows } from "./register.ts";

/** Bytes of a list that one transaction writes or reads. */
export const pieceBytesMax = 256 * 1024;

/**
 * Kinds of lists: a `complete` one for three days; where that is large, a `base` for 14 days and a cumulative `delta` on it.
 */
export type CrlKind = "complete" | "base" | "delta";

/** A list that is in force. */
export interface CrlRow {
  readonly issuer: string;
  readonly kind: CrlKind;
  /** Decimal. */
  readonly number: string;
  /** SHA-256 of the DER, hexadecimal. */
  readonly sha256: string;
  /** Position of the last revocation that is in it. */
  readonly upto: number;
  readonly this_update: number;
  readonly next_update: number;
  /** Bytes of the DER. */
  readonly size: number;
}

/** A list with its DER. */
export interface MadeCrl extends CrlRow {
  readonly der: Uint8Array;
}

/** A revoked certificate. */
export interface RevocationRow {
  /** Counts the revocations of all issuers. */
  readonly position: number;
  readonly issuer: string;
  readonly serial: string;
  readonly revoked: number;
  readonly reason: RevocationReason;
  /** When the certificate ends; null where only its revocation is known. */
  readonly not_after: number | null;
}

/** How long a serial stays listed after its certificate's end, in milliseconds. */
export const listedAfterEndMs = 30 * 24 * 60 * 60_000;

/** The list of a kind that is in force. */
export function crlOf(rows: RegisterRows, issuer: string, kind: CrlKind): CrlRow | undefined {
  return rows.first("SELECT * FROM crls WHERE issuer = ? AND kind = ?", issuer, kind);
}

/** The position of the newest revocation; 0 before the first. */
export function lastPosition(rows: RegisterRows): number {
  return rows.first<{ last: number | null }>("SELECT max(position) AS last FROM revocations")?.last ?? 0;
}

/** Whether an issuer's certificate with this serial is revoked. */
export function isRevoked(rows: RegisterRows, { issuer, serial }: Pick<RevocationRow, "issuer" | "serial">): boolean {
  return rows.first("SELECT 1 FROM revocations WHERE issuer = ? AND serial = ?", issuer, serial) !== undefined;
}

/** Enters revocations. One that is there keeps its date and reason. */
export function enterRevocations(rows: RegisterRows, revocations: readonly RevocationRow[]): void {
  for (const { position, issuer, serial, revoked, reason, not_after } of revocations) {
    const sql = "INSERT OR IGNORE INTO revocations VALUES (?, ?, ?, ?, ?, ?)";
    if (rows.change(sql, position, issuer, serial, revoked, reason, not_after) === 0) continue;
    rows.record({
      type: "certificate.revoked",
      outcome: reason,
      detail: { serial, issuer, revoked: new Date(revoked) },
    });
  }
}

/** All revocations of an issuer, by position, where there are at most `countMax`; undefined where there are more. */
export function fewRevocations(
  rows: RegisterRows,
  issuer: string,
  countMax: number,
): readonly RevocationRow[] | undefined {
  if (countMax < 0) return undefined;
  const some = "SELECT 1 FROM revocations WHERE issuer = ? LIMIT ?";
  if (rows.all(some, issuer, countMax + 1).length > countMax) return undefined;
  return rows.all("SELECT * FROM revocations WHERE issuer = ? ORDER BY position", issuer);
}

/** The number of an issuer's last list; 0 before the first. */
export function lastNumber(rows: RegisterRows, issuer: string): bigint {
  const row = rows.first<{ value: string }>("SELECT value FROM facts WHERE name = ?", `crl_number:${issuer}`);
  return BigInt(row?.value ?? "0");
}

/** Enters lists in the places of those of their kinds. Their numbers are above that of the last one. */
export function enterLists(rows: RegisterRows, lists: readonly MadeCrl[]): void {
  for (const list of lists) {
    const { issuer, kind, number, sha256, upto, this_update, next_update, size } = list;
    for (let part = 0; part * pieceBytesMax < size; part++) enterPiece(rows, list, part);
    const sql = "INSERT OR REPLACE INTO crls VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    rows.change(sql, issuer, kind, number, sha256, upto, this_update, next_update, size);
    rows.record({ type: "crl.issued", outcome: "done", detail: { issuer, kind, number, sha256 } });
    if (BigInt(number) > lastNumber(rows, issuer)) enterNumber(rows, issuer, BigInt(number));
  }
}

/** Enters a piece of a list, unless it is there. */
export function enterPiece(rows: RegisterRows, { sha256, der }: MadeCrl, part: number): void {
  if (rows.first("SELECT 1 FROM crl_pieces WHERE sha256 = ? AND part = ?", sha256, part) !== undefined) return;
  const bytes = der.subarray(part * pieceBytesMax, (part + 1) * pieceBytesMax);
  rows.change("INSERT INTO crl_pieces VALUES (?, ?, ?)", sha256, part, bytes);
}

/** A piece of a list; undefined where the list is no longer in force. */
export function pieceOf(rows: RegisterRows, { sha256 }: CrlRow, part: number): Uint8Array | undefined {
  const sql = "SELECT bytes FROM crl_pieces WHERE sha256 = ? AND part = ?";
  return rows.first<{ readonly bytes: Uint8Array }>(sql, sha256, part)?.bytes;
}

/** The DER of a list in one: of large ones it takes milliseconds. */
export function derOf(rows: RegisterRows, { sha256 }: Pick<CrlRow, "sha256">): Uint8Array {
  const sql = "SELECT bytes FROM crl_pieces WHERE sha256 = ? ORDER BY part";
  return Buffer.concat(rows.all<{ readonly bytes: Uint8Array }>(sql, sha256).map(({ bytes }) => bytes));
}

/** Removes one piece that belongs to no list in force; says whether there was one. */
export function removePiece(rows: RegisterRows): boolean {
  const sql = `
DELETE FROM crl_pieces WHERE rowid IN
(SELECT rowid FROM crl_pieces WHERE sha256 NOT IN (SELECT sha256 FROM crls) LIMIT 1)`;
  return rows.change(sql) > 0;
}

/** Enters the number of an issuer's last list. */
export function enterNumber(rows: RegisterRows, issuer: string, number: bigint): void {
  rows.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", `crl_number:${issuer}`, String(number));
}
