/**
 * What a register that was restored from a backup does not know: the certificates that were issued after the backup.
 *
 * @module
 */
import type { RegisterRows } from "./register.ts";

/** The longest that a certificate lives, in milliseconds: afterwards the gap is over. */
export const gapLifetimeMs = 397 * 24 * 60 * 60_000;

/** Times between which certificates were issued that the register does not know, in milliseconds since 1970. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

const factOf = (rows: RegisterRows, name: string): number | undefined => {
  const row = rows.first<{ readonly value: string }>("SELECT value FROM facts WHERE name = ?", name);
  return row === undefined ? undefined : Number(row.value);
};

function enterFact(rows: RegisterRows, name: string, value: number): void {
  rows.change("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, String(value));
}

/** Notes when a backup is made; the backup itself has it. */
export function enterBackup(rows: RegisterRows, at: Date): void {
  enterFact(rows, "backup_at", +at);
}

/** Notes that the register is a backup's, and that no CA has run with it yet. */
export function enterRestored(rows: RegisterRows, at: Date): void {
  enterFact(rows, "restored_at", +at);
  enterFact(rows, "gap_from", factOf(rows, "gap_from") ?? factOf(rows, "backup_at") ?? 0);
  enterFact(rows, "gap_to", +at);
}

/** The gap; undefined where there is none, or its last certificate has ended. */
export function gapOf(rows: RegisterRows, at: Date): Gap | undefined {
  const [from, to] = [factOf(rows, "gap_from"), factOf(rows, "gap_to")];
  return from === undefined || to === undefined || +at > to + gapLifetimeMs ? undefined : { from, to };
}

/** When a register was restored with which no CA has run yet, and when its backup was made; undefined where the backup is a mere copy. */
export interface Restoration {
  readonly backup: Date | undefined;
  readonly restored: Date;
}

/** The restoration of a register with which no CA has run yet. */
export function restorationOf(rows: RegisterRows): Restoration | undefined {
  const [restored, backup] = [factOf(rows, "restored_at"), factOf(rows, "backup_at")];
  if (restored === undefined) return undefined;
  return { backup: backup === undefined ? undefined : new Date(backup), restored: new Date(restored) };
}

/** A CA runs with the register. */
export function endRestoration(rows: RegisterRows): void {
  rows.change("DELETE FROM facts WHERE name = 'restored_at'");
}

/** Notes that a name was revoked: what it got in the gap is revoked when it comes. */
export function enterRevokedName(rows: RegisterRows, identity: string, at: Date): void {
  rows.change("INSERT OR REPLACE INTO revoked_names VALUES (?, ?)", identity, +at);
}

/** When a name was revoked since the register was restored. */
export function nameRevokedAt(rows: RegisterRows, identity: string): number | undefined {
  return rows.first<{ readonly at: number }>("SELECT at FROM revoked_names WHERE identity = ?", identity)?.at;
}

const unsignedPrefix = "unsigned_serial:";
const unsignedSerial = (serial: string): string => `${unsignedPrefix}${serial}`;

/** Notes that a certificate that the register does not know is to be revoked, before that is signed: it is not renewed. */
export function enterToBeRevoked(rows: RegisterRows, serial: string, at: Date): void {
  enterFact(rows, unsignedSerial(serial), +at);
}

/** It is revoked. */
export function endToBeRevoked(rows: RegisterRows, serial: string): void {
  rows.change("DELETE FROM facts WHERE name = ?", unsignedSerial(serial));
}

/** Whether a certificate that the register does not know is to be revoked. */
export function isToBeRevoked(rows: RegisterRows, serial: string): boolean {
  return factOf(rows, unsignedSerial(serial)) !== undefined;
}

/** A certificate that the register does not know, whose revocation was entered and is not signed. */
export interface ToBeRevoked {
  readonly serial: string;
  /** When it was entered, in milliseconds since 1970. */
  readonly at: number;
}

/** The serials that are to be revoked, the oldest first, at most a number of them. Empty once the gap is over: its certificates have ended. */
export function toBeRevoked(rows: RegisterRows, countMax: number, at: Date): readonly ToBeRevoked[] {
  if (gapOf(rows, at) === undefined) return [];
  const sql = `
SELECT substr(name, ${unsignedPrefix.length + 1}) AS serial, CAST(value AS INTEGER) AS at
FROM facts WHERE name > ? AND name < ? ORDER BY at, name LIMIT ?`;
  return rows.all(sql, unsignedPrefix, unsignedPrefix.replace(":", ";"), countMax);
}
