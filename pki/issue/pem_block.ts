/**
 * PEM text of one block (RFC 7468): 64 characters a line, LF line ends.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Formats DER as one PEM block with a newline at its end. */
export function formatBlock(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  const lines: string[] = [];
  for (let at = 0; at < base64.length; at += 64) lines.push(base64.slice(at, at + 64));
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** DER of the first block with this label; undefined where there is none. */
export function firstBlock(label: string, pem: string): Uint8Array | undefined {
  const begin = `-----BEGIN ${label}-----`;
  const from = pem.indexOf(begin);
  const to = pem.indexOf(`-----END ${label}-----`, from);
  if (from < 0 || to < 0) return undefined;
  return Buffer.from(pem.slice(from + begin.length, to), "base64");
}
