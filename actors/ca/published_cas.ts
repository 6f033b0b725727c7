/**
 * The CAs that nodes are told to trust, and what the root's list says about them.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { findRevocation, parseCrl, type RevocationList } from "../../pki/crl.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import { crlOf, type CrlRow, derOf } from "./crl_rows.ts";
import type { RegisterRows } from "./register.ts";

const dayMs = 24 * 60 * 60_000;
/** A root's list that ends so soon is warned about: its key is offline, and a ceremony takes time. */
export const rootListWarningMs = 120 * dayMs;

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

/** What is wrong with the root's list; undefined where nothing is. */
export function rootListWarning(ca: CertificateAuthority, rows: RegisterRows, at: Date): string | undefined {
  const row = crlOf(rows, ca.anchorId, "complete");
  if (row === undefined) return 'there is no revocation list of the root: nodes with crls = "required" refuse its CAs';
  if (row.next_update - +at > rootListWarningMs) return undefined;
  const end = new Date(row.next_update).toISOString();
  return `the revocation list of the root ends at ${end}: make the next one with the root's key, then hypha-ca root-list`;
}
