/**
 * The element types of safetensors files, and their values.
 *
 * @module
 */

/** Float types: our files hold F32, the existing executors send BF16. */
export type FloatType = "F64" | "F32" | "F16" | "BF16";
/** Integer types, and bool as one byte. */
export type WholeType = "I64" | "U64" | "I32" | "U32" | "I16" | "U16" | "I8" | "U8" | "BOOL";
/** Element types that the reader accepts. */
export type DType = FloatType | WholeType;

/** Bytes of one element. */
export const elementBytes: Readonly<Record<DType, 1 | 2 | 4 | 8>> = {
  ...{ F64: 8, F32: 4, F16: 2, BF16: 2 },
  ...{ I64: 8, U64: 8, I32: 4, U32: 4, I16: 2, U16: 2, I8: 1, U8: 1, BOOL: 1 },
};

/** Whether tensors of this type are averaged. */
export function isFloat(dtype: DType): dtype is FloatType {
  return dtype === "F64" || dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** Types that the runtime has arrays of: these are read and written up to seven times as fast as by a `DataView`. */
const arrays = { F64: Float64Array, F32: Float32Array } as const;
const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const hasArray = (dtype: FloatType): dtype is keyof typeof arrays => isLittleEndian && dtype in arrays;

/** Decodes `bytes` to doubles, at the beginning of `into` where they fit. `bytes` may be unaligned. */
export function widen(bytes: Uint8Array, dtype: FloatType, into?: Float64Array): Float64Array {
  const width = elementBytes[dtype];
  const count = bytes.byteLength / width;
  const values = into !== undefined && into.length >= count ? into.subarray(0, count) : new Float64Array(count);
  if (hasArray(dtype)) {
    const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : Uint8Array.from(bytes);
    const from = new arrays[dtype](buffer as ArrayBuffer, byteOffset, values.length);
    for (let i = 0; i < values.length; i++) values[i] = from[i] as number;
    return values;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = readers[dtype];
  for (let i = 0, at = 0; i < values.length; i++, at += width) values[i] = read(view, at);
  return values;
}

const scratch = new DataView(new ArrayBuffer(4));
const readers: Readonly<Record<FloatType, (view: DataView, at: number) => number>> = {
  F64: (view, at) => view.getFloat64(at, true),
  F32: (view, at) => view.getFloat32(at, true),
  // The upper half of an F32.
  BF16: (view, at) => {
    scratch.setUint32(0, view.getUint16(at, true) << 16 >>> 0);
    return scratch.getFloat32(0);
  },
  F16: (view, at) => {
    const half = view.getUint16(at, true);
    const [exponent, mantissa] = [(half >> 10) & 0x1f, half & 0x3ff];
    const size = exponent === 0
      ? mantissa * 2 ** -24
      : exponent === 31
      ? (mantissa === 0 ? Infinity : NaN)
      : (mantissa + 1024) * 2 ** (exponent - 25);
    return (half & 0x8000) === 0 ? size : -size;
  },
};

/**
 * Encodes values as little-endian bytes, each rounded to the nearest of its type, of two the even one; into `buffer` where it is given,
 * from its beginning.
 */
export function narrow(
  values: Float64Array | Float32Array,
  dtype: FloatType,
  buffer: ArrayBuffer = new ArrayBuffer(values.length * elementBytes[dtype]),
): Uint8Array<ArrayBuffer> {
  const width = elementBytes[dtype];
  const bytes = new Uint8Array(buffer, 0, values.length * width);
  if (hasArray(dtype)) {
    const into = new arrays[dtype](buffer, 0, values.length);
    for (let i = 0; i < values.length; i++) into[i] = values[i] as number;
    return bytes;
  }
  const view = new DataView(bytes.buffer);
  const write = writers[dtype];
  for (let i = 0; i < values.length; i++) write(view, i * width, values[i] as number);
  return bytes;
}

const writers: Readonly<Record<FloatType, (view: DataView, at: number, value: number) => void>> = {
  F64: (view, at, value) => view.setFloat64(at, value, true),
  F32: (view, at, value) => view.setFloat32(at, value, true),
  // Rounded to F32 first: values are F32 already wherever we write BF16.
  BF16: (view, at, value) => {
    scratch.setFloat32(0, value);
    const bits = scratch.getUint32(0);
    const rounded = Number.isNaN(value) ? 0x7fc0 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
    view.setUint16(at, rounded, true);
  },
  F16: (view, at, value) => view.setUint16(at, halfOf(value), true),
};

/** The bits of the F16 that is nearest. */
function halfOf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65_520) return sign | 0x7c00;
  // Below the smallest normal number the unit is 2^-24, above it 2^-10 of the number's own power of two.
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size));
  const units = roundToEven(size / 2 ** (exponent - 10));
  return sign | (units < 1024 ? units : ((exponent + 15) << 10) + (units - 1024));
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

type Whole = number | bigint;

/** Reads an element as signed: the difference of an unsigned type is two's complement. */
function readWhole(view: DataView, at: number, dtype: WholeType): Whole {
  if (dtype === "BOOL") return view.getUint8(at) === 0 ? 0 : 1;
  switch (elementBytes[dtype]) {
    case 1:
      return view.getInt8(at);
    case 2:
      return view.getInt16(at, true);
    case 4:
      return view.getInt32(at, true);
    case 8:
      return view.getBigInt64(at, true);
  }
}

/**
 * Computes the lower median of several differences, element by element. Differences count as signed; one of a bool is 1 where the value
 * changed.
 *
 * @param parts The same elements of each update, at least one part, all of one length.
 * @returns The elements of the result, of the same type.
 */
export function medianOfWholes(parts: readonly Uint8Array[], dtype: WholeType): Uint8Array<ArrayBuffer> {
  const width = elementBytes[dtype];
  const views = parts.map(({ buffer, byteOffset, byteLength }) => new DataView(buffer, byteOffset, byteLength));
  const bytes = new Uint8Array(views[0]?.byteLength ?? 0);
  const out = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += width) {
    const column = views.map((view) => readWhole(view, at, dtype)).sort((a, b) => a < b ? -1 : a > b ? 1 : 0);
    writeWhole(out, at, column[(column.length - 1) >> 1] ?? 0, width);
  }
  return bytes;
}

function writeWhole(view: DataView, at: number, value: Whole, width: 1 | 2 | 4 | 8): void {
  if (width === 8) view.setBigInt64(at, BigInt(value), true);
  else if (width === 4) view.setInt32(at, Number(value), true);
  else if (width === 2) view.setInt16(at, Number(value), true);
  else view.setInt8(at, Number(value));
}

/**
 * Adds differences to elements, in place. Integers wrap around as two's complement; a bool changes where its difference is 1.
 *
 * @param into Elements, changed to the sums.
 * @param differences As many elements of the same type.
 */
export function addWholes(into: Uint8Array, differences: Uint8Array, dtype: WholeType): void {
  const width = elementBytes[dtype];
  const sums = new DataView(into.buffer, into.byteOffset, into.byteLength);
  const others = new DataView(differences.buffer, differences.byteOffset, differences.byteLength);
  for (let at = 0; at < into.length; at += width) {
    const [one, other] = [readWhole(sums, at, dtype), readWhole(others, at, dtype)];
    if (dtype === "BOOL") sums.setUint8(at, one === other ? 0 : 1);
    else if (width === 8) sums.setBigInt64(at, BigInt(one) + BigInt(other), true);
    else writeWhole(sums, at, Number(one) + Number(other), width);
  }
}
