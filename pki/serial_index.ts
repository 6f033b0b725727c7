/**
 * The entries of a revocation list as a compact, immutable table: built in two passes, looked up in constant time.
 *
 * Serial numbers lie side by side, all as wide as the widest and sorted by bucket, so that an entry costs its serial,
 * four octets for its date and one for its bucket; the list's DER is not needed any more. The arrays may lie in shared
 * memory, so that another thread receives them without a copy.
 *
 * @module
 */
import { toHex } from "./bytes.ts";
import { DerCursor, tags } from "./der.ts";
import { readExtensionList } from "./extensions.ts";

/** Octets of a serial number (RFC 5280 §4.1.2.2). */
export const entrySerialOctetsMax = 20;

/** Names of the reasons by their codes (RFC 5280 §5.3.1); 7 is not used. */
export const revocationReasons = [
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

const removeFromCrl = 8;
/** Octets of DER for one bucket: four or five entries, so that a lookup reads two places in memory. */
const octetsPerBucket = 160;

/** Entries by serial number. Plain data. */
export interface SerialIndex {
  /** How many. */
  readonly count: number;
  /** Octets of one serial, leading zeros included. */
  readonly width: number;
  /** Every serial, sorted by bucket, {@linkcode width} octets each. */
  readonly serials: Uint8Array;
  /** Revocation dates in seconds since 1970. Later than 2106 or before 1970 is held as the nearest of these. */
  readonly dates: Uint32Array;
  /** Reason codes; empty where no entry has one. */
  readonly reasons: Uint8Array;
  /** Where each bucket begins, and the end of the last. */
  readonly buckets: Uint32Array;
}

/** One entry found. */
export interface FoundEntry {
  readonly seconds: number;
  readonly reason: number;
}

/** How to build. */
export interface IndexOptions {
  /** Whether entries may take others back (`removeFromCRL`), which only a delta's do (RFC 5280 §5.3.1). */
  readonly delta: boolean;
  /** Puts the table into shared memory. */
  readonly shared?: boolean | undefined;
}

/**
 * Builds the table of the content of `revokedCertificates`, checking every entry on the way: a serial of at most 20
 * octets that is not negative, a date, no extension that is critical and not processed.
 *
 * @throws {DerError} Where an entry breaks a rule; `decodeDer` is the boundary.
 */
export function buildSerialIndex(entries: Uint8Array, { delta, shared = false }: IndexOptions): SerialIndex {
  const bucketCount = Math.max(1, Math.floor(entries.length / octetsPerBucket));
  const counts = new Uint32Array(bucketCount + 1);
  let count = 0;
  let width = 1;
  let reasoned = false;
  walk(entries, delta, (entry) => {
    counts[bucketOf(entries, entry.serialStart, entry.serialEnd, bucketCount)]! += 1;
    count += 1;
    width = Math.max(width, entry.serialEnd - entry.serialStart);
    reasoned ||= entry.reason !== 0;
  });
  const index = allocate({ count, width, reasoned, bucketCount, shared });
  let start = 0;
  for (let bucket = 0; bucket <= bucketCount; bucket++) {
    index.buckets[bucket] = start;
    const here = counts[bucket]!;
    counts[bucket] = start;
    start += here;
  }
  walk(entries, delta, (entry) => {
    const at = counts[bucketOf(entries, entry.serialStart, entry.serialEnd, bucketCount)]!++;
    for (let from = entry.serialEnd - 1, to = at * width + width - 1; from >= entry.serialStart; from--, to--) {
      index.serials[to] = entries[from]!;
    }
    index.dates[at] = entry.seconds;
    if (reasoned) index.reasons[at] = entry.reason;
  });
  return index;
}

/**
 * Looks a serial number up. Of several entries of one serial, one that revokes goes before one that takes back.
 *
 * @param index The table.
 * @param serial Content octets in hexadecimal, as a certificate has it.
 */
export function findEntry(index: SerialIndex, serial: string): FoundEntry | undefined {
  const { width, serials, buckets } = index;
  let start = 0;
  const size = serial.length >> 1;
  if (size > wanted.length) return undefined;
  for (let at = 0; at < size; at++) {
    wanted[at] = nibble(serial.charCodeAt(at * 2)) << 4 | nibble(serial.charCodeAt(at * 2 + 1));
  }
  // Positive and minimal, as DER has it: nothing else is some entry's serial.
  if (size === 0 || wanted[0]! > 0x7f) return undefined;
  if (wanted[0] === 0 && size > 1) {
    if (wanted[1]! < 0x80) return undefined;
    start = 1;
  }
  if (size - start > width) return undefined;
  const bucket = bucketOf(wanted, start, size, buckets.length - 1);
  let found: FoundEntry | undefined;
  for (let at = buckets[bucket]!; at < buckets[bucket + 1]!; at++) {
    if (!isAt(serials, at * width, width, start, size)) continue;
    const reason = index.reasons.length === 0 ? 0 : index.reasons[at]!;
    found = { seconds: index.dates[at]!, reason };
    if (reason !== removeFromCrl) return found;
  }
  return found;
}

/** Answers of {@linkcode findRepeated}: an index does not change. */
const repeated = new WeakMap<SerialIndex, string | undefined>();

/**
 * The first serial number that has two entries, in hexadecimal; undefined where each has one. Costs time linear in the
 * entries, once an index.
 */
export function findRepeated(index: SerialIndex): string | undefined {
  if (!repeated.has(index)) repeated.set(index, searchRepeated(index));
  return repeated.get(index);
}

function searchRepeated({ buckets, serials, width }: SerialIndex): string | undefined {
  for (let bucket = 0; bucket + 1 < buckets.length; bucket++) {
    const [start, end] = [buckets[bucket]!, buckets[bucket + 1]!];
    if (end - start < 2) continue;
    const seen = new Set<string>();
    for (let at = start; at < end; at++) {
      const serial = toHex(serials.subarray(at * width, (at + 1) * width));
      if (seen.has(serial)) return serial;
      seen.add(serial);
    }
  }
  return undefined;
}

/** The serial looked for; its octets are read before anything else runs. */
const wanted = new Uint8Array(64);

function isAt(serials: Uint8Array, offset: number, width: number, start: number, size: number): boolean {
  let at = offset + width - 1;
  for (let from = size - 1; from >= start; from--, at--) if (serials[at] !== wanted[from]) return false;
  for (; at >= offset; at--) if (serials[at] !== 0) return false;
  return true;
}

function nibble(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57;
}

/** What {@linkcode walk} reads of an entry. The serial has no leading zeros. */
interface Entry {
  serialStart: number;
  serialEnd: number;
  seconds: number;
  reason: number;
}

/** Walks all entries. Makes no object an entry: two cursors and one record are used over and over. */
function walk(entries: Uint8Array, delta: boolean, visit: (entry: Entry) => void): void {
  const list = new DerCursor(entries, 0, entries.length, 0);
  const cursor = new DerCursor(entries, 0, 0, 1);
  const entry: Entry = { serialStart: 0, serialEnd: 0, seconds: 0, reason: 0 };
  while (!list.done) {
    list.enterInto(cursor, tags.sequence, "entry");
    cursor.read(tags.integer, "entry's serial number");
    const size = cursor.contentEnd - cursor.contentStart;
    if (size === 0 || size > entrySerialOctetsMax || entries[cursor.contentStart]! > 0x7f) {
      cursor.fail("an entry's serial number is not a positive integer of at most 20 octets");
    }
    entry.serialEnd = cursor.contentEnd;
    entry.serialStart = cursor.contentStart;
    if (size > 1 && entries[entry.serialStart] === 0) {
      if (entries[entry.serialStart + 1]! < 0x80) cursor.fail("an entry's serial number is not minimal");
      entry.serialStart += 1;
    }
    entry.seconds = readSeconds(cursor);
    entry.reason = cursor.done ? 0 : readReason(cursor, delta);
    cursor.finish("entry");
    visit(entry);
  }
}

/** Reads the reason, and refuses extensions that are not processed; these are rare, so they may cost objects. */
function readReason(entry: DerCursor, delta: boolean): number {
  let reason = 0;
  for (const { oid, critical, value } of readExtensionList(entry)) {
    if (oid === "2.5.29.21") {
      reason = value.small("reasonCode", tags.enumerated);
      if (revocationReasons[reason] === undefined) value.fail(`reason ${reason} does not exist`);
      if (reason === removeFromCrl && !delta) value.fail("removeFromCRL stands in a complete list");
      value.finish("reasonCode");
    } else if (oid === "2.5.29.29") value.fail("it is an indirect list (certificateIssuer), and these are not read");
    else if (oid !== "2.5.29.24" && critical) value.fail(`critical entry extension ${oid} is not understood`);
  }
  return reason;
}

/**
 * Reads a revocation date: digits and a Z, month to second in range, GeneralizedTime from 2050 on only. Runs for each of
 * very many entries, so it makes nothing that would have to be collected.
 */
function readSeconds(entry: DerCursor): number {
  const general = entry.peek() === tags.generalizedTime;
  entry.read(general ? tags.generalizedTime : tags.utcTime, "revocation date");
  const { bytes, contentStart, contentEnd } = entry;
  let proper = contentEnd - contentStart === (general ? 15 : 13) && bytes[contentEnd - 1] === 0x5a;
  for (let at = contentStart; proper && at < contentEnd - 1; at++) proper = bytes[at]! >= 0x30 && bytes[at]! <= 0x39;
  if (!proper) entry.fail("a revocation date is not a time in GMT with seconds");
  const at = contentEnd - 11;
  const month = twoDigits(bytes, at);
  const day = twoDigits(bytes, at + 2);
  const hour = twoDigits(bytes, at + 4);
  const minute = twoDigits(bytes, at + 6);
  const second = twoDigits(bytes, at + 8);
  const two = twoDigits(bytes, at - 2);
  const year = general ? twoDigits(bytes, contentStart) * 100 + two : two < 50 ? 2000 + two : 1900 + two;
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59) {
    entry.fail("a revocation date is no time of the calendar");
  }
  if (general && year < 2050) entry.fail("a revocation date before 2050 must be a UTCTime");
  const seconds = Date.UTC(year, month - 1, day, hour, minute, second) / 1_000;
  return Math.min(Math.max(seconds, 0), 0xffff_ffff);
}

