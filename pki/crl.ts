/**
 * Certificate revocation lists (RFC 5280 §5): DER → compact index, lookups that do not grow with it.
 *
 * The entries stay where they are, in the list's DER; beside them lies an open hash table of their offsets, so that a
 * list costs its bytes and 8 to 16 more an entry, and no object an entry. Everything is plain data.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { sameBytes, toHex } from "./bytes.ts";
import { type Certificate, type DistinguishedName, readSignatureAlgorithm, serialOctetsMax } from "./certificate.ts";
import { decodeDer, DerCursor, tags } from "./der.ts";
import { readName } from "./distinguished_name.ts";
import { readAuthorityKeyId, readExtensionList } from "./extensions.ts";
import { CrlMalformed } from "./refusal.ts";
import { verifySignature } from "./signature.ts";
import { readTime } from "./time.ts";

/** Bytes of one list. A million entries with reasons have 35 to 53 million. */
export const crlBytesMax = 128 * 1024 * 1024;

/** One issuer's list. */
export interface RevocationList {
  readonly issuer: DistinguishedName;
  /** Which key signed it, as the list says: a hint. */
  readonly authorityKeyId: string | undefined;
  /** The CRL number, decimal. */
  readonly number: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  readonly entryCount: number;
  /** The content of revokedCertificates. */
  readonly entries: Uint8Array;
  /** Offset + 1 of an entry in `entries`, or 0; a power of two long, at most half full. */
  readonly table: Uint32Array;
}

/** The revocation lists of a snapshot. */
export interface RevocationIndex {
  /** Of each issuer the newest first. */
  readonly lists: readonly RevocationList[];
}

/** Highest CRL numbers seen (decimal), by {@linkcode floorKeyOf}. Plain data: it may be written to a file. */
export type CrlFloor = Readonly<Record<string, string>>;

/** One line of a list. */
export interface Revocation {
  readonly revokedAt: Date;
  /** As RFC 5280 §5.3.1 names it, for instance `keyCompromise`; `unspecified` where the list gives none. */
  readonly reason: string;
}

/**
 * Parses one list: version 2, complete and direct, with a CRL number and a next update (RFC 5280 §5.1, §5.2).
 *
 * Does not check the signature or the dates. A list that covers part of its issuer's certificates only, a delta, an
 * indirect list, and a critical extension that is not processed are refused: read as a complete list they would lie.
 *
 * @param der The list's bytes; the result holds views into them.
 * @returns The list with its index, or why it is malformed.
 */
export function parseCrl(der: Uint8Array): Result.Result<RevocationList, CrlMalformed> {
  if (der.length > crlBytesMax) {
    return Result.fail(new CrlMalformed({ detail: `it has more than ${crlBytesMax} bytes` }));
  }
  return Result.mapError(
    decodeDer(der, readList),
    ({ detail, offset }) => new CrlMalformed({ detail: `${detail} (offset ${offset})` }),
  );
}

/**
 * Looks a serial number up, in constant time.
 *
 * @param list A parsed list, of the certificate's issuer: the caller has seen to that.
 * @param serial Content octets in hexadecimal, as a certificate has it.
 * @returns When and why it was revoked, or undefined.
 */
export function findRevocation(list: RevocationList, serial: string): Revocation | undefined {
  const wanted = Buffer.from(serial, "hex");
  const { entries, table } = list;
  const mask = table.length - 1;
  const cursor = new DerCursor(entries, 0, entries.length, 0);
  for (let slot = hash(wanted, 0, wanted.length) & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
    cursor.at = table[slot]! - 1;
    cursor.end = entries.length;
    const entry = cursor.enter(tags.sequence, "entry");
    entry.readAny("serial");
    if (sameBytes(entry.content, wanted)) return readRevocation(entry);
  }
  return undefined;
}

/** Orders lists of one issuer: by number, then by date. Positive where `a` is the newer. */
export function compareAge(a: RevocationList, b: RevocationList): number {
  const [left, right] = [BigInt(a.number), BigInt(b.number)];
  return left === right ? a.thisUpdate.getTime() - b.thisUpdate.getTime() : left > right ? 1 : -1;
}

/** Under which key a list's number is remembered: issuer and signing key, as a CA's new key may count from 1 again. */
export function floorKeyOf(list: RevocationList): string {
  return createHash("sha256").update(list.issuer.der).update(list.authorityKeyId ?? "").digest("hex");
}

/** Verdicts on signatures, by list and key: a list is checked once for each CA that turns up under its name. */
const verdicts = new WeakMap<RevocationList, Map<string, boolean>>();
/** Keys remembered for one list. Only CAs that a path led through get here, so there are one or two. */
const verdictsMax = 16;

