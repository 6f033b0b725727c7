/**
 * Certificate revocation lists (RFC 5280 §5): DER → compact index, lookups that do not grow with it.
 *
 * A list is parsed with its bytes, which its signature is checked over. Once a CA of the bundle was found to have signed
 * it, the list is sealed: the index stays, the bytes go. Everything is plain data.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import { sameBytes, toHex } from "./bytes.ts";
import { type Certificate, type DistinguishedName, readSignatureAlgorithm, serialOctetsMax } from "./certificate.ts";
import type { CrlHighWaterMarks } from "./crl_marks.ts";
import { decodeDer, type DerCursor, tags } from "./der.ts";
import { readName } from "./distinguished_name.ts";
import { readAuthorityKeyId, readExtensionList } from "./extensions.ts";
import { type CrlScope, readScope, scopeKey, wholeScope } from "./crl_scope.ts";
import { CrlMalformed } from "./refusal.ts";
import { buildSerialIndex, findEntry, revocationReasons, type SerialIndex } from "./serial_index.ts";
import { verifySignature } from "./signature.ts";
import { readTime } from "./time.ts";

/** Bytes of one list. A million entries with reasons have 35 to 53 million. */
export const crlBytesMax = 128 * 1024 * 1024;

/** One issuer's list, as a snapshot holds it. */
export interface HeldCrl {
  /** The CA that signed it. */
  readonly issuer: DistinguishedName;
  /** The key identifier that the list gives for its issuer: a hint. */
  readonly authorityKeyId: string | undefined;
  /** The CRL number, decimal; undefined where the list has none. */
  readonly number: string | undefined;
  /** Of a delta list: the number of the complete list that it brings up to date (RFC 5280 §5.2.4). */
  readonly baseNumber: string | undefined;
  /** The certificates that it covers. */
  readonly scope: CrlScope;
  /** A base: it says where its deltas are (freshestCRL, RFC 5280 §5.2.6). Without one in force it does not clear. */
  readonly isBase?: true;
  /** When it was issued. */
  readonly thisUpdate: Date;
  /** When the next is due. */
  readonly nextUpdate: Date;
  /** Entries in it. */
  readonly entryCount: number;
  /** The revoked serials, to be searched. */
  readonly index: SerialIndex;
  /** What was signed, by which algorithm (OID), and the signature's bytes; gone once a CA of the bundle vouched for it. */
  readonly tbs?: Uint8Array;
  /** OID of the algorithm that it is signed with. */
  readonly signatureAlgorithm?: string;
  /** The signature. */
  readonly signature?: Uint8Array;
  /** The key (SPKI, hexadecimal) under which {@linkcode sealCrl} found the signature good. */
  readonly verifiedBy?: string;
  /** SHA-256 (hexadecimal) of the key under which an earlier process, or reading, found the signature of these bytes good. */
  readonly vouchedBy?: string;
  /** It came from the state directory, and not from the operator's file. */
  readonly learned?: true;
  /** SHA-256 of the list's DER, lower-case hexadecimal, and how many octets that has; where a reader noted them. */
  readonly sha256?: string;
  /** Octets of its DER. */
  readonly sizeBytes?: number;
  /** The delta that brings this complete list up to date; its dates are in force then. */
  readonly delta?: HeldCrl;
}

/** A list as {@linkcode parseCrl} makes it: with its bytes. */
export interface RevocationList extends HeldCrl {
  /** The signed bytes. */
  readonly tbs: Uint8Array;
  /** OID of the algorithm that it is signed with. */
  readonly signatureAlgorithm: string;
  /** The signature. */
  readonly signature: Uint8Array;
  /** The content of revokedCertificates. */
  readonly entries: Uint8Array;
}

/** Whether a certificate needs a list of its issuer that clears it. */
export type CrlRequirement = "required" | "optional";

/** The revocation lists of a snapshot. */
export interface RevocationIndex {
  /** Complete lists with their deltas, and deltas without a base, which can revoke but not clear: the newest first. */
  readonly lists: readonly HeldCrl[];
  /** The domain's marks: a list below its mark can revoke, but not clear. None where undefined. */
  readonly marks?: CrlHighWaterMarks;
  /** `optional`: the lists can revoke only, and one that is missing or out refuses no certificate. `required` where undefined. */
  readonly requirement?: CrlRequirement;
}

/** One line of a list. */
export interface Revocation {
  /** When the certificate was revoked. */
  readonly revokedAt: Date;
  /** As RFC 5280 §5.3.1 names it, for instance `keyCompromise`; `unspecified` where the list gives none. */
  readonly reason: string;
}

