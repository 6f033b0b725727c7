/**
 * General names: subject alternative names, and the subtrees of name constraints.
 *
 * @module
 */
import type { NameConstraints, SubjectAltName } from "./certificate.ts";
import { Buffer } from "node:buffer";
import { toHex } from "./bytes.ts";
import { type DerCursor, tags } from "./der.ts";
import { readName } from "./distinguished_name.ts";

/** Alternative names of one certificate. The CA issues up to a hundred, the usual ones and the role on top of them. */
export const alternativeNamesMax = 128;

/** Reads GeneralNames: at least one (RFC 5280 §4.2.1.6), at most {@linkcode alternativeNamesMax}. */
export function readGeneralNames(cursor: DerCursor): readonly SubjectAltName[] {
  const list = cursor.enter(tags.sequence, "subjectAltName");
  const names: SubjectAltName[] = [];
  while (!list.done) {
    if (names.length === alternativeNamesMax) list.fail(`subjectAltName has more than ${alternativeNamesMax} names`);
    names.push(readGeneralName(list, "subject"));
  }
  if (names.length === 0) list.fail("subjectAltName is empty");
  return names;
}

/** Reads one GeneralName that is only to be well formed. */
export function readOneName(cursor: DerCursor): void {
  readGeneralName(cursor, "subject");
}

/**
 * Reads a `[0] DistributionPointName` (RFC 5280 §4.2.1.13): the DER of each of its full names in hexadecimal; none where
 * it is a name relative to the issuer.
 */
export function readDistributionPointNames(cursor: DerCursor): readonly string[] {
  const choice = cursor.enter(0xa0, "distributionPoint");
  const relative = choice.peek() === 0xa1;
  const list = choice.enter(relative ? 0xa1 : 0xa0, "distributionPoint's name");
  choice.finish("distributionPoint");
  const names: string[] = [];
  if (list.done) list.fail("distributionPoint has no name");
  while (!list.done) {
    list.readAny("distributionPoint's name");
    if (!relative) names.push(toHex(list.whole));
  }
  return names;
}

/** Reads ReasonFlags as a number whose bit n is the flag n. At least one of them is set. */
export function readReasonFlags(cursor: DerCursor, tag: number): number {
  cursor.read(tag, "reasons");
  const { content } = cursor;
  const unused = content[0] ?? 8;
  if (content.length < 2 || content.length > 3 || unused > 7) return cursor.fail("reasons are not a short bit string");
  let flags = 0;
  for (let bit = 0; bit < (content.length - 1) * 8 - unused; bit++) {
    if ((content[1 + (bit >> 3)]! & (0x80 >> (bit & 7))) !== 0) flags |= 1 << bit;
  }
  if (flags === 0) return cursor.fail("reasons are empty");
  return flags;
}

/** Reads CRLDistributionPoints: the names of those whose lists the certificate's own issuer makes. */
export function readDistributionPoints(cursor: DerCursor): readonly string[] {
  const points = cursor.enter(tags.sequence, "cRLDistributionPoints");
  const names: string[] = [];
  if (points.done) points.fail("cRLDistributionPoints are empty");
  while (!points.done) {
    const point = points.enter(tags.sequence, "distributionPoint");
    const own = point.peek() === 0xa0 ? readDistributionPointNames(point) : [];
    if (point.peek() === 0x81) readReasonFlags(point, 0x81);
    const indirect = point.peek() === 0xa2;
    if (indirect) point.enter(0xa2, "cRLIssuer");
    point.finish("distributionPoint");
    if (!indirect) names.push(...own);
  }
  return names;
}

/** Reads NameConstraints (RFC 5280 §4.2.1.10); minimum and maximum are not allowed there. */
export function readNameConstraints(cursor: DerCursor): NameConstraints {
  const both = cursor.enter(tags.sequence, "nameConstraints");
  const permitted = readSubtrees(both, 0xa0);
  const excluded = readSubtrees(both, 0xa1);
  both.finish("nameConstraints");
  if (permitted.length + excluded.length === 0) both.fail("nameConstraints are empty");
  return { permitted, excluded };
}

