/**
 * What a revocation list covers: the issuing distribution point (RFC 5280 §5.2.5), honoured or refused with a reason.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { toHex } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { type DerCursor, tags } from "./der.ts";
import { readDistributionPointNames, readReasonFlags } from "./general_name.ts";

/** Every reason, as flags: bits 1 to 8 of ReasonFlags (RFC 5280 §4.2.1.13). */
export const allReasons = 0b1_1111_1110;

/** What a list covers, where it does not cover everything its issuer issued. */
export interface CrlScope {
  /** Certificates of nodes only, or of CAs only; undefined where of both. */
  readonly only: "users" | "cas" | undefined;
  /** Names of the distribution point, the DER of each in hexadecimal; undefined where none is named. */
  readonly points: readonly string[] | undefined;
  /** Reasons for which certificates are listed, as flags. */
  readonly reasons: number;
}

/** The scope of a list without an issuing distribution point. */
export const wholeScope: CrlScope = { only: undefined, points: undefined, reasons: allReasons };

/** Reads an IssuingDistributionPoint. Indirect lists and lists of attribute certificates are refused. */
export function readScope(value: DerCursor, critical: boolean): CrlScope {
  if (!critical) value.fail("issuingDistributionPoint must be critical");
  const fields = value.enter(tags.sequence, "issuingDistributionPoint");
  value.finish("issuingDistributionPoint");
  let points: readonly string[] | undefined;
  if (fields.peek() === 0xa0) {
    points = readDistributionPointNames(fields);
    if (points.length === 0) {
      fields.fail("its issuingDistributionPoint has a name relative to the issuer, which is not read");
    }
  }
  const users = readFlag(fields, 0x81);
  const cas = readFlag(fields, 0x82);
  const reasons = fields.peek() === 0x83 ? readReasonFlags(fields, 0x83) : allReasons;
  if (readFlag(fields, 0x84)) fields.fail("it is an indirect list (issuingDistributionPoint), and these are not read");
  if (readFlag(fields, 0x85)) fields.fail("it covers attribute certificates only (issuingDistributionPoint)");
  fields.finish("issuingDistributionPoint");
  if (users && cas) fields.fail("issuingDistributionPoint covers users only and CAs only at once");
  if (!users && !cas && points === undefined && reasons === allReasons) {
    fields.fail("issuingDistributionPoint is empty");
  }
  return { only: users ? "users" : cas ? "cas" : undefined, points, reasons };
}

/** Whether a list with this scope covers the certificate (RFC 5280 §6.3.3 b). */
export function covers({ only, points }: CrlScope, certificate: Certificate): boolean {
  const ca = certificate.basicConstraints?.ca === true;
  if (only !== undefined && (only === "cas") !== ca) return false;
  return points === undefined || points.some((point) => certificate.distributionPoints.includes(point));
}

/** The key by which scopes are compared. */
export function scopeKey({ only, points, reasons }: CrlScope): string {
  return `${only ?? "all"}/${reasons}/${points?.toSorted().join(",") ?? ""}`;
}

/**
 * The same as a name for files and marks: `all`, `users` or `cas`, the reasons where they are not all, and the first half
 * of the SHA-256 of the points where there are any. Such as `users-r6-p0123456789abcdef0123456789abcdef`.
 */
export function scopeName({ only, points, reasons }: CrlScope): string {
  const some = reasons === allReasons ? "" : `-r${reasons.toString(16)}`;
  if (points === undefined) return `${only ?? "all"}${some}`;
  const hash = createHash("sha256").update(points.toSorted().join(",")).digest("hex");
  return `${only ?? "all"}${some}-p${hash.slice(0, 32)}`;
}

/** What {@linkcode scopeName} writes. */
export const scopeNamePattern = /^(all|users|cas)(-r[0-9a-f]{1,3})?(-p[0-9a-f]{32})?$/;

function readFlag(fields: DerCursor, tag: number): boolean {
  if (fields.peek() !== tag) return false;
  fields.read(tag, "issuingDistributionPoint's flag");
  if (toHex(fields.content) !== "ff") fields.fail("issuingDistributionPoint's flag is not a DER TRUE");
  return true;
}