/**
 * Parses one list: version 2, complete or a delta, direct, with a next update (RFC 5280 §5.1, §5.2). The CRL number may be
 * missing, as in the lists of many CAs; a stricter profile calls `refuseBareCrl`.
 *
 * Does not check the signature or the dates. Refuses an indirect list, and a critical extension that is not processed:
 * such a list does not mean what a plain list of its issuer means.
 *
 * @param der The list's bytes; the result holds views into them.
 * @param options Whether to put the table of entries into shared memory.
 * @returns The list with its index, or why it is malformed.
 */
export function parseCrl(
  der: Uint8Array,
  options: { readonly shared?: boolean } = {},
): Result.Result<RevocationList, CrlMalformed> {
  if (der.length > crlBytesMax) {
    return Result.fail(new CrlMalformed({ detail: `it has more than ${crlBytesMax} bytes` }));
  }
  return Result.mapError(
    decodeDer(der, (cursor) => readCrl(cursor, options.shared === true)),
    ({ detail, offset }) => new CrlMalformed({ detail: `${detail} (offset ${offset})` }),
  );
}

/**
 * Looks a serial number up, in constant time: in the list's delta first, where it has one.
 *
 * @param list A parsed list. The caller makes sure that it is of the certificate's issuer.
 * @param serial Content octets in hexadecimal, as a certificate has it.
 * @returns When and why it was revoked, or undefined.
 */
export function findRevocation(list: HeldCrl, serial: string): Revocation | undefined {
  const found = (list.delta && findEntry(list.delta.index, serial)) ?? findEntry(list.index, serial);
  const reason = found && revocationReasons[found.reason];
  if (found === undefined || reason === "removeFromCRL") return undefined;
  return { revokedAt: new Date(found.seconds * 1_000), reason: reason ?? "unspecified" };
}

/** Orders lists of one issuer: by number, or by date where one has none. Positive where `a` is the newer. */
export function compareAge(a: HeldCrl, b: HeldCrl): number {
  const dates = a.thisUpdate.getTime() - b.thisUpdate.getTime();
  if (a.number === undefined || b.number === undefined) return dates;
  return compareNumbers(a.number, b.number) || dates;
}

/** Orders CRL numbers, decimal and without leading zeros. */
export function compareNumbers(a: string, b: string): number {
  return a.length - b.length || (a === b ? 0 : a > b ? 1 : -1);
}

/** Whether of two lists neither is newer: of two with numbers their dates do not count. */
function isAsOld(a: HeldCrl, b: HeldCrl): boolean {
  return a.number !== undefined && b.number !== undefined ? a.number === b.number : compareAge(a, b) === 0;
}

/** When a list becomes valid, with its delta where it has one. */
export function inForceFrom({ thisUpdate, delta }: HeldCrl): Date {
  return delta !== undefined && delta.thisUpdate > thisUpdate ? delta.thisUpdate : thisUpdate;
}

/**
 * Puts deltas onto the complete lists that they bring up to date (RFC 5280 §5.2.4): same issuer, key and scope, the
 * complete list not older than the delta's base and older than the delta. The newest that fits is taken; a delta that
 * fits none stays in the result.
 *
 * @returns All lists, the newest first.
 */
export function arrangeCrls(lists: readonly HeldCrl[]): readonly HeldCrl[] {
  const ordered = lists.toSorted((a, b) => compareAge(b, a));
  const deltas = ordered.filter(({ baseNumber }) => baseNumber !== undefined);
  const used = new Set<HeldCrl>();
  const arranged = ordered.map((list) => {
    // Lists without numbers have no place among those with one, so that the order alone would not do.
    const fitting = deltas.filter((each) => fitsOnto(each, list));
    const delta = fitting.reduce<HeldCrl | undefined>((newest, each) => newerOf(newest, each), undefined);
    if (delta === undefined) return list;
    used.add(delta);
    return { ...list, delta, nextUpdate: nextUpdateOf(list, delta) };
  });
  return arranged.filter((list) => !used.has(list));
}

/**
 * The later of both, of a base that names its deltas the earlier: a base that is valid for weeks says nothing of revocations whose
 * deltas were withheld.
 */
function nextUpdateOf(list: HeldCrl, delta: HeldCrl): Date {
  const [early, late] = delta.nextUpdate < list.nextUpdate
    ? [delta.nextUpdate, list.nextUpdate]
    : [list.nextUpdate, delta.nextUpdate];
  return list.isBase === true ? early : late;
}

function newerOf(a: HeldCrl | undefined, b: HeldCrl): HeldCrl {
  return a === undefined || compareAge(b, a) > 0 ? b : a;
}

