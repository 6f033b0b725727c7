/**
 * Join tokens: `hyp1.<id>.<secret>.<anchor>.<url>`, each part base64url without padding.
 *
 * The anchor is the SHA-256 of the root's SPKI: with it a node recognises its CA before it sends the secret. Each token has exactly
 * one text: what decodes to the same bytes from another text is refused.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { Result } from "effect";
import { toHex } from "../../pki/bytes.ts";
import { CaRefused } from "./ca_refused.ts";

/** Octets of a token's id: it names the register's row. */
export const tokenIdBytes = 8;
/** Octets of a token's secret. */
export const tokenSecretBytes = 32;
/** Octets of the CA's URL in a token. */
export const tokenUrlBytesMax = 512;
/** Characters of a whole token: the longest URL, with everything else, has 800. */
export const tokenCharactersMax = 1_024;

/** A token's content. */
export interface JoinToken {
  /** Hexadecimal. */
  readonly id: string;
  readonly secret: Uint8Array;
  /** SHA-256 of the root's SPKI, hexadecimal. */
  readonly anchor: string;
  /** Where the CA is. */
  readonly url: string;
}

/** A fresh token for a CA. */
export function makeToken(ca: Pick<JoinToken, "anchor" | "url">): JoinToken {
  return { id: toHex(randomBytes(tokenIdBytes)), secret: randomBytes(tokenSecretBytes), ...ca };
}

/** Writes a token. */
export function formatToken({ id, secret, anchor, url }: JoinToken): string {
  const parts = [Buffer.from(id, "hex"), secret, Buffer.from(anchor, "hex"), Buffer.from(url, "utf8")];
  return ["hyp1", ...parts.map((part) => Buffer.from(part).toString("base64url"))].join(".");
}

/** Reads a token. Does not look into the register. */
export function parseToken(text: string): Result.Result<JoinToken, CaRefused> {
  const refuse = (detail: string) => Result.fail(new CaRefused({ code: "token-malformed", detail }));
  if (text.length > tokenCharactersMax) return refuse("the token is too long");
  const [version, ...rest] = text.split(".");
  if (version !== "hyp1" || rest.length !== 4) return refuse("the token does not have the parts of one");
  const parts = rest.map((part) => Buffer.from(part, "base64url"));
  if (parts.some((part, index) => part.toString("base64url") !== rest[index])) {
    return refuse("a part of the token is not base64url in its one form");
  }
  const [id, secret, anchor, address] = parts as [Buffer, Buffer, Buffer, Buffer];
  if (id.length !== tokenIdBytes || secret.length !== tokenSecretBytes || anchor.length !== 32) {
    return refuse("a part of the token has the wrong length");
  }
  const url = address.toString("utf8");
  if (address.length > tokenUrlBytesMax || !isCaUrl(url)) return refuse("the token names no CA");
  return Result.succeed({ id: toHex(id), secret, anchor: toHex(anchor), url });
}

/** Whether a text is a CA's URL in its one form: `https://HOST[:PORT]`, nothing behind it. */
export function isCaUrl(text: string): boolean {
  if (!/^https:\/\/[\x21-\x7e]+$/.test(text)) return false;
  const url = URL.parse(text);
  return url !== null && url.origin === text;
}

/** What the register keeps of a secret. */
export function secretHash(secret: Uint8Array): string {
  return createHash("sha256").update(secret).digest("hex");
}

/** Whether a secret is the one of a hash, in constant time. */
export function isSecretOf(secret: Uint8Array, hash: string): boolean {
  return timingSafeEqual(createHash("sha256").update(secret).digest(), Buffer.from(hash, "hex"));
}
