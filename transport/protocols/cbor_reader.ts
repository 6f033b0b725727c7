/**
 * CBOR bytes → items (RFC 8949), bounded in depth and number, keeping what the readers of this network distinguish: the
 * width of a float, definite and indefinite length. Which item may stand where is the schemas' business.
 *
 * @module
 */
import { MalformedMessage } from "./malformed.ts";

/** Nesting of lists and maps: the deepest message of this network has 10 levels. */
export const depthMax = 32;
/**
 * Items in one message, keys included: the report of a round with the most members has about 11,000. Keeps 1 MiB of bytes from becoming
 * 100 MB of objects.
 */
export const itemsMax = 16_384;

/** What reading took so far: time goes by these, not by bytes. */
export interface ReadCounts {
  /** Items of CBOR. */
  items: number;
  /** PeerIDs, whose text is base58. */
  peers: number;
}

export type CborItem =
  /** A number as far as it is exact, a bigint beyond 2^53 − 1. */
  | { readonly kind: "integer"; readonly value: number | bigint }
  | { readonly kind: "float"; readonly widthBytes: 2 | 4 | 8; readonly value: number }
  | { readonly kind: "bytes"; readonly value: Uint8Array }
  | { readonly kind: "text"; readonly value: string }
  | { readonly kind: "list"; readonly definite: boolean; readonly items: readonly CborItem[] }
  | { readonly kind: "map"; readonly definite: boolean; readonly entries: readonly (readonly [CborItem, CborItem])[] }
  | { readonly kind: "boolean"; readonly value: boolean }
  | { readonly kind: "null" }
  | { readonly kind: "tagged"; readonly tag: number | bigint; readonly item: CborItem }
  /** `undefined` and unassigned simple values, which no message of this network holds. */
  | { readonly kind: "simple"; readonly value: number };

interface Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly counts: ReadCounts;
  offset: number;
}

/** A `break`, which ends a list or map of indefinite length and stands nowhere else. */
const breakByte = 0xff;
/** `ignoreBOM` keeps a leading U+FEFF, which would otherwise vanish from a name. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads the first item.
 *
 * @param counts Grows with what is read, also where that fails.
 * @returns The item and how many bytes it took; what follows is the caller's business.
 * @throws {MalformedMessage} Cut short, not well-formed, duplicate text keys, or over a bound.
 */
export function readCbor(
  bytes: Uint8Array,
  counts: ReadCounts = { items: 0, peers: 0 },
): { readonly item: CborItem; readonly sizeBytes: number } {
  const cursor = cursorOn(bytes, counts);
  const item = readItem(cursor, 0);
  return { item, sizeBytes: cursor.offset };
}

/**
 * The key of a map of one entry, whose value is not read; undefined where the item is none, or its key is no text.
 *
 * @throws {MalformedMessage} As {@linkcode readCbor}.
 */
export function readOnlyKey(bytes: Uint8Array): string | undefined {
  const cursor = cursorOn(bytes, { items: 0, peers: 0 });
  need(cursor, 1);
  const initial = bytes[cursor.offset++] as number;
  if (initial >> 5 !== 5 || (initial & 0x1f) === 31 || readArgument(cursor, initial & 0x1f) !== 1) return undefined;
  if ((bytes[cursor.offset] ?? 0) >> 5 !== 3) return undefined;
  const key = readItem(cursor, 1);
  return key.kind === "text" ? key.value : undefined;
}

function cursorOn(bytes: Uint8Array, counts: ReadCounts): Cursor {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), counts, offset: 0 };
}

function fail(cursor: Cursor, reason: string): never {
  throw new MalformedMessage({ path: "", reason: `${reason} (byte ${cursor.offset})` });
}

function need(cursor: Cursor, count: number): void {
  if (cursor.bytes.length - cursor.offset < count) fail(cursor, "message is cut short");
}

function readItem(cursor: Cursor, depth: number): CborItem {
  if (depth > depthMax) fail(cursor, `more than ${depthMax} levels`);
  if (cursor.counts.items++ >= itemsMax) fail(cursor, `more than ${itemsMax} items`);
  need(cursor, 1);
  const initial = cursor.bytes[cursor.offset++] as number;
  const major = initial >> 5;
  const info = initial & 0x1f;
  if (major === 7) return readSimple(cursor, info);
  if (info === 31) return readIndefinite(cursor, major, depth);
  const argument = readArgument(cursor, info);
  switch (major) {
    case 0:
      return { kind: "integer", value: argument };
    case 1:
      return { kind: "integer", value: narrow(-1n - BigInt(argument)) };
    case 2:
      return { kind: "bytes", value: take(cursor, argument) };
    case 3:
      return readText(cursor, argument);
    case 4:
      return { kind: "list", definite: true, items: readItems(cursor, length(cursor, argument), depth) };
    case 5:
      return { kind: "map", definite: true, entries: readEntries(cursor, length(cursor, argument), depth) };
    default:
      return { kind: "tagged", tag: argument, item: readItem(cursor, depth + 1) };
  }
}

