/**
 * Renewals that are stopped because a revocation could not be signed: what is to be revoked must not get a certificate of a CA whose key
 * can sign. They are a lock of the name, with this reason; a token that replaces ends it too.
 *
 * @module
 */
import { type CertificateRow, isReplaced, lockOf } from "./certificate_rows.ts";
import type { RegisterRows } from "./register.ts";

/** The whole name is to be revoked. Serials follow where only they are. */
const whole = "revocation-unsigned";

/** The serials that are to be revoked; empty where the whole name is. Undefined where the name is locked for another reason, or not. */
function openSerials(reason: string | undefined): readonly string[] | undefined {
  const [first, ...serials] = reason?.split(" ") ?? [];
  return first === whole ? serials : undefined;
}

/** Stops the renewals of a name, of which a certificate, or all that it has, is not revoked yet. */
export function stopRenewals(rows: RegisterRows, identity: string, at: Date, serial?: string): void {
  const before = lockOf(rows, identity);
  const serials = openSerials(before);
  // It is locked for another reason, which the end of this one does not end.
  if (before !== undefined && serials === undefined) return;
  const reason = serial === undefined || before === whole
    ? whole
    : [whole, ...new Set([...serials ?? [], serial])].join(" ");
  // Repeated each minute where the revocation was approved.
  if (before === reason) return;
  const enter =
    "INSERT INTO locked_identities VALUES (?, ?, ?) ON CONFLICT (identity) DO UPDATE SET reason = excluded.reason";
  rows.change(enter, identity, +at, reason);
  rows.record({ type: "name.locked", outcome: whole, peer: identity });
}

/** What was to be revoked is revoked: a serial, or all that the name had. */
export function allowRenewals(rows: RegisterRows, identity: string, serial?: string): void {
  const serials = openSerials(lockOf(rows, identity));
  if (serials === undefined) return;
  const left = serial === undefined ? [] : serials.filter((each) => each !== serial);
  if (serial !== undefined && left.length === serials.length) return;
  if (left.length === 0) rows.change("DELETE FROM locked_identities WHERE identity = ?", identity);
  else rows.change("UPDATE locked_identities SET reason = ? WHERE identity = ?", [whole, ...left].join(" "), identity);
}

/** Stops the renewals of those certificates that are not revoked and can still be renewed, and allows those of the others. */
export function settleRenewals(
  rows: RegisterRows,
  line: readonly Pick<CertificateRow, "fingerprint" | "identity" | "serial" | "issuer">[],
  isLeft: (row: Pick<CertificateRow, "serial" | "issuer">) => boolean,
  at: Date,
): void {
  for (const row of line) {
    if (isLeft(row) && !isReplaced(rows, row)) stopRenewals(rows, row.identity, at, row.serial);
    else allowRenewals(rows, row.identity, row.serial);
  }
}
