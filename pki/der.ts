/**
 * Strict, bounded DER (X.690 §10): definite minimal lengths, low tag numbers, canonical booleans and integers.
 *
 * A cursor walks the bytes and throws {@linkcode DerError} where they break a rule; {@linkcode decodeDer} is the only
 * boundary, and turns that error into a Result. Nothing is copied: a cursor returns views.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** Nesting allowed. A certificate's deepest legitimate structure (name constraints of a directory name) has 11. */
export const derDepthMax = 24;
/** Content octets of an object identifier. The longest in use (a UUID under 2.25) has 20. */
export const oidOctetsMax = 64;

/** Universal tags that X.509 uses, as encoded. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Bytes that are not strict DER, or not the structure that was expected. `offset` counts from the outermost byte. */
export class DerError extends Data.TaggedError("DerError")<{ readonly detail: string; readonly offset: number }> {
  override get message(): string {
    return `Cannot read DER at offset ${this.offset}: ${this.detail}`;
  }
}

/**
 * Runs a decoder over `der` and insists that it consumes every byte.
 *
 * @param der The bytes.
 * @param decode Reads from the cursor; may throw {@linkcode DerError}, and nothing else.
 * @returns What the decoder made, or why the bytes were refused.
 */
export function decodeDer<A>(der: Uint8Array, decode: (cursor: DerCursor) => A): Result.Result<A, DerError> {
  try {
    const cursor = new DerCursor(der, 0, der.length, 0);
    const value = decode(cursor);
    cursor.finish("the outermost value");
    return Result.succeed(value);
  } catch (error) {
    if (error instanceof DerError) return Result.fail(error);
    throw error;
  }
}

/** Walks the values of one constructed value. {@linkcode read} moves it; the fields then describe what was read. */
export class DerCursor {
  readonly bytes: Uint8Array;
  /** Where the next value begins. */
  at: number;
  end: number;
  depth: number;
  /** The value read last: its tag, where it begins, and where its content lies. */
  tag = 0;
  start = 0;
  contentStart = 0;
  contentEnd = 0;

  constructor(bytes: Uint8Array, at: number, end: number, depth: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
    this.depth = depth;
  }

  /** Whether nothing is left. */
  get done(): boolean {
    return this.at >= this.end;
  }

  /** The tag of the next value, or -1 at the end. */
  peek(): number {
    return this.at < this.end ? this.bytes[this.at]! : -1;
  }

  /** Ends with an error at the next value. */
  fail(detail: string): never {
    throw new DerError({ detail, offset: this.at });
  }

  /** Insists that nothing is left. */
  finish(what: string): void {
    if (this.at !== this.end) this.fail(`${this.end - this.at} bytes after the end of ${what}`);
  }

  /** Reads the next value's header and steps over its content. */
  read(tag: number, what: string): void {
    if (this.at >= this.end) this.fail(`${what} is missing`);
    const found = this.bytes[this.at]!;
    if (found !== tag) this.fail(`${what} has tag 0x${hexByte(found)}, not 0x${hexByte(tag)}`);
    this.readAny(what);
  }

  /** Like {@linkcode read}, for any tag. */
  readAny(what: string): void {
    const { bytes, at, end } = this;
    if (at + 2 > end) this.fail(`${what} is cut off`);
    const tag = bytes[at]!;
    if ((tag & 0x1f) === 0x1f) this.fail(`${what} has a multi-byte tag`);
    let position = at + 2;
    let length = bytes[at + 1]!;
    if (length === 0x80) this.fail(`${what} has an indefinite length`);
    if (length > 0x80) {
      const octets = length & 0x7f;
      if (octets > 4 || position + octets > end) this.fail(`${what} has a length that does not fit`);
      length = 0;
      for (let index = 0; index < octets; index++) length = length * 256 + bytes[position++]!;
      const minimal = octets === 1 ? 0x80 : 256 ** (octets - 1);
      if (length < minimal) this.fail(`${what} has a length that is not minimal`);
    }
    if (position + length > end) this.fail(`${what} is longer than what surrounds it`);
    this.tag = tag;
    this.start = at;
    this.contentStart = position;
    this.contentEnd = position + length;
    this.at = this.contentEnd;
  }

