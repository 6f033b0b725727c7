/**
 * A file that carries its length and digest: what flows towards the receiver on `/hypha-tensor-stream/pull/2` and `push/2`.
 *
 * ```text
 * 8 bytes   length of the JSON, little-endian
 * n bytes   JSON: {"size": 1234}, or {"refused": "job-scope"} and nothing after it
 * 1234      the file
 * 32 bytes  SHA-256 of the file
 * ```
 *
 * The length goes in front and the digest behind, so that the sender reads its file once.
 *
 * @module
 */
import { Result } from "effect";
import { decodeFramedJson, encodeFramedJson } from "./framed_json.ts";
import type { MalformedMessage } from "./malformed.ts";
import { text, u64 } from "./scalars.ts";
import { checked, omittable, type Schema, struct } from "./schema.ts";

/** The head in front of the file. */
export type FileHead =
  /** That many bytes of file follow, then its digest. */
  | { readonly size: number }
  /** Nothing follows: a refusal's code, or `not-found`. */
  | { readonly refused: string };

/** The JSON of a head must be shorter than this: a size has 16 digits, a code about 30 letters. */
export const fileHeadMaxBytes = 1_024;
/** SHA-256. */
export const digestBytes = 32;

interface Fields {
  readonly size?: number;
  readonly refused?: string;
}

const schema: Schema<Fields> = checked(
  struct<Fields>({ size: omittable(u64), refused: omittable(text(256)) }),
  ({ size, refused }) => (size === undefined) === (refused === undefined) ? "expected size or refused" : undefined,
);

export function encodeFileHead(head: FileHead): Uint8Array<ArrayBuffer> {
  return encodeFramedJson(schema, head);
}

/** Reads a head from the beginning of what has arrived so far; `undefined` where more must arrive. */
export function decodeFileHead(
  bytes: Uint8Array,
): Result.Result<{ readonly head: FileHead; readonly sizeBytes: number } | undefined, MalformedMessage> {
  return Result.map(
    decodeFramedJson(schema, bytes, fileHeadMaxBytes),
    (read) => read === undefined ? undefined : { head: read.value as FileHead, sizeBytes: read.sizeBytes },
  );
}