function twoDigits(bytes: Uint8Array, at: number): number {
  return (bytes[at]! - 0x30) * 10 + bytes[at + 1]! - 0x30;
}

function allocate(
  { count, width, reasoned, bucketCount, shared }: {
    readonly count: number;
    readonly width: number;
    readonly reasoned: boolean;
    readonly bucketCount: number;
    readonly shared: boolean;
  },
): SerialIndex {
  const make = (octets: number) => shared ? new SharedArrayBuffer(octets) : new ArrayBuffer(octets);
  return {
    count,
    width,
    serials: new Uint8Array(make(count * width)),
    dates: new Uint32Array(make(count * 4)),
    reasons: new Uint8Array(make(reasoned ? count : 0)),
    buckets: new Uint32Array(make((bucketCount + 1) * 4)),
  };
}

/** FNV-1a with a final mix, spread over the buckets. The CA chooses the serials, so that no other party can make them collide. */
function bucketOf(bytes: Uint8Array, start: number, end: number, bucketCount: number): number {
  let value = 0x811c9dc5;
  for (let at = start; at < end; at++) value = Math.imul(value ^ bytes[at]!, 0x01000193);
  value ^= value >>> 15;
  value = Math.imul(value, 0x2c1b3c6d);
  return Math.floor(((value ^ (value >>> 12)) >>> 0) / 0x1_0000_0000 * bucketCount);
}