/** Two lists whose keys are known must be of one key: another CA of that name can name the same key identifier. */
function fitsOnto(delta: HeldCrl, list: HeldCrl): boolean {
  if (list.baseNumber !== undefined || list.number === undefined || delta.number === undefined) return false;
  const mayBeOfOneKey = () => {
    const [left, right] = [keyOfCrl(delta), keyOfCrl(list)];
    return left === undefined || right === undefined || left === right;
  };
  return compareNumbers(delta.baseNumber!, list.number) <= 0 && compareNumbers(list.number, delta.number) < 0 &&
    sameBytes(delta.issuer.der, list.issuer.der) &&
    delta.authorityKeyId === list.authorityKeyId && scopeKey(delta.scope) === scopeKey(list.scope) &&
    mayBeOfOneKey();
}

/**
 * Of each scope the newest complete list, and the deltas that are newer: these lack their base, but they can revoke.
 *
 * A list with a delta is as new as its delta. All lists of the same age count, and all deltas: an entry in any of them
 * revokes, and the order of the input does not matter. A CA without CRL numbers makes such lists within one second. A CA
 * that uses a number twice contradicts itself; the union of its entries counts.
 */
export function newestOfEach(lists: readonly HeldCrl[]): readonly HeldCrl[] {
  if (lists.length < 2) return lists;
  const newest = new Map<string, HeldCrl>();
  for (const list of lists.filter(({ baseNumber }) => baseNumber === undefined)) {
    const other = newest.get(scopeKey(list.scope));
    const age = other === undefined ? 1 : compareAge(inEffect(list), inEffect(other)) || compareAge(list, other);
    if (age > 0) newest.set(scopeKey(list.scope), list);
  }
  return lists.filter((list) => {
    const complete = newest.get(scopeKey(list.scope));
    if (complete === undefined) return true;
    if (list.baseNumber === undefined) {
      return isAsOld(inEffect(list), inEffect(complete)) && (list.delta === undefined || isAsOld(list, complete));
    }
    if (compareAge(list, inEffect(complete)) > 0) return true;
    return complete.delta !== undefined && isAsOld(list, complete.delta);
  });
}

const inEffect = (list: HeldCrl): HeldCrl => list.delta ?? list;

/** What profile `rfc5280` asks of a list beyond {@linkcode parseCrl}: a number and its issuer's key (§5.2.1, §5.2.3). */
export function refuseBareCrl(list: HeldCrl): CrlMalformed | undefined {
  const missing = list.number === undefined
    ? "the list has no CRL number"
    : list.authorityKeyId === undefined
    ? "the list has no authority key identifier"
    : undefined;
  return missing === undefined ? undefined : new CrlMalformed({ detail: missing });
}

/** Results of signature checks, by signed bytes and key: a list is checked once for each CA of its issuer's name. */
const verdicts = new WeakMap<Uint8Array, Map<string, boolean>>();
/** Keys cached for one list. Only CAs of a verified path get here, so there are one or two. */
const verdictsMax = 16;

const keyNames = new WeakMap<Uint8Array, string>();

function keyName({ publicKey: { spki } }: Certificate): string {
  const known = keyNames.get(spki);
  if (known !== undefined) return known;
  const name = toHex(spki);
  keyNames.set(spki, name);
  return name;
}

/** Whether a list's signature, and that of its delta, verify under a CA's key. */
export function isSignedBy(list: HeldCrl, issuer: Certificate): boolean {
  if (list.delta !== undefined && !isSignedBy(list.delta, issuer)) return false;
  const key = keyName(issuer);
  const { tbs, signatureAlgorithm, signature } = list;
  // A sealed list was verified under one key; no signature verifies under two.
  if (tbs === undefined || signatureAlgorithm === undefined || signature === undefined) return list.verifiedBy === key;
  const known = verdicts.get(tbs) ?? new Map<string, boolean>();
  let verdict = known.get(key);
  if (verdict === undefined) {
    verdict = verifySignature({ data: tbs, algorithm: signatureAlgorithm, signature }, issuer.publicKey);
    if (known.size >= verdictsMax) known.clear();
    known.set(key, verdict);
    verdicts.set(tbs, known);
  }
  return verdict;
}

/** The key (SPKI, hexadecimal) under which this process verified a list's signature; undefined until then. */
export function verifierOf(list: HeldCrl): string | undefined {
  if (list.tbs === undefined) return list.verifiedBy;
  return [...verdicts.get(list.tbs) ?? []].find(([, good]) => good)?.[0];
}