/** Whether a list's signature verifies under a CA's key. */
export function isSignedBy(list: RevocationList, issuer: Certificate): boolean {
  const known = verdicts.get(list) ?? new Map<string, boolean>();
  const key = toHex(issuer.publicKey.spki);
  let verdict = known.get(key);
  if (verdict === undefined) {
    const { tbs, signatureAlgorithm, signature } = list;
    verdict = verifySignature({ data: tbs, algorithm: signatureAlgorithm, signature }, issuer.publicKey);
    if (known.size >= verdictsMax) known.clear();
    known.set(key, verdict);
    verdicts.set(list, known);
  }
  return verdict;
}

/** Whether somebody has found a list's signature good, in this process: {@linkcode isSignedBy} for any CA. */
export function wasVerified(list: RevocationList): boolean {
  return [...verdicts.get(list)?.values() ?? []].includes(true);
}

function readList(cursor: DerCursor): RevocationList {
  const outer = cursor.enter(tags.sequence, "certificate list");
  const fields = outer.enter(tags.sequence, "tbsCertList");
  const tbs = outer.whole;
  if (fields.peek() !== tags.integer || fields.small("version") !== 1) fields.fail("the list's version is not 2");
  fields.read(tags.sequence, "signature algorithm");
  const algorithm = fields.whole;
  const issuer = readName(fields, "issuer");
  if (issuer.text === "") fields.fail("the issuer is empty");
  const thisUpdate = readTime(fields, "thisUpdate");
  if (fields.peek() !== tags.utcTime && fields.peek() !== tags.generalizedTime) fields.fail("nextUpdate is missing");
  const nextUpdate = readTime(fields, "nextUpdate");
  if (nextUpdate < thisUpdate) fields.fail("nextUpdate lies before thisUpdate");
  let entries = new Uint8Array(0);
  if (fields.peek() === tags.sequence) {
    fields.read(tags.sequence, "revokedCertificates");
    entries = fields.content as Uint8Array<ArrayBuffer>;
    if (entries.length === 0) fields.fail("revokedCertificates are empty");
  }
  const { number, authorityKeyId } = readListExtensions(fields);
  fields.finish("tbsCertList");
  outer.read(tags.sequence, "signatureAlgorithm");
  if (!sameBytes(outer.whole, algorithm)) outer.fail("the signature algorithm differs between list and tbsCertList");
  const signatureAlgorithm = Result.getOrUndefined(decodeDer(algorithm, readSignatureAlgorithm));
  if (signatureAlgorithm === undefined) return outer.fail("the signature algorithm is malformed");
  const signature = outer.octetBits("signature");
  outer.finish("the list");
  const offsets = readEntries(entries);
  const { table } = buildTable(entries, offsets);
  const dates = { thisUpdate, nextUpdate };
  const entryCount = offsets.length;
  return { issuer, authorityKeyId, number, ...dates, tbs, signatureAlgorithm, signature, entryCount, entries, table };
}

function readListExtensions(fields: DerCursor): { number: string; authorityKeyId: string | undefined } {
  if (fields.peek() !== 0xa0) fields.fail("the list has no extensions, so no CRL number");
  const wrapper = fields.enter(0xa0, "crlExtensions");
  const list = readExtensionList(wrapper);
  wrapper.finish("crlExtensions");
  let number: string | undefined;
  let authorityKeyId: string | undefined;
  for (const { oid, critical, value } of list) {
    if (oid === "2.5.29.27") value.fail("it is a delta list, and these are not read");
    if (oid === "2.5.29.28") value.fail("it covers part of its issuer's certificates only (issuingDistributionPoint)");
    if (oid === "2.5.29.35") {
      authorityKeyId = readAuthorityKeyId(value);
      value.finish("authorityKeyIdentifier");
    } else if (oid === "2.5.29.20") {
      const octets = value.unsigned("cRLNumber");
      if (octets.length > serialOctetsMax) value.fail(`the CRL number has more than ${serialOctetsMax} octets`);
      number = BigInt(`0x${toHex(octets)}`).toString();
      value.finish("cRLNumber");
    } else if (critical) value.fail(`critical extension ${oid} is not understood`);
  }
  // Required of every CA (RFC 5280 §5.2.3), and what tells an old list that was put back from a new one.
  if (number === undefined) return fields.fail("the list has no CRL number");
  return { number, authorityKeyId };
}

const reasons = [
  "unspecified",
  "keyCompromise",
  "cACompromise",
  "affiliationChanged",
  "superseded",
  "cessationOfOperation",
  "certificateHold",
  undefined,
  "removeFromCRL",
  "privilegeWithdrawn",
  "aACompromise",
] as const;

/**
 * Walks all entries and checks each, so that a lookup can trust what it finds. Makes no object an entry: two cursors
 * are used over and over.
 */
