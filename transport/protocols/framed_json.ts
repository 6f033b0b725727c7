/**
 * JSON with its length in front: eight bytes, little-endian, then that much JSON. What begins a pull, and a file that
 * carries its length.
 *
 * @module
 */
import type { Result } from "effect";
import { attempt, MalformedMessage } from "./malformed.ts";
import { fromJson, type Schema, toJson } from "./schema.ts";

const lengthBytes = 8;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Writes a value of ours. */
export function encodeFramedJson<A>(schema: Schema<A>, value: A): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(toJson(schema, value));
  const bytes = new Uint8Array(lengthBytes + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, lengthBytes);
  return bytes;
}

/**
 * Reads a value from the beginning of what has arrived so far.
 *
 * @param bytes Everything received since the stream began.
 * @param jsonBytesMax The JSON must be shorter than this; a length at or over it is refused as soon as it is there.
 * @returns The value and the bytes it took, or `undefined` where more must arrive. A stream that ends before then held none.
 */
export function decodeFramedJson<A>(
  schema: Schema<A>,
  bytes: Uint8Array,
  jsonBytesMax: number,
): Result.Result<{ readonly value: A; readonly sizeBytes: number } | undefined, MalformedMessage> {
  return attempt(() => {
    if (bytes.length < lengthBytes) return undefined;
    const length = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes).getBigUint64(0, true);
    if (length >= BigInt(jsonBytesMax)) throw malformed(`header of ${length} bytes`);
    const sizeBytes = lengthBytes + Number(length);
    if (bytes.length < sizeBytes) return undefined;
    const read = fromJson(schema, parse(bytes.subarray(lengthBytes, sizeBytes)));
    if (read._tag === "Failure") throw read.failure;
    return { value: read.success, sizeBytes };
  });
}

function parse(json: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(json));
  } catch {
    throw malformed("header is not JSON");
  }
}

function malformed(reason: string): MalformedMessage {
  return new MalformedMessage({ path: "", reason });
}
