/**
 * Values → CBOR bytes (RFC 8949), definite lengths and shortest integers only. The network has two writers, which differ
 * in their floats: `exact` (request/response) keeps f64 in 9 bytes and f32 in 5, `shortest` (gossip) takes the narrowest
 * width that keeps the value.
 *
 * @module
 */

export type FloatStyle = "exact" | "shortest";

const initialSizeBytes = 256;
const utf8 = new TextEncoder();

export class CborWriter {
  readonly #floats: FloatStyle;
  #bytes = new Uint8Array(initialSizeBytes);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

  constructor(floats: FloatStyle) {
    this.#floats = floats;
  }

  /** What was written, as bytes of its own. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#size);
  }

  /** A safe integer of either sign. */
  integer(value: number): void {
    if (value < 0) this.#head(1, -1 - value);
    else this.#head(0, value);
  }

  bytes(value: Uint8Array): void {
    this.#head(2, value.length);
    this.#append(value);
  }

  text(value: string): void {
    const encoded = utf8.encode(value);
    this.#head(3, encoded.length);
    this.#append(encoded);
  }

  /** The head of a list; `count` items follow. */
  list(count: number): void {
    this.#head(4, count);
  }

  /** The head of a map; `count` keys, each with its value, follow. */
  map(count: number): void {
    this.#head(5, count);
  }

  boolean(value: boolean): void {
    this.#byte(value ? 0xf5 : 0xf4);
  }

  null(): void {
    this.#byte(0xf6);
  }

  f64(value: number): void {
    if (this.#floats === "shortest") return this.#shortest(value);
    this.#grow(9);
    this.#view.setUint8(this.#size, 0xfb);
    this.#view.setFloat64(this.#size + 1, value);
    this.#size += 9;
  }

  f32(value: number): void {
    if (this.#floats === "shortest") return this.#shortest(Math.fround(value));
    this.#writeF32(value);
  }

  #writeF32(value: number): void {
    this.#grow(5);
    this.#view.setUint8(this.#size, 0xfa);
    this.#view.setFloat32(this.#size + 1, value);
    this.#size += 5;
  }

  #shortest(value: number): void {
    const half = numberToHalf(value);
    if (half !== undefined) {
      this.#grow(3);
      this.#view.setUint8(this.#size, 0xf9);
      this.#view.setUint16(this.#size + 1, half);
      this.#size += 3;
    } else if (Math.fround(value) === value) {
      this.#writeF32(value);
    } else {
      this.#grow(9);
      this.#view.setUint8(this.#size, 0xfb);
      this.#view.setFloat64(this.#size + 1, value);
      this.#size += 9;
    }
  }

  #head(major: number, argument: number): void {
    this.#grow(9);
    const first = major << 5;
    if (argument < 24) {
      this.#view.setUint8(this.#size++, first | argument);
    } else if (argument < 0x100) {
      this.#view.setUint8(this.#size, first | 24);
      this.#view.setUint8(this.#size + 1, argument);
      this.#size += 2;
    } else if (argument < 0x1_0000) {
      this.#view.setUint8(this.#size, first | 25);
      this.#view.setUint16(this.#size + 1, argument);
      this.#size += 3;
    } else if (argument < 0x1_0000_0000) {
      this.#view.setUint8(this.#size, first | 26);
      this.#view.setUint32(this.#size + 1, argument);
      this.#size += 5;
    } else {
      this.#view.setUint8(this.#size, first | 27);
      this.#view.setBigUint64(this.#size + 1, BigInt(argument));
      this.#size += 9;
    }
  }

  #byte(value: number): void {
    this.#grow(1);
    this.#view.setUint8(this.#size++, value);
  }

  #append(value: Uint8Array): void {
    this.#grow(value.length);
    this.#bytes.set(value, this.#size);
    this.#size += value.length;
  }

  #grow(more: number): void {
    if (this.#size + more <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#size + more));
    bytes.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

const scratch = new DataView(new ArrayBuffer(4));

/** The half-precision bits of a value that they keep exactly, else undefined. NaN is 0x7e00. */
function numberToHalf(value: number): number | undefined {
  if (Number.isNaN(value)) return 0x7e00;
  if (Math.fround(value) !== value) return undefined;
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 127;
  const mantissa = bits & 0x7f_ffff;
  if (exponent === 128) return sign | 0x7c00;
  if (exponent === -127) return mantissa === 0 ? sign : undefined;
  if (exponent >= -14 && exponent <= 15) {
    return (mantissa & 0x1fff) === 0 ? sign | ((exponent + 15) << 10) | (mantissa >> 13) : undefined;
  }
  if (exponent < -24 || exponent > 15) return undefined;
  // Subnormal halves count in steps of 2^-24: the significand, hidden bit included, shifted until its unit is that step.
  const shift = -1 - exponent;
  const significand = mantissa | 0x80_0000;
  return (significand & ((1 << shift) - 1)) === 0 ? sign | (significand >> shift) : undefined;
}
