/**
 * Renewals that are stopped because a revocation could not be signed: what is to be revoked must not get a certificate of a CA whose key
 * can sign. They are a lock of the name, with this reason; a token that replaces ends it too.
 *
 * @module
 */
import { lockOf } from "./certificate_rows.ts";
import type { RegisterRows } from "./register.ts";

/** The whole name is to be revoked, or several of its serials. A single serial follows where it is all that is to be revoked. */
const whole = "revocation-unsigned";

/** Stops the renewals of a name, of which a certificate, or all that it has, is not revoked yet. */
export function stopRenewals(rows: RegisterRows, identity: string, at: Date, serial?: string): void {
  const before = lockOf(rows, identity);
  const reason = serial === undefined ? whole : `${whole} ${serial}`;
  // Repeated each minute where the revocation was approved.
  if (before === reason || before === whole) return;
  if (before === undefined) rows.change("INSERT INTO locked_identities VALUES (?, ?, ?)", identity, +at, reason);
  else if (before.startsWith(whole)) {
    rows.change("UPDATE locked_identities SET reason = ? WHERE identity = ?", whole, identity);
  } else return; // it is locked for another reason, which the end of this one does not end
  rows.record({ type: "name.locked", outcome: whole, peer: identity });
}

/** What was to be revoked is revoked: a serial, or all that the name had. */
export function allowRenewals(rows: RegisterRows, identity: string, serial?: string): void {
  const reason = lockOf(rows, identity);
  if (reason === undefined || !reason.startsWith(whole)) return;
  if (serial !== undefined && reason !== `${whole} ${serial}`) return;
  rows.change("DELETE FROM locked_identities WHERE identity = ?", identity);
}
