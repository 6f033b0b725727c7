/**
 * Safetensors files: eight bytes of header length (little-endian), a JSON header, then the bytes of the tensors without a gap.
 *
 * Updates come from other machines. The reader bounds the header and checks, before it reads data, that the offsets cover the
 * data exactly, in order and without overlap.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import { type DType, elementBytes, isFloat, narrow, widen } from "./element_types.ts";
import { type NamedTensors, sizeOf, type Tensor } from "./tensors.ts";

/** Longest header, in bytes: about 10,000 tensors. The format itself allows 100 MB. */
export const headerMaxBytes = 1_048_576;
/** The length of the header, in bytes. */
export const lengthBytes = 8;
/** The header is padded with spaces to a multiple of this, so that the data lies aligned. */
const alignment = 8;

/** The position of a tensor in its file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** From the beginning of the file, in bytes. */
  readonly offset: number;
  readonly count: number;
}

/** The tensors of a file in the order of their data, and the bounds of the data. */
export interface Layout {
  readonly tensors: readonly TensorEntry[];
  readonly dataOffset: number;
  readonly sizeBytes: number;
  readonly metadata: Metadata | undefined;
}

/** What a file says about itself, such as the program whose tensors it holds. */
export type Metadata = Readonly<Record<string, string>>;

const metadataName = "__metadata__";
/** Longest metadata as JSON, in characters. */
const metadataMax = 65_536;

/** Returns metadata; `undefined` where it is too long, or is no object of strings. */
export function metadataOf(value: unknown): Metadata | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  if (!Object.values(value).every((each) => typeof each === "string")) return undefined;
  return JSON.stringify(value).length > metadataMax ? undefined : value as Metadata;
}

/** The bytes are no safetensors file, or the header does not match the file. */
export class MalformedSafetensors extends Data.TaggedError("MalformedSafetensors")<{ readonly reason: string }> {
  override get message(): string {
    return `Cannot read safetensors: ${this.reason}`;
  }
}

const fail = (reason: string) => Result.fail(new MalformedSafetensors({ reason }));

/** Reads the length of the header from the first eight bytes of a file. */
export function readHeaderLength(prefix: Uint8Array, fileBytes: number): Result.Result<number, MalformedSafetensors> {
  if (prefix.length < lengthBytes) return fail("shorter than 8 bytes");
  const length = new DataView(prefix.buffer, prefix.byteOffset, lengthBytes).getBigUint64(0, true);
  if (length > BigInt(headerMaxBytes)) return fail(`header of ${length} bytes, at most ${headerMaxBytes} are read`);
  if (lengthBytes + Number(length) > fileBytes) return fail("header is cut short");
  return Result.succeed(Number(length));
}

/** Checks a header against the size of its file. */
export function readLayout(header: Uint8Array, fileBytes: number): Result.Result<Layout, MalformedSafetensors> {
  const dataOffset = lengthBytes + header.length;
  const parsed = parseObject(header);
  if (parsed === undefined) return fail("header is not a JSON object in which every name appears once");
  const tensors: TensorEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (name === metadataName) continue;
    const entry = readEntry(name, value, dataOffset);
    if (Result.isFailure(entry)) return Result.fail(entry.failure);
    tensors.push(entry.success);
  }
  // An empty tensor has the offset of its neighbour: the shorter tensor comes first.
  tensors.sort((a, b) => a.offset - b.offset || a.count - b.count);
  let end = dataOffset;
  for (const { name, offset, count, dtype } of tensors) {
    if (offset !== end) return fail(`tensor ${quoted(name)} ${offset < end ? "overlaps another" : "leaves a gap"}`);
    end += count * elementBytes[dtype];
  }
  if (end !== fileBytes) return fail(`tensors end at byte ${end}, the file at ${fileBytes}`);
  return Result.succeed({ tensors, dataOffset, sizeBytes: fileBytes, metadata: metadataOf(parsed[metadataName]) });
}