function readEntries(entries: Uint8Array): Uint32Array {
  let offsets = new Uint32Array(1_024);
  let count = 0;
  const list = new DerCursor(entries, 0, entries.length, 0);
  const entry = new DerCursor(entries, 0, 0, 1);
  while (!list.done) {
    list.enterInto(entry, tags.sequence, "entry");
    if (count === offsets.length) {
      const grown = new Uint32Array(count * 2);
      grown.set(offsets);
      offsets = grown;
    }
    offsets[count++] = list.start;
    entry.read(tags.integer, "entry's serial number");
    const size = entry.contentEnd - entry.contentStart;
    if (size === 0 || size > serialOctetsMax || entries[entry.contentStart]! > 0x7f) {
      entry.fail("an entry's serial number is not a positive integer of at most 20 octets");
    }
    if (entry.peek() !== tags.generalizedTime) entry.read(tags.utcTime, "revocation date");
    else entry.read(tags.generalizedTime, "revocation date");
    if (!isTime(entry)) entry.fail("a revocation date is not a time in GMT with seconds");
    if (!entry.done) checkEntryExtensions(entry);
    entry.finish("entry");
  }
  return offsets.subarray(0, count);
}

/** Entry extensions are rare beyond the reason, so these may cost objects. */
function checkEntryExtensions(entry: DerCursor): void {
  for (const { oid, critical, value } of readExtensionList(entry)) {
    if (oid === "2.5.29.21") {
      const code = value.small("reasonCode", tags.enumerated);
      if (reasons[code] === undefined) value.fail(`reason ${code} does not exist`);
      // It takes an entry back, which only a delta can do (RFC 5280 §5.3.1).
      if (reasons[code] === "removeFromCRL") value.fail("removeFromCRL stands in a complete list");
      value.finish("reasonCode");
    } else if (oid === "2.5.29.29") value.fail("it is an indirect list (certificateIssuer)");
    else if (oid !== "2.5.29.24" && critical) value.fail(`critical entry extension ${oid} is not understood`);
  }
}

/** Reads date and reason of an entry that {@linkcode readEntries} has checked; the cursor stands behind the serial. */
function readRevocation(entry: DerCursor): Revocation {
  entry.readAny("revocation date");
  const text = Buffer.from(entry.content).toString("latin1");
  const [, years, rest] = /^(\d\d|\d{4})(\d{10})Z$/.exec(text)!;
  const year = years!.length === 4 ? Number(years) : Number(years) + (Number(years) < 50 ? 2000 : 1900);
  const [month, day, hour, minute, second] = rest!.match(/../g)!.map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const revokedAt = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const extension = entry.done ? undefined : readExtensionList(entry).find(({ oid }) => oid === "2.5.29.21");
  const reason = extension && reasons[extension.value.small("reasonCode", tags.enumerated)];
  return { revokedAt, reason: reason ?? "unspecified" };
}

/** Whether the value read last is digits and a Z, month to second in range. */
function isTime({ bytes, tag, contentStart, contentEnd }: DerCursor): boolean {
  const digits = tag === tags.utcTime ? 12 : 14;
  if (contentEnd - contentStart !== digits + 1 || bytes[contentEnd - 1] !== 0x5a) return false;
  for (let at = contentStart; at < contentEnd - 1; at++) if (bytes[at]! < 0x30 || bytes[at]! > 0x39) return false;
  const pair = (at: number) => (bytes[at]! - 0x30) * 10 + bytes[at + 1]! - 0x30;
  const at = contentEnd - 11;
  const [month, day] = [pair(at), pair(at + 2)];
  return month >= 1 && month <= 12 && day >= 1 && day <= 31 && pair(at + 4) < 24 && pair(at + 6) < 60 &&
    pair(at + 8) < 60;
}

function buildTable(entries: Uint8Array, offsets: Uint32Array): { table: Uint32Array } {
  let size = 2;
  while (size < offsets.length * 2) size *= 2;
  const table = new Uint32Array(size);
  const cursor = new DerCursor(entries, 0, entries.length, 0);
  const entry = new DerCursor(entries, 0, 0, 1);
  for (const offset of offsets) {
    cursor.at = offset;
    cursor.enterInto(entry, tags.sequence, "entry");
    entry.readAny("serial");
    let slot = hash(entries, entry.contentStart, entry.contentEnd) & (size - 1);
    while (table[slot] !== 0) slot = (slot + 1) & (size - 1);
    table[slot] = offset + 1;
  }
  return { table };
}

/** FNV-1a with a final mix. The serials are the CA's own choice, so nobody else can make them collide. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let at = start; at < end; at++) value = Math.imul(value ^ bytes[at]!, 0x01000193);
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return (value ^ (value >>> 12)) >>> 0;
}
