/**
 * The CAs that nodes are told to trust, and what the root's list says about them.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { findRevocation, parseCrl, type RevocationList } from "../../pki/crl.ts";
import { longCrlDueMs, longCrlEndsMs } from "../../pki/trust_warning.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import { crlOf, type CrlRow, derOf } from "./crl_rows.ts";
import type { RegisterRows } from "./register.ts";

/** The root and the intermediates that have not ended and are not revoked by the root. */
export function publishedCas(ca: CertificateAuthority, rows: RegisterRows, at: Date): readonly Certificate[] {
  const { anchor, intermediates, next, retired } = ca;
  const all = [anchor, ...intermediates, ...next, ...retired.flatMap((each) => each.intermediates)];
  const byFingerprint = new Map(all.map((each) => [each.fingerprint, each]));
  const list = rootList(ca, rows)?.list;
  return [...byFingerprint.values()].filter((each) => each.period.notAfter >= at && !isRevokedIn(list, anchor, each));
}

/** Whether the root's list revokes a CA. */
export function isRevokedByRoot(ca: CertificateAuthority, rows: RegisterRows, certificate: Certificate): boolean {
  return isRevokedIn(rootList(ca, rows)?.list, ca.anchor, certificate);
}

function isRevokedIn(list: RevocationList | undefined, anchor: Certificate, { issuer, serial }: Certificate): boolean {
  return list !== undefined && sameBytes(issuer.der, anchor.subject.der) && findRevocation(list, serial) !== undefined;
}

/** The root's list, with its row. */
function rootList(
  { anchor }: CertificateAuthority,
  rows: RegisterRows,
): { readonly row: CrlRow; readonly list: RevocationList } | undefined {
  const row = crlOf(rows, keyHash(anchor.publicKey.spki), "complete");
  const list = row && Result.getOrUndefined(parseCrl(Uint8Array.from(derOf(rows, row))));
  return row && list && { row, list };
}

/** How the root's list stands. */
export interface RootListState {
  /** When it ends, and in how many days; undefined where there is none. */
  readonly ends: Date | undefined;
  readonly days: number | undefined;
  /** What is wrong with it; undefined where nothing is. */
  readonly warning: { readonly level: "warn" | "error"; readonly message: string } | undefined;
}

/** Looks at the root's list: its key is offline, and a ceremony takes time. */
export function rootListState(ca: CertificateAuthority, rows: RegisterRows, at: Date): RootListState {
  const row = crlOf(rows, ca.anchorId, "complete");
  if (row === undefined) {
    const message = 'there is no revocation list of the root: nodes with crls = "required" refuse its CAs';
    return { ends: undefined, days: undefined, warning: { level: "error", message } };
  }
  const ends = new Date(row.next_update);
  const days = Math.floor((+ends - +at) / (24 * 60 * 60_000));
  if (+ends - +at >= longCrlEndsMs) return { ends, days, warning: undefined };
  const when = days < 0 ? `ended at ${ends.toISOString()}` : `ends at ${ends.toISOString()}, in ${days} days`;
  const message =
    `the revocation list of the root ${when}: make the next one with the root's key, then hypha-ca root-list`;
  return { ends, days, warning: { level: +ends - +at < longCrlDueMs ? "error" : "warn", message } };
}
