/**
 * What a puller writes first on `/hypha-tensor-stream/pull`: eight bytes of length, little-endian, then that much JSON.
 *
 * @module
 */
import type { Result } from "effect";
import { attempt, MalformedMessage } from "./malformed.ts";
import { text, u64 } from "./scalars.ts";
import { fromJson, type Schema, struct, toJson } from "./schema.ts";

/** Names one slice of a dataset. */
export interface PullHeader {
  readonly dataset: string;
  /** Counted from 0. */
  readonly index: number;
}

/** The JSON must be shorter than this: at and above it the existing data nodes shut down. */
export const pullHeaderMaxBytes = 1_048_576;
const lengthBytes = 8;

const schema: Schema<PullHeader> = struct<PullHeader>({ dataset: text(), index: u64 });
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodePullHeader(header: PullHeader): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(toJson(schema, header));
  const bytes = new Uint8Array(lengthBytes + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, lengthBytes);
  return bytes;
}

/**
 * Reads a header from the beginning of what has arrived so far.
 *
 * @param bytes Everything received since the stream began. At most {@linkcode pullHeaderMaxBytes} and eight are looked at.
 * @returns The header and its size, or `undefined` where more must arrive. A stream that ends before then held none.
 */
export function decodePullHeader(
  bytes: Uint8Array,
): Result.Result<{ readonly header: PullHeader; readonly sizeBytes: number } | undefined, MalformedMessage> {
  return attempt(() => {
    if (bytes.length < lengthBytes) return undefined;
    const length = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes).getBigUint64(0, true);
    if (length >= BigInt(pullHeaderMaxBytes)) throw malformed(`header of ${length} bytes`);
    const sizeBytes = lengthBytes + Number(length);
    if (bytes.length < sizeBytes) return undefined;
    const header = fromJson(schema, parse(bytes.subarray(lengthBytes, sizeBytes)));
    if (header._tag === "Failure") throw header.failure;
    return { header: header.success, sizeBytes };
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