/** The key under which a list's signature was found good, as marks name it: in this process or in an earlier one; undefined: not yet. */
export function keyOfCrl(list: HeldCrl): string | undefined {
  const verifier = verifierOf(list);
  return verifier === undefined
    ? list.vouchedBy
    : createHash("sha256").update(Buffer.from(verifier, "hex")).digest("hex");
}

/** The list without its bytes, verified under the CA that signed it; unchanged where that CA did not sign it. */
export function sealCrl(list: HeldCrl, issuer: Certificate): HeldCrl {
  if (list.tbs === undefined || !isSignedBy(list, issuer)) return list;
  const { tbs: _tbs, signature: _signature, signatureAlgorithm: _algorithm, ...rest } = list;
  const { entries: _entries, ...held } = rest as typeof rest & { readonly entries?: Uint8Array };
  return { ...held, issuer: ownName(held.issuer), verifiedBy: keyName(issuer) };
}

/** The list with bytes of its own, which a later check of its signature needs: no view into what it was read from. */
export function ownCrl(list: RevocationList): HeldCrl {
  const { entries: _entries, ...held } = list;
  const own = (bytes: Uint8Array) => Uint8Array.from(bytes);
  return { ...held, issuer: ownName(held.issuer), tbs: own(held.tbs), signature: own(held.signature) };
}

/** A name with its own copy of the DER: a view would keep the list's bytes in memory. */
function ownName(name: DistinguishedName): DistinguishedName {
  return { ...name, der: Uint8Array.from(name.der) };
}

function readCrl(cursor: DerCursor, shared: boolean): RevocationList {
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
  const extensions = readCrlExtensions(fields);
  fields.finish("tbsCertList");
  outer.read(tags.sequence, "signatureAlgorithm");
  if (!sameBytes(outer.whole, algorithm)) outer.fail("the signature algorithm differs between list and tbsCertList");
  const signatureAlgorithm = Result.getOrUndefined(decodeDer(algorithm, readSignatureAlgorithm));
  if (signatureAlgorithm === undefined) return outer.fail("the signature algorithm is malformed");
  const signature = outer.octetBits("signature");
  outer.finish("the list");
  const index = buildSerialIndex(entries, { delta: extensions.baseNumber !== undefined, shared });
  const signed = { tbs, signatureAlgorithm, signature, entries };
  return { issuer, ...extensions, thisUpdate, nextUpdate, entryCount: index.count, index, ...signed };
}

function readCrlExtensions(
  fields: DerCursor,
): Pick<HeldCrl, "number" | "baseNumber" | "authorityKeyId" | "scope" | "isBase"> {
  let number: string | undefined;
  let baseNumber: string | undefined;
  let authorityKeyId: string | undefined;
  let scope = wholeScope;
  let isBase: true | undefined;
  for (const { oid, critical, value } of fields.peek() === 0xa0 ? readWrapped(fields) : []) {
    if (oid === "2.5.29.28") scope = readScope(value, critical);
    else if (oid === "2.5.29.35") {
      if (critical) value.fail("authorityKeyIdentifier must not be critical");
      authorityKeyId = readAuthorityKeyId(value).keyId;
      value.finish("authorityKeyIdentifier");
    } else if (oid === "2.5.29.20") {
      if (critical) value.fail("cRLNumber must not be critical");
      number = readNumber(value, "cRLNumber");
    } else if (oid === "2.5.29.27") {
      if (!critical) value.fail("deltaCRLIndicator must be critical");
      baseNumber = readNumber(value, "deltaCRLIndicator");
    } else if (oid === "2.5.29.46") {
      if (critical) value.fail("freshestCRL must not be critical");
      isBase = true;
    } else if (critical) value.fail(`critical extension ${oid} is not understood`);
  }
  if (baseNumber !== undefined && (number === undefined || BigInt(number) <= BigInt(baseNumber))) {
    fields.fail("a delta list has no CRL number above its base's");
  }
  return { number, baseNumber, authorityKeyId, scope, ...(isBase && baseNumber === undefined ? { isBase } : {}) };
}

function readWrapped(fields: DerCursor) {
  const wrapper = fields.enter(0xa0, "crlExtensions");
  const list = readExtensionList(wrapper);
  wrapper.finish("crlExtensions");
  return list;
}

function readNumber(value: DerCursor, what: string): string {
  const octets = value.unsigned(what);
  if (octets.length > serialOctetsMax) value.fail(`the CRL number has more than ${serialOctetsMax} octets`);
  value.finish(what);
  return BigInt(`0x${toHex(octets)}`).toString();
}
