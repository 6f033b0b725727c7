/**
 * Reads one's own revocation list back, entry by entry: for a CA that continues a list. What peers and distributors
 * send goes into the compact index of `crl.ts` instead.
 *
 * @module
 */
import { Result } from "effect";
import { type Certificate, readSerial, readSignatureAlgorithm } from "../certificate.ts";
import { decodeDer, DerCursor, type DerError, tags } from "../der.ts";
import { readName } from "../distinguished_name.ts";
import { readAuthorityKeyId, readExtensionList } from "../extensions.ts";
import { verifySignature } from "../signature.ts";
import { readTime } from "../time.ts";
import { extensionOids } from "./extensions.ts";
import { type RevocationReason, revocationReasons, type RevokedEntry } from "./issue_crl.ts";

/** A revocation list as it was issued. */
export interface IssuedCrl {
  readonly issuer: { readonly der: Uint8Array; readonly text: string };
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
  /** Undefined in lists of version 1, or without the extension. */
  readonly number: bigint | undefined;
  readonly authorityKeyId: string | undefined;
  readonly revoked: readonly RevokedEntry[];
  /** Whether the list is signed by this key. */
  readonly signedBy: (publicKey: Certificate["publicKey"]) => boolean;
}

/** Reads a list's DER. Checks neither signature nor dates. */
export function readCrlEntries(der: Uint8Array): Result.Result<IssuedCrl, DerError> {
  return decodeDer(der, (cursor) => {
    const list = cursor.enter(tags.sequence, "revocation list");
    const tbs = list.enter(tags.sequence, "list's content");
    const data = list.whole;
    const fields = readFields(tbs);
    const algorithm = readSignatureAlgorithm(list);
    const signature = list.octetBits("signature");
    list.finish("the revocation list");
    return { ...fields, signedBy: (publicKey) => verifySignature({ data, algorithm, signature }, publicKey) };
  });
}

function readFields(tbs: DerCursor) {
  if (tbs.next === tags.integer && tbs.small("version") !== 1) tbs.fail("the version is not 2");
  readSignatureAlgorithm(tbs);
  const { der, text } = readName(tbs, "issuer");
  const thisUpdate = readTime(tbs, "thisUpdate");
  const next: number = tbs.next;
  const dated = next === tags.utcTime || next === tags.generalizedTime;
  const nextUpdate = dated ? readTime(tbs, "nextUpdate") : undefined;
  const revoked = (tbs.next as number) === tags.sequence ? readEntries(tbs.enter(tags.sequence, "entries")) : [];
  const extensions = readListExtensions(tbs);
  tbs.finish("the list's content");
  return { issuer: { der, text }, thisUpdate, nextUpdate, revoked, ...extensions };
}

function readListExtensions(tbs: DerCursor): Pick<IssuedCrl, "number" | "authorityKeyId"> {
  let number: bigint | undefined;
  let authorityKeyId: string | undefined;
  if (tbs.done) return { number, authorityKeyId };
  const wrapper = tbs.enter(0xa0, "extensions");
  for (const { oid, value } of readExtensionList(wrapper)) {
    if (oid === extensionOids.crlNumber) number = bigNumber(value.unsigned("CRL number"));
    if (oid === extensionOids.authorityKeyId) authorityKeyId = readAuthorityKeyId(value);
  }
  wrapper.finish("extensions");
  return { number, authorityKeyId };
}

function bigNumber(octets: Uint8Array): bigint {
  return octets.reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
}

function readEntries(list: DerCursor): readonly RevokedEntry[] {
  const entries: RevokedEntry[] = [];
  while (!list.done) {
    const entry = list.enter(tags.sequence, "entry");
    const serial = readSerial(entry);
    const date = readTime(entry, "revocation date");
    let reason: RevocationReason = "unspecified";
    if (!entry.done) {
      for (const { oid, value } of readExtensionList(entry)) {
        if (oid === extensionOids.reasonCode) reason = reasonOf(value.small("reason", tags.enumerated));
      }
    }
    entry.finish("entry");
    entries.push({ serial, date, reason });
  }
  return entries;
}

function reasonOf(code: number): RevocationReason {
  const names = Object.keys(revocationReasons) as RevocationReason[];
  return names.find((name) => revocationReasons[name] === code) ?? "unspecified";
}
