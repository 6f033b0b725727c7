/**
 * The part of protocol buffers that this network's own messages need (protobuf.dev: "Encoding").
 *
 * `protons-runtime`, which libp2p brings, does not replace the reader: it takes tags and lengths modulo 2^32, accepts a
 * number that is cut off at the end and one over 2^53, and recurses into groups.
 *
 * @module
 */

/** Writes the fields of a message, one after the other. */
export class ProtobufWriter {
  readonly #pieces: Uint8Array[] = [];
  /** Tags, lengths and numbers since the last piece. */
  #head: number[] = [];

  varint(value: number): this {
    while (value > 0x7f) {
      this.#head.push((value % 0x80) | 0x80);
      value = Math.floor(value / 0x80);
    }
    this.#head.push(value);
    return this;
  }
  number(field: number, value: number | undefined): this {
    return value === undefined ? this : this.varint(field * 8).varint(value);
  }
  /** The bytes are copied by {@linkcode ProtobufWriter.end}, whole: byte by byte, 48 KiB took a millisecond. */
  bytes(field: number, value: Uint8Array | undefined): this {
    if (value === undefined) return this;
    this.varint(field * 8 + 2).varint(value.byteLength);
    this.#pieces.push(Uint8Array.from(this.#head), value);
    this.#head = [];
    return this;
  }
  end(): Uint8Array {
    const pieces = [...this.#pieces, Uint8Array.from(this.#head)];
    const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.byteLength, 0));
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.byteLength;
    }
    return bytes;
  }
}

/** A field with its number: a varint as a number, everything with a length as its bytes. */
export type ProtobufField = { readonly field: number; readonly value: number | Uint8Array };

/** The bytes are not such a message. */
export class MalformedProtobuf extends Error {
  override readonly name = "MalformedProtobuf";
}

function varint(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  let factor = 1;
  for (let index = at; index < at + 10; index++) {
    const byte = bytes[index];
    if (byte === undefined) throw new MalformedProtobuf("cut off inside a number");
    value += (byte & 0x7f) * factor;
    factor *= 0x80;
    if (byte < 0x80) {
      if (!Number.isSafeInteger(value)) throw new MalformedProtobuf("number over 2^53");
      return [value, index + 1];
    }
  }
  throw new MalformedProtobuf("number of more than ten bytes");
}

/**
 * The fields of a message in their order, as views of its bytes. Unknown wire types are refused; unknown fields are the
 * caller's to skip.
 *
 * @param bound How many fields more there may be, over all that share it; each takes time, also one without content.
 * @throws MalformedProtobuf
 */
export function* protobufFields(
  given: Uint8Array,
  bound: { left: number } = { left: Number.POSITIVE_INFINITY },
): Generator<ProtobufField> {
  // A plain view: a Buffer's slices would be Buffers.
  const bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  let at = 0;
  while (at < bytes.byteLength) {
    if (--bound.left < 0) throw new MalformedProtobuf("too many fields");
    const [tag, afterTag] = varint(bytes, at);
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) {
      const [value, next] = varint(bytes, afterTag);
      yield { field, value };
      at = next;
    } else if (wire === 2) {
      const [length, start] = varint(bytes, afterTag);
      if (start + length > bytes.byteLength) throw new MalformedProtobuf("cut off inside a field");
      yield { field, value: bytes.subarray(start, start + length) };
      at = start + length;
    } else if (wire === 1 || wire === 5) {
      at = afterTag + (wire === 1 ? 8 : 4);
      if (at > bytes.byteLength) throw new MalformedProtobuf("cut off inside a field");
    } else throw new MalformedProtobuf(`wire type ${wire}`);
  }
}

/** The bytes of a field. */
export function bytesOf({ field, value }: ProtobufField): Uint8Array {
  if (typeof value === "number") throw new MalformedProtobuf(`field ${field} is a number`);
  return value;
}

/** The number of a field. */
export function numberOf({ field, value }: ProtobufField): number {
  if (typeof value !== "number") throw new MalformedProtobuf(`field ${field} is not a number`);
  return value;
}
