/**
 * Distinguished names: their text, and the form in which name constraints compare them.
 *
 * Issuer and subject of neighbouring certificates are compared octet by octet, which is stricter than RFC 5280 §7.1
 * and what every CA that copies its own subject into what it signs satisfies.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { DistinguishedName } from "./certificate.ts";
import { toHex } from "./bytes.ts";
import { type DerCursor, tags } from "./der.ts";

/** Attributes of one name. Real names have a handful. */
export const nameAttributesMax = 64;

/** One attribute of a name. `text` is undefined where the value is no character string. */
export interface NameAttribute {
  readonly oid: string;
  readonly text: string | undefined;
  readonly value: Uint8Array;
}

const shortNames: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.4": "SN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.9": "street",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
  "2.5.4.12": "title",
  "2.5.4.42": "GN",
  "0.9.2342.19200300.100.1.1": "UID",
  "0.9.2342.19200300.100.1.25": "DC",
  "1.2.840.113549.1.9.1": "emailAddress",
};

/** Reads a Name; the text is `CN=…, O=…` in the order of the DER, with what could spoil a log line escaped. */
export function readName(cursor: DerCursor, what: string): DistinguishedName {
  const relative = readRelativeNames(cursor, what);
  const der = cursor.whole;
  const shown = (attribute: NameAttribute) =>
    `${shortNames[attribute.oid] ?? attribute.oid}=${
      attribute.text === undefined ? `#${toHex(attribute.value)}` : printable(attribute.text)
    }`;
  const commonName = relative.flat().find((attribute) => attribute.oid === "2.5.4.3")?.text;
  return {
    der,
    text: relative.map((attributes) => attributes.map(shown).join("+")).join(", "),
    commonName: commonName === undefined ? undefined : printable(commonName),
  };
}

/** Reads a Name as its relative names, each a list of attributes. */
export function readRelativeNames(cursor: DerCursor, what: string): readonly (readonly NameAttribute[])[] {
  const names = cursor.enter(tags.sequence, what);
  const relative: NameAttribute[][] = [];
  let count = 0;
  while (!names.done) {
    const set = names.enter(tags.set, `${what}'s relative name`);
    const attributes: NameAttribute[] = [];
    if (set.done) set.fail(`${what} has an empty relative name`);
    while (!set.done) {
      if (++count > nameAttributesMax) set.fail(`${what} has more than ${nameAttributesMax} attributes`);
      const pair = set.enter(tags.sequence, `${what}'s attribute`);
      const oid = pair.oid(`${what}'s attribute type`);
      pair.readAny(`${what}'s attribute value`);
      const text = readText(pair);
      pair.finish(`${what}'s attribute`);
      attributes.push({ oid, text, value: pair.whole });
    }
    relative.push(attributes);
  }
  return relative;
}

/**
 * One relative name in the form that name constraints compare (RFC 5280 §7.1, simplified): attributes in order of their
 * text, letter case folded, runs of spaces made one.
 */
export function foldRelativeName(attributes: readonly NameAttribute[]): string {
  return attributes.map(({ oid, text, value }) => {
    const folded = text === undefined ? `#${toHex(value)}` : text.normalize("NFKC").toLowerCase().trim();
    return `${oid}=${JSON.stringify(folded.replace(/\s+/g, " "))}`;
  }).sort().join("+");
}

/** Text with everything escaped that a terminal or a log line would obey instead of show. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Text of the string value that the cursor read last; undefined for the other types that attributes have: BIT
 * STRING (unique identifiers) and SEQUENCE (postal addresses). No attribute has another (RFC 5280 appendix A.1, X.520).
 */
function readText(cursor: DerCursor): string | undefined {
  const { tag, content } = cursor;
  switch (tag) {
    case tags.utf8String:
      try {
        return utf8.decode(content);
      } catch {
        return cursor.fail("a UTF8String is not UTF-8");
      }
    case tags.numericString:
    case tags.printableString:
    case tags.ia5String:
      if (content.some((octet) => octet > 0x7f)) return cursor.fail("a string holds octets outside of ASCII");
      return latin1(content);
    case tags.teletexString:
      return latin1(content);
    case tags.bmpString:
      return readCharacters(cursor, 2) ?? cursor.fail("a BMPString holds what is no character");
    case tags.universalString:
      return readCharacters(cursor, 4) ?? cursor.fail("a UniversalString holds what is no character");
    case tags.bitString:
      return isBitString(content) ? undefined : cursor.fail("a BIT STRING's count of unused bits is wrong");
    case tags.sequence:
      return undefined;
    default:
      return cursor.fail("an attribute's value is neither a string nor a structure");
  }
}

/** Up to seven bits of the last octet are unused, and these are zero (X.690 §8.6.2, §11.2). */
function isBitString(content: Uint8Array): boolean {
  const unused = content[0] ?? 8;
  if (unused > 7 || (content.length === 1 && unused > 0)) return false;
  return (content.at(-1)! & ((1 << unused) - 1)) === 0 || content.length === 1;
}

/** Characters of two or four octets each; undefined where one is invalid: cut off, half of a pair, beyond Unicode's end. */
function readCharacters({ content }: DerCursor, octets: 2 | 4): string | undefined {
  if (content.length % octets !== 0) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let text = "";
  for (let at = 0; at < content.length; at += octets) {
    const point = octets === 2 ? view.getUint16(at) : view.getUint32(at);
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return undefined;
    text += String.fromCodePoint(point);
  }
  return text;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