function narrow(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

function readArgument(cursor: Cursor, info: number): number | bigint {
  if (info < 24) return info;
  if (info > 27) fail(cursor, "reserved length");
  const width = 1 << (info - 24);
  need(cursor, width);
  const at = cursor.offset;
  cursor.offset += width;
  switch (width) {
    case 1:
      return cursor.view.getUint8(at);
    case 2:
      return cursor.view.getUint16(at);
    case 4:
      return cursor.view.getUint32(at);
    default:
      return narrow(cursor.view.getBigUint64(at));
  }
}

/** A count is refused at once where not even one byte an item is left. */
function length(cursor: Cursor, argument: number | bigint): number {
  if (typeof argument === "bigint" || argument > cursor.bytes.length - cursor.offset) {
    fail(cursor, "length is over what is left of the message");
  }
  return argument;
}

function take(cursor: Cursor, argument: number | bigint): Uint8Array {
  const size = length(cursor, argument);
  const taken = cursor.bytes.subarray(cursor.offset, cursor.offset + size);
  cursor.offset += size;
  return taken;
}

function readText(cursor: Cursor, argument: number | bigint): CborItem {
  const bytes = take(cursor, argument);
  try {
    return { kind: "text", value: utf8.decode(bytes) };
  } catch {
    return fail(cursor, "text is not UTF-8");
  }
}

function readItems(cursor: Cursor, count: number, depth: number): CborItem[] {
  const items: CborItem[] = [];
  for (let i = 0; i < count; i++) items.push(readItem(cursor, depth + 1));
  return items;
}

function readEntries(cursor: Cursor, count: number, depth: number): [CborItem, CborItem][] {
  const entries: [CborItem, CborItem][] = [];
  const seen = new Set<string>();
  for (let i = 0; i < count; i++) entries.push(readEntry(cursor, seen, depth));
  return entries;
}

function readEntry(cursor: Cursor, seen: Set<string>, depth: number): [CborItem, CborItem] {
  const key = readItem(cursor, depth + 1);
  if (key.kind === "text") {
    if (seen.has(key.value)) fail(cursor, `key ${JSON.stringify(key.value.slice(0, 64))} stands twice`);
    seen.add(key.value);
  }
  return [key, readItem(cursor, depth + 1)];
}

function atBreak(cursor: Cursor): boolean {
  need(cursor, 1);
  if (cursor.bytes[cursor.offset] !== breakByte) return false;
  cursor.offset++;
  return true;
}

function readIndefinite(cursor: Cursor, major: number, depth: number): CborItem {
  if (major === 4) {
    const items: CborItem[] = [];
    while (!atBreak(cursor)) items.push(readItem(cursor, depth + 1));
    return { kind: "list", definite: false, items };
  }
  if (major === 5) {
    const entries: [CborItem, CborItem][] = [];
    const seen = new Set<string>();
    while (!atBreak(cursor)) entries.push(readEntry(cursor, seen, depth));
    return { kind: "map", definite: false, entries };
  }
  return fail(cursor, "text and bytes in pieces are not taken");
}

function readSimple(cursor: Cursor, info: number): CborItem {
  switch (info) {
    case 20:
    case 21:
      return { kind: "boolean", value: info === 21 };
    case 22:
      return { kind: "null" };
    case 25:
    case 26:
    case 27:
      return readFloat(cursor, info);
    case 31:
      return fail(cursor, "break outside of a list or map");
  }
  return { kind: "simple", value: Number(readArgument(cursor, info)) };
}

function readFloat(cursor: Cursor, info: 25 | 26 | 27): CborItem {
  const widthBytes = info === 25 ? 2 : info === 26 ? 4 : 8;
  need(cursor, widthBytes);
  const at = cursor.offset;
  cursor.offset += widthBytes;
  const value = widthBytes === 2
    ? halfToNumber(cursor.view.getUint16(at))
    : widthBytes === 4
    ? cursor.view.getFloat32(at)
    : cursor.view.getFloat64(at);
  return { kind: "float", widthBytes, value };
}

/** RFC 8949, appendix D. */
function halfToNumber(half: number): number {
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  const size = exponent === 0
    ? mantissa * 2 ** -24
    : exponent === 31
    ? (mantissa === 0 ? Infinity : NaN)
    : (mantissa + 1024) * 2 ** (exponent - 25);
  return (half & 0x8000) === 0 ? size : -size;
}
