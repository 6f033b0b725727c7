/**
 * One record of the audit log: a line of canonical JSON that carries the hash of the line before it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { isCanonical } from "../../pki/canonical_json.ts";
import { type AuditFields, auditText, type AuditValue } from "./audit_value.ts";

/** Version of the format. */
export const recordVersion = 1;
/** Bytes of `detail`; longer ones are replaced by their size and SHA-256. */
export const detailBytesMax = 4_096;
/** Bytes of a line: the detail, and fields that are bounded by certificates and codes. */
export const lineBytesMax = 16_384;

/** What happened, as its source reports it. */
export interface AuditEvent {
  /** Dotted lower case: `refusal`, `job.started`. */
  readonly type: string;
  /** Such as `refused`, `done` or a refusal's code. */
  readonly outcome: string;
  /** Name and PeerID of the member that it is about. */
  readonly peer?: string | undefined;
  /** Further data; no secrets. */
  readonly detail?: Readonly<Record<string, unknown>> | undefined;
}

/** A record. */
export interface AuditRecord {
  readonly detail: AuditFields;
  /** The node that writes the log. */
  readonly node: string;
  readonly outcome: string;
  readonly peer?: string;
  /** SHA-256 of the line before, base64; of the first line {@linkcode genesisHash}. */
  readonly prev: string;
  /** From 0, one more than the line before. */
  readonly seq: number;
  /** RFC 3339 in UTC with milliseconds; never before the line before. */
  readonly ts: string;
  readonly type: string;
  readonly v: number;
}

/** Where a record stands in its log. */
export interface RecordPlace extends Pick<AuditRecord, "node" | "prev" | "seq" | "ts"> {}

/** Composes a record's line, without the line feed. */
export function composeLine({ type, outcome, peer, detail = {} }: AuditEvent, place: RecordPlace): Buffer {
  const { node, prev, seq, ts } = place;
  const who = peer === undefined ? {} : { peer: peer.slice(0, 1_024).toWellFormed() };
  // Written in the order of the names: the text is canonical.
  const fields: Omit<AuditRecord, "detail"> = {
    node,
    outcome: outcome.slice(0, 256).toWellFormed(),
    ...who,
    prev,
    seq,
    ts,
    type,
    v: recordVersion,
  };
  return Buffer.from(`{"detail":${boundedDetail(detail)},${JSON.stringify(fields).slice(1)}`);
}

/** The text of a detail, bounded. */
function boundedDetail(detail: Readonly<Record<string, unknown>>): string {
  const text = auditText(detail);
  if (text.length <= detailBytesMax / 4 || Buffer.byteLength(text) <= detailBytesMax) return text;
  return JSON.stringify({
    cut: { bytes: Buffer.byteLength(text), sha256: sha256Text(Buffer.from(text)) },
    // A character takes up to six bytes where it is escaped.
    text: text.slice(0, detailBytesMax / 8).toWellFormed(),
  });
}

/** Reads a line; undefined where it is not a canonical record. */
export function readLine(text: string): AuditRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isRecord(value) && isCanonical(value, text) ? value : undefined;
}

const optionalText = (value: unknown) => value === undefined || typeof value === "string";
const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

function isRecord(value: unknown): value is AuditRecord {
  if (typeof value !== "object" || value === null) return false;
  const { detail, node, outcome, peer, prev, seq, ts, type, v } = value as Readonly<Record<keyof AuditRecord, unknown>>;
  return v === recordVersion && typeof seq === "number" && seq >= 0 && typeof prev === "string" &&
    typeof node === "string" && typeof outcome === "string" && optionalText(peer) && typeof type === "string" &&
    typeof ts === "string" && instant.test(ts) && isObject(detail);
}

function isObject(value: unknown): value is Readonly<Record<string, AuditValue>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `prev` of the first record: SHA-256 of the format, the node and random bytes that the record holds (`detail.random`). */
export function genesisHash(node: string, random: string): string {
  return sha256Text(Buffer.from(`hypha-audit-v1\n${node}\n${random}`));
}

/** SHA-256, base64. */
export function sha256Text(bytes: Uint8Array): string {
  return hash("sha256", bytes, "base64");
}
