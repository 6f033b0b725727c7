/**
 * Revocations and revocation lists in the register.
 *
 * @module
 */
import type { RevocationReason } from "../../pki/issue/mod.ts";
import type { RegisterRows } from "./register.ts";

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

/** What an issuer's next list contains, in the order in which it was revoked. */
export function listedRevocations(rows: RegisterRows, issuer: string, at: Date): readonly RevocationRow[] {
  const sql = "SELECT * FROM revocations WHERE issuer = ? AND (not_after IS NULL OR not_after >= ?) ORDER BY position";
  return rows.all(sql, issuer, +at - listedAfterEndMs);
}

/** The position of the newest revocation; 0 before the first. */
export function lastPosition(rows: RegisterRows): number {
  return rows.first<{ last: number | null }>("SELECT max(position) AS last FROM revocations")?.last ?? 0;
}

/** Enters revocations. One that is there keeps its date and reason. */
export function enterRevocations(rows: RegisterRows, revocations: readonly RevocationRow[]): void {
  for (const { position, issuer, serial, revoked, reason, not_after } of revocations) {
    const sql = "INSERT OR IGNORE INTO revocations VALUES (?, ?, ?, ?, ?, ?)";
    rows.change(sql, position, issuer, serial, revoked, reason, not_after);
  }
}

/** The number of an issuer's last list; 0 before the first. */
export function lastNumber(rows: RegisterRows, issuer: string): bigint {
  const row = rows.first<{ value: string }>("SELECT value FROM facts WHERE name = ?", `crl_number:${issuer}`);
  return BigInt(row?.value ?? "0");
}

/** Enters lists in the places of those of their kinds. Their numbers are above that of the last one. */
export function enterLists(rows: RegisterRows, lists: readonly CrlRow[]): void {
  for (const { issuer, kind, number, sha256, upto, this_update, next_update, der } of lists) {
    const sql = "INSERT OR REPLACE INTO crls VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    rows.change(sql, issuer, kind, number, sha256, upto, this_update, next_update, der);
    if (BigInt(number) > lastNumber(rows, issuer)) enterNumber(rows, issuer, BigInt(number));
  }
}

/** Enters the number of an issuer's last list. */
export function enterNumber(rows: RegisterRows, issuer: string, number: bigint): void {
  rows.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", `crl_number:${issuer}`, String(number));
}
