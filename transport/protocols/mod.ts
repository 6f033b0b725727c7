/**
 * The codecs of the network's messages: bytes ⇄ the shapes of `messages.ts`, and JSON for the job bridge.
 *
 * @module
 */
import { Result } from "effect";
import { auditRequestSchema, auditResponseSchema } from "./audit_schemas.ts";
import { crlRequestSchema, crlResponseSchema } from "./crl_schemas.ts";
import { type ReadCounts, readOnlyKey } from "./cbor_reader.ts";
import { attempt, MalformedMessage } from "./malformed.ts";
import type { MessageProtocol, ProtocolMessages, WorkerRequest } from "./messages.ts";
import { fromCbor, type Schema, toCbor } from "./schema.ts";
import {
  apiRequestSchema,
  apiResponseSchema,
  healthRequestSchema,
  healthResponseSchema,
  progressRequestSchema,
  progressResponseSchema,
  workerRequestSchema,
} from "./schemas.ts";
import { trainingRequestSchema, trainingResponseSchema } from "./training_schemas.ts";

export {
  auditChainBytesMax,
  auditChainMax,
  auditHeadsMax,
  auditKeyBytesMax,
  auditNoteBytesMax,
  auditPathMax,
  auditSignatureBytesMax,
} from "./audit_schemas.ts";
export { crlInlineBytesMax, crlNoticesMax, crlNumberDigitsMax, crlPieceBytesMax } from "./crl_schemas.ts";
export type { ReadCounts } from "./cbor_reader.ts";
export { MalformedMessage } from "./malformed.ts";
export { decodeFileHead, digestBytes, encodeFileHead, type FileHead, fileHeadMaxBytes } from "./file_frame.ts";
export { signedBytesOf, type UnsignedGrant } from "./grant.ts";
export {
  decodeGrantedPullHeader,
  decodePullHeader,
  encodeGrantedPullHeader,
  encodePullHeader,
  type GrantedPullHeader,
  type PullHeader,
  pullHeaderMaxBytes,
} from "./pull_header.ts";
export { fromJson, type Schema, toJson } from "./schema.ts";
export {
  membersReportedMax,
  trainingIdMaxBytes,
  verdictCodeMaxBytes,
  verdictDetailMaxBytes,
} from "./training_schemas.ts";
export {
  jobSpecSchema,
  modelTasks,
  peersReferencedMax,
  peersReferenceSchema,
  preprocessorTasks,
  progressResponseSchema,
  progressSchema,
  reasonMaxBytes,
  receiveReferenceSchema,
  referenceSchema,
} from "./schemas.ts";

/** Largest request and response, in bytes: what the existing nodes take. */
export const requestMaxBytes = 1_048_576;
export const responseMaxBytes = 10 * 1_048_576;
/** Largest gossip payload, in bytes: a request for a worker has about 200; gossipsub itself would pass 64 KiB and more. */
export const gossipMaxBytes = 16_384;

export type Direction = "request" | "response";

const schemas: {
  readonly [P in MessageProtocol]: { readonly [D in Direction]: Schema<ProtocolMessages[P][D]> };
} = {
  "/hypha-health/0.0.1": { request: healthRequestSchema, response: healthResponseSchema },
  "/hypha-api/0.0.1": { request: apiRequestSchema, response: apiResponseSchema },
  "/hypha-progress/0.0.1": { request: progressRequestSchema, response: progressResponseSchema },
  "/hypha-training/1": { request: trainingRequestSchema, response: trainingResponseSchema },
  "/hypha-crl/1": { request: crlRequestSchema, response: crlResponseSchema },
  "/hypha-audit/1": { request: auditRequestSchema, response: auditResponseSchema },
};

/** Encodes a request or response. The message is ours: a wrong shape throws, as a programmer's mistake. */
export function encodeMessage<P extends MessageProtocol, D extends Direction>(
  protocol: P,
  direction: D,
  message: ProtocolMessages[P][D],
): Uint8Array<ArrayBuffer> {
  return toCbor(schemas[protocol][direction] as Schema<ProtocolMessages[P][D]>, message, "exact");
}

/** The variant that a message which has arrived whole is of, as its one key names it; its content is not read. */
export function variantOf(bytes: Uint8Array): Result.Result<string, MalformedMessage> {
  return attempt(() => {
    const variant = readOnlyKey(bytes);
    if (variant === undefined) throw new MalformedMessage({ path: "", reason: "expected one variant" });
    return variant;
  });
}

/**
 * Decodes a request or response that has arrived whole; bytes after the first item are ignored.
 *
 * @param counts Grows with what is read, also where that fails.
 */
export function decodeMessage<P extends MessageProtocol, D extends Direction>(
  protocol: P,
  direction: D,
  bytes: Uint8Array,
  counts?: ReadCounts,
): Result.Result<ProtocolMessages[P][D], MalformedMessage> {
  const max = direction === "request" ? requestMaxBytes : responseMaxBytes;
  if (bytes.length > max) return Result.fail(new MalformedMessage({ path: "", reason: `more than ${max} bytes` }));
  return fromCbor(schemas[protocol][direction] as Schema<ProtocolMessages[P][D]>, bytes, "exact", counts);
}

/** Encodes what a scheduler publishes on {@linkcode workerTopic}. */
export function encodeWorkerRequest(request: WorkerRequest): Uint8Array<ArrayBuffer> {
  return toCbor(workerRequestSchema, request, "shortest");
}

/** Decodes a gossip payload; bytes after it are refused. */
export function decodeWorkerRequest(bytes: Uint8Array): Result.Result<WorkerRequest, MalformedMessage> {
  if (bytes.length > gossipMaxBytes) {
    return Result.fail(new MalformedMessage({ path: "", reason: `more than ${gossipMaxBytes} bytes` }));
  }
  return fromCbor(workerRequestSchema, bytes, "shortest");
}
