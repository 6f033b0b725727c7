/**
 * Writes DER (X.690), as much of it as certificates, requests and revocation lists need.
 *
 * @module
 */
import { Buffer } from "node:buffer";

const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One value: identifier octet, length in its shortest form, content. Costs time linear in the parts' bytes. */
export function derValue(identifier: number, parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const header = size < 0x80 ? [identifier, size] : [identifier, ...longLength(size)];
  return Buffer.concat([Uint8Array.from(header), ...parts], header.length + size);
}

function longLength(size: number): number[] {
  const octets: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return [0x80 | octets.length, ...octets];
}

/** A SEQUENCE of the parts, in their order. */
export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return derValue(tag.sequence, parts);
}

/** A SET of one element; DER would have to sort more. */
export function setOfOne(part: Uint8Array): Uint8Array {
  return derValue(tag.set, [part]);
}

/** A context-specific value, constructed (`[n] { parts }`). */
export function constructed(number: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return derValue(0xa0 | number, parts);
}

/** A context-specific value, primitive (`[n] IMPLICIT` of the content). */
export function primitive(number: number, content: Uint8Array): Uint8Array {
  return derValue(0x80 | number, [content]);
}

/** A BOOLEAN that is true. DER leaves a default of false out, so false is never written. */
export const derTrue: Uint8Array = Uint8Array.of(tag.boolean, 1, 0xff);

/** A NULL, the parameters of RSA's signature algorithms. */
export const derNull: Uint8Array = Uint8Array.of(0x05, 0);

/** An INTEGER ≥ 0 in its shortest form, from a number or from big-endian octets. */
export function integer(value: number | bigint | Uint8Array): Uint8Array {
  return derValue(tag.integer, [unsigned(value instanceof Uint8Array ? value : bigEndian(BigInt(value)))]);
}

/** An ENUMERATED between 0 and 127. */
export function enumerated(value: number): Uint8Array {
  return Uint8Array.of(tag.enumerated, 1, value);
}

function bigEndian(value: bigint): Uint8Array {
  if (value < 0n) throw new RangeError(`Cannot write integer ${value}: it is negative`);
  const text = value.toString(16);
  return Buffer.from(text.length % 2 === 0 ? text : `0${text}`, "hex");
}

/** Shortest content octets of a non-negative INTEGER: no leading zero but the one that keeps it positive. */
function unsigned(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const shortest = octets.subarray(start);
  return (shortest[0] ?? 0) >= 0x80 ? Buffer.concat([Uint8Array.of(0), shortest]) : shortest;
}

/** An OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Uint8Array {
  const arcs = dotted.split(".").map((arc) => BigInt(arc));
  const [first = 0n, second = 0n, ...rest] = arcs;
  return derValue(tag.oid, [Uint8Array.from([first * 40n + second, ...rest].flatMap(base128))]);
}

function base128(arc: bigint): number[] {
  const septets = [Number(arc & 0x7fn)];
  for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) septets.unshift(0x80 | Number(rest & 0x7fn));
  return septets;
}

/** An OCTET STRING. */
export function octetString(content: Uint8Array): Uint8Array {
  return derValue(tag.octetString, [content]);
}

/** A BIT STRING of whole octets. */
export function bitString(content: Uint8Array): Uint8Array {
  return derValue(tag.bitString, [Uint8Array.of(0), content]);
}

/** A BIT STRING of named bits (`KeyUsage`): bit 0 first, trailing zeros left out as DER requires. */
export function namedBits(bits: readonly number[]): Uint8Array {
  const last = Math.max(-1, ...bits);
  const octets = new Uint8Array(Math.floor(last / 8) + 1);
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  return derValue(tag.bitString, [Uint8Array.of(last < 0 ? 0 : 7 - (last % 8)), octets]);
}

/** A UTF8String. */
export function utf8String(text: string): Uint8Array {
  return derValue(tag.utf8String, [Buffer.from(text, "utf8")]);
}

/** A time to the second: UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5). */
export function time(at: Date): Uint8Array {
  const year = at.getUTCFullYear();
  if (!(year >= 1950 && year <= 9999)) throw new RangeError(`Cannot write time ${String(at)}: outside 1950–9999`);
  const digits = at.toISOString().replace(/\.\d+/, "").replace(/[-:T]/g, "");
  return year < 2050
    ? derValue(tag.utcTime, [Buffer.from(digits.slice(2), "latin1")])
    : derValue(tag.generalizedTime, [Buffer.from(digits, "latin1")]);
}
