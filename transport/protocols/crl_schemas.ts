/**
 * The shapes of messages about revocation lists (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { scopeNamePattern } from "../../pki/crl_scope.ts";
import type { CrlNotice, CrlRequest, CrlResponse } from "./crl_messages.ts";
import { bytes, oneOf, text, u64 } from "./scalars.ts";
import { checked, externallyTagged, list, nullable, omittable, type Schema, struct } from "./schema.ts";

/** Lists that one request announces. */
export const crlNoticesMax = 16;
/** Bytes of one piece of a list. */
export const crlPieceBytesMax = 262_144;
/** Bytes of lists that an announcement brings along, in all. */
export const crlInlineBytesMax = 1_024;
/** Digits of a CRL number: with more, a notice could have more than 300 bytes. */
export const crlNumberDigitsMax = 36;

const pattern = (expression: RegExp, what: string): Schema<string> =>
  checked(text(128), (value) => expression.test(value) ? undefined : `expected ${what}`);

const issuer = pattern(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hexadecimal");
const scope = pattern(scopeNamePattern, "a scope");
const number = pattern(new RegExp(`^(?:0|[1-9][0-9]{0,${crlNumberDigitsMax - 1}})$`), "a CRL number");

/** A SHA-256: 32 bytes; in memory and in JSON lower-case hexadecimal. */
const sha256: Schema<string> = {
  write: (out, value) => out.bytes(Buffer.from(value, "hex")),
  read: (item, at) => {
    if (item.kind !== "bytes") return at.fail(`expected 32 bytes, got ${item.kind}`);
    if (item.value.length !== 32) return at.fail(`expected 32 bytes, got ${item.value.length}`);
    return Buffer.from(item.value).toString("hex");
  },
  fromJson: (value, at) => issuer.fromJson(value, at),
  toJson: (value) => JSON.stringify(value),
};

const notice: Schema<CrlNotice> = struct<CrlNotice>({
  issuer,
  scope,
  number,
  base: nullable(number),
  sha256,
  size: u64,
  updated: u64,
  bytes: omittable(bytes),
});

const notices = checked(list(notice), (all) => {
  if (all.length === 0 || all.length > crlNoticesMax) return `expected 1 to ${crlNoticesMax} lists, got ${all.length}`;
  const inline = all.reduce((sum, each) => sum + (each.bytes?.length ?? 0), 0);
  return inline > crlInlineBytesMax ? `more than ${crlInlineBytesMax} bytes of lists` : undefined;
});

export const crlRequestSchema: Schema<CrlRequest> = externallyTagged<CrlRequest>({
  Announce: notices,
  Pull: struct<{ readonly sha256: string; readonly offset: number }>({ sha256, offset: u64 }),
});

const verdict = oneOf(["have", "want"] as const);

export const crlResponseSchema: Schema<CrlResponse> = externallyTagged<CrlResponse>({
  Announced: checked(list(verdict), (all) => all.length > crlNoticesMax ? "too many answers" : undefined),
  Piece: checked(bytes, (piece) => piece.length > crlPieceBytesMax ? "a piece that is too long" : undefined),
});