const quoted = (name: string) => JSON.stringify(name.slice(0, 64));

function parseObject(header: Uint8Array): Record<string, unknown> | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    // Of two equal names `JSON.parse` keeps the last. Another reader may keep the first and read different tensors.
    return namesWritten(text) === namesKept(value) ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

/** Counts the names of all objects in `text`, which is valid JSON. */
function namesWritten(text: string): number {
  let count = 0;
  for (const [, colon] of text.matchAll(/"(?:[^"\\]+|\\.)*"\s*(:)?/g)) if (colon !== undefined) count++;
  return count;
}

function namesKept(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const children: readonly unknown[] = Object.values(value);
  return children.reduce<number>(
    (count, child) => count + namesKept(child),
    Array.isArray(value) ? 0 : children.length,
  );
}

function readEntry(name: string, value: unknown, dataOffset: number): Result.Result<TensorEntry, MalformedSafetensors> {
  const bad = (what: string) => fail(`tensor ${quoted(name)}: ${what}`);
  if (typeof value !== "object" || value === null) return bad("not an object");
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(elementBytes, dtype)) {
    return bad(`element type ${quoted(String(dtype))} is not read`);
  }
  if (!isSizes(shape)) return bad("shape is not a list of sizes");
  if (!isSizes(offsets) || offsets.length !== 2) return bad("offsets are not two sizes");
  const [begin, end] = offsets as [number, number];
  const count = sizeOf(shape);
  if (!Number.isSafeInteger(count) || end - begin !== count * elementBytes[dtype as DType]) {
    return bad(`shape and element type do not take ${end - begin} bytes`);
  }
  return Result.succeed({ name, dtype: dtype as DType, shape, offset: dataOffset + begin, count });
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0);
}

/** Encodes the bytes before the data, for tensors that follow in this order without a gap. */
export function writeHeader(
  tensors: readonly { readonly name: string; readonly dtype: DType; readonly shape: readonly number[] }[],
  metadata?: Metadata,
): Uint8Array<ArrayBuffer> {
  let offset = 0;
  const entries = tensors.map(({ name, dtype, shape }) => {
    const begin = offset;
    offset += sizeOf(shape) * elementBytes[dtype];
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, offset] })}`;
  });
  if (metadata !== undefined) entries.unshift(`"${metadataName}":${JSON.stringify(metadata)}`);
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const padded = Math.ceil(json.length / alignment) * alignment;
  const bytes = new Uint8Array(lengthBytes + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, lengthBytes);
  return bytes;
}

/** Encodes a whole file of F32 tensors in memory. */
export function encodeTensors(tensors: NamedTensors): Uint8Array<ArrayBuffer> {
  const header = writeHeader([...tensors].map(([name, { shape }]) => ({ name, dtype: "F32" as const, shape })));
  const parts = [header, ...[...tensors.values()].map(({ values }) => narrow(values, "F32"))];
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Reads the header of a whole file in memory. */
export function layoutOf(bytes: Uint8Array): Result.Result<Layout, MalformedSafetensors> {
  return Result.flatMap(
    readHeaderLength(bytes, bytes.length),
    (length) => readLayout(bytes.subarray(lengthBytes, lengthBytes + length), bytes.length),
  );
}

/** Decodes the float tensors of a whole file in memory, as F32. Integer and bool tensors are left out. */
export function decodeTensors(bytes: Uint8Array): Result.Result<NamedTensors, MalformedSafetensors> {
  return Result.map(layoutOf(bytes), ({ tensors }) => {
    const named = new Map<string, Tensor>();
    for (const { name, dtype, shape, offset, count } of tensors) {
      if (!isFloat(dtype)) continue;
      const data = bytes.subarray(offset, offset + count * elementBytes[dtype]);
      named.set(name, { shape, values: Float32Array.from(widen(data, dtype)) });
    }
    return named;
  });
}