function readSubtrees(cursor: DerCursor, tag: number): readonly SubjectAltName[] {
  if (cursor.peek() !== tag) return [];
  const list = cursor.enter(tag, "subtrees");
  const subtrees: SubjectAltName[] = [];
  while (!list.done) {
    const subtree = list.enter(tags.sequence, "subtree");
    subtrees.push(readGeneralName(subtree, "constraint"));
    subtree.finish("subtree (minimum and maximum are not allowed)");
  }
  if (subtrees.length === 0) list.fail("subtrees are empty");
  return subtrees;
}

/** Reads one GeneralName. An IP address has a mask behind it in a constraint, and none in a subject. */
function readGeneralName(cursor: DerCursor, use: "subject" | "constraint"): SubjectAltName {
  const tag = cursor.peek();
  if (tag === 0xa4) {
    const inner = cursor.enter(0xa4, "directoryName");
    const name = readName(inner, "directoryName");
    inner.finish("directoryName");
    return { type: "directory", value: name.text, octets: name.der };
  }
  if (tag === 0xa0 || tag === 0xa5 || tag === 0x88) return readOtherName(cursor, tag);
  cursor.readAny("general name");
  const { content } = cursor;
  switch (tag) {
    case 0x81:
      return { type: "email", value: readAscii(cursor, "rfc822Name") };
    case 0x82:
      return { type: "dns", value: readAscii(cursor, "dNSName") };
    case 0x86:
      return { type: "uri", value: readAscii(cursor, "uniformResourceIdentifier") };
    case 0x87:
      return { type: "ip", value: readAddress(cursor, use), octets: content };
    case 0xa3: // x400Address
      return { type: "other", value: `[${tag & 0x1f}]`, octets: content };
    default:
      return cursor.fail("a general name has an unknown type");
  }
}

/** Names of kinds that are not compared, but whose form is known: otherName, ediPartyName, registeredID. */
function readOtherName(cursor: DerCursor, tag: 0xa0 | 0xa5 | 0x88): SubjectAltName {
  if (tag === 0x88) cursor.oid("registeredID", tag);
  else {
    const name = cursor.enter(tag, tag === 0xa0 ? "otherName" : "ediPartyName");
    if (tag === 0xa0) name.oid("otherName's type");
    else if (name.peek() === 0xa0) readWrapped(name, 0xa0);
    readWrapped(name, tag === 0xa0 ? 0xa0 : 0xa1);
    name.finish("the name");
  }
  return { type: "other", value: `[${tag & 0x1f}]`, octets: cursor.content };
}

/** One value of any kind in an explicit tag. */
function readWrapped(cursor: DerCursor, tag: number): void {
  const wrapped = cursor.enter(tag, "the name's value");
  wrapped.readAny("the name's value");
  wrapped.finish("the name's value");
}

function readAscii(cursor: DerCursor, what: string): string {
  const { content } = cursor;
  for (const octet of content) if (octet < 0x20 || octet > 0x7e) cursor.fail(`${what} holds unprintable octets`);
  return Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString("latin1");
}

function readAddress(cursor: DerCursor, use: "subject" | "constraint"): string {
  const { content } = cursor;
  const size = use === "subject" ? content.length : content.length / 2;
  if (size !== 4 && size !== 16) return cursor.fail(`iPAddress has ${content.length} octets`);
  if (use === "subject") return addressText(content);
  const prefix = prefixLength(content.subarray(size));
  if (prefix === undefined) return cursor.fail("an address constraint's mask is not a prefix");
  return `${addressText(content.subarray(0, size))}/${prefix}`;
}

/** How many leading ones a mask has; undefined where a one follows a zero. */
function prefixLength(mask: Uint8Array): number | undefined {
  const bits = [...mask].map((octet) => octet.toString(2).padStart(8, "0")).join("");
  const ones = bits.indexOf("0") < 0 ? bits.length : bits.indexOf("0");
  return bits.includes("1", ones) ? undefined : ones;
}

/** `192.0.2.1`, or IPv6 in its canonical text (RFC 5952: the longest run of zero groups, the first of equals, as `::`). */
function addressText(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join(".");
  const groups = Array.from({ length: 8 }, (_, index) => octets[index * 2]! * 256 + octets[index * 2 + 1]!);
  let best = { at: 0, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const shown = (part: readonly number[]) => part.map((group) => group.toString(16)).join(":");
  if (best.length === 1) return shown(groups);
  return `${shown(groups.slice(0, best.at))}::${shown(groups.slice(best.at + best.length))}`;
}
