/**
 * What a puller writes first: on `/hypha-tensor-stream/pull` the slice's name, on `/hypha-tensor-stream/pull/2`, which is ours,
 * the scheduler's grant too. Eight bytes of length, little-endian, then that much JSON.
 *
 * @module
 */
import { Result } from "effect";
import { decodeFramedJson, encodeFramedJson } from "./framed_json.ts";
import type { MalformedMessage } from "./malformed.ts";
import type { Grant, Peer } from "./messages.ts";
import { peer, text, u64 } from "./scalars.ts";
import { omittable, type Schema, struct } from "./schema.ts";
import { grantSchema } from "./schemas.ts";

/** Names one slice of a dataset. */
export interface PullHeader {
  readonly dataset: string;
  /** Counted from 0. */
  readonly index: number;
}

/** A pull of ours: the slice, and whose word there is for it. */
export interface GrantedPullHeader extends PullHeader {
  /** The scheduler that signed the grant. */
  readonly scheduler?: Peer;
  readonly grant?: Grant;
}

/** The JSON must be shorter than this: at and above it the existing data nodes shut down. */
export const pullHeaderMaxBytes = 1_048_576;

const schema: Schema<PullHeader> = struct<PullHeader>({ dataset: text(), index: u64 });
const grantedSchema: Schema<GrantedPullHeader> = struct<GrantedPullHeader>({
  dataset: text(),
  index: u64,
  scheduler: omittable(peer),
  grant: omittable(grantSchema),
});

/** What was read, and the bytes it took; `undefined` where more must arrive. */
type Decoded<H> = Result.Result<{ readonly header: H; readonly sizeBytes: number } | undefined, MalformedMessage>;

export function encodePullHeader(header: PullHeader): Uint8Array<ArrayBuffer> {
  return encodeFramedJson(schema, header);
}

/**
 * Reads a header from the beginning of what has arrived so far.
 *
 * @param bytes Everything received since the stream began. At most {@linkcode pullHeaderMaxBytes} and eight are looked at.
 * @returns The header and its size, or `undefined` where more must arrive. A stream that ends before then held none.
 */
export function decodePullHeader(bytes: Uint8Array): Decoded<PullHeader> {
  return Result.map(decodeFramedJson(schema, bytes, pullHeaderMaxBytes), headerOf);
}

/** The same for `/hypha-tensor-stream/pull/2`. */
export function encodeGrantedPullHeader(header: GrantedPullHeader): Uint8Array<ArrayBuffer> {
  return encodeFramedJson(grantedSchema, header);
}

/** The same for `/hypha-tensor-stream/pull/2`. */
export function decodeGrantedPullHeader(bytes: Uint8Array): Decoded<GrantedPullHeader> {
  return Result.map(decodeFramedJson(grantedSchema, bytes, pullHeaderMaxBytes), headerOf);
}

function headerOf<H>(read: { readonly value: H; readonly sizeBytes: number } | undefined) {
  return read === undefined ? undefined : { header: read.value, sizeBytes: read.sizeBytes };
}