  /** Content of the value read last. */
  get content(): Uint8Array {
    return this.bytes.subarray(this.contentStart, this.contentEnd);
  }

  /** The whole value read last, header included. */
  get whole(): Uint8Array {
    return this.bytes.subarray(this.start, this.contentEnd);
  }

  /** Reads a constructed value and returns a cursor over its content. */
  enter(tag: number, what: string): DerCursor {
    this.read(tag, what);
    if (this.depth >= derDepthMax) this.fail(`nested more than ${derDepthMax} deep`);
    return new DerCursor(this.bytes, this.contentStart, this.contentEnd, this.depth + 1);
  }

  /** Like {@linkcode enter}, but reuses `inner`: for loops over very many values. */
  enterInto(inner: DerCursor, tag: number, what: string): void {
    this.read(tag, what);
    inner.at = this.contentStart;
    inner.end = this.contentEnd;
  }

  /** Reads a boolean; DER knows 0x00 and 0xff only (X.690 §11.1). */
  boolean(what: string): boolean {
    this.read(tags.boolean, what);
    const value = this.content;
    if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) this.fail(`${what} is not a DER boolean`);
    return value[0] === 0xff;
  }

  /** Reads the content octets of an integer that is not negative, checked to be minimal. */
  unsigned(what: string, tag: number = tags.integer): Uint8Array {
    this.read(tag, what);
    const value = this.content;
    if (value.length === 0) this.fail(`${what} is empty`);
    if (value[0]! > 0x7f) this.fail(`${what} is negative`);
    if (value.length > 1 && value[0] === 0 && value[1]! < 0x80) this.fail(`${what} is not minimal`);
    return value;
  }

  /** Reads an integer of 0 … 2³¹−1. */
  small(what: string, tag: number = tags.integer): number {
    const octets = this.unsigned(what, tag);
    if (octets.length > 4) this.fail(`${what} is larger than 2^31-1`);
    let value = 0;
    for (const octet of octets) value = value * 256 + octet;
    return value;
  }

  /** Reads an object identifier as dotted text. */
  oid(what: string, tag: number = tags.oid): string {
    this.read(tag, what);
    const text = oidText(this.content);
    if (text === undefined) this.fail(`${what} is not an object identifier`);
    return text;
  }

  /** Reads a bit string without unused bits. */
  octetBits(what: string): Uint8Array {
    this.read(tags.bitString, what);
    const value = this.content;
    if (value.length === 0 || value[0] !== 0) this.fail(`${what} is not a whole number of octets`);
    return value.subarray(1);
  }
}

/** Arcs below this are counted as plain numbers; the few larger ones, such as UUIDs, as big ones. */
const plainArcMax = 2 ** 46;

/** Dotted text of an object identifier's content octets; undefined where they are not canonical or too long. */
function oidText(content: Uint8Array): string | undefined {
  if (content.length === 0 || content.length > oidOctetsMax || content[content.length - 1]! > 0x7f) return undefined;
  let text = "";
  let arc = 0;
  let large: bigint | undefined;
  let fresh = true;
  for (let at = 0; at < content.length; at++) {
    const octet = content[at]!;
    if (fresh && octet === 0x80) return undefined;
    if (large === undefined && arc < plainArcMax) arc = arc * 128 + (octet & 0x7f);
    else large = (large ?? BigInt(arc)) * 128n + BigInt(octet & 0x7f);
    fresh = octet < 0x80;
    if (!fresh) continue;
    if (text !== "") text += `.${large ?? arc}`;
    else if (large !== undefined) text = `2.${large - 80n}`;
    else text = arc < 80 ? `${Math.floor(arc / 40)}.${arc % 40}` : `2.${arc - 80}`;
    arc = 0;
    large = undefined;
  }
  return text;
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, "0");
}
