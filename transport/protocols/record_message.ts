/**
 * `/hypha-record/1`: asks a peer for its own record of a key. One CBOR item each way, as requests and responses have
 * (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import { Result } from "effect";
import { MalformedMessage } from "./malformed.ts";
import { bytes, text } from "./scalars.ts";
import { fromCbor, nullable, type Schema, struct, toCbor } from "./schema.ts";

/** The protocol's name. */
export const recordProtocol = "/hypha-record/1";

/** Largest key and value of a record, in bytes. */
export const recordKeyMaxBytes = 1_024;
export const recordValueMaxBytes = 16_384;
/** Largest request and answer, in bytes: the largest key or value, and what is around it. */
export const recordRequestMaxBytes = recordKeyMaxBytes + 64;
export const recordAnswerMaxBytes = recordValueMaxBytes + 64;

/** The key that is asked for. */
export interface RecordRequest {
  readonly key: string;
}

/** The record that the answering peer itself publishes under the key; null: it publishes none. */
export interface RecordResponse {
  readonly value: Uint8Array | null;
}

const request: Schema<RecordRequest> = struct<RecordRequest>({ key: text(recordKeyMaxBytes) });
const response: Schema<RecordResponse> = struct<RecordResponse>({ value: nullable(bytes) });

/** Encodes a request. */
export function encodeRecordRequest(message: RecordRequest): Uint8Array<ArrayBuffer> {
  return toCbor(request, message, "exact");
}

/** Decodes a request that has arrived whole. */
export function decodeRecordRequest(bytes: Uint8Array): Result.Result<RecordRequest, MalformedMessage> {
  return bytes.byteLength > recordRequestMaxBytes ? tooLarge(recordRequestMaxBytes) : fromCbor(request, bytes, "exact");
}

/** Encodes an answer. */
export function encodeRecordResponse(message: RecordResponse): Uint8Array<ArrayBuffer> {
  return toCbor(response, message, "exact");
}

/** Decodes an answer that has arrived whole. */
export function decodeRecordResponse(bytes: Uint8Array): Result.Result<RecordResponse, MalformedMessage> {
  return bytes.byteLength > recordAnswerMaxBytes ? tooLarge(recordAnswerMaxBytes) : fromCbor(response, bytes, "exact");
}

function tooLarge(max: number): Result.Result<never, MalformedMessage> {
  return Result.fail(new MalformedMessage({ path: "", reason: `more than ${max} bytes` }));
}
