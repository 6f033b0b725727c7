/**
 * Lines of canonical JSON with exactly the fields of their type: policies, requests and approvals are one line each.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { isCanonical } from "../canonical_json.ts";

/** Characters of a line: a request holds at most one certificate of 64 KiB, in base64. */
export const lineCharactersMax = 131_072;

/** Fields of a line that was read. */
export type LineFields = Readonly<Record<string, unknown>>;

/** The values of `type`: what a line is, and the version of its format. */
export const lineTypes = {
  policy: "hypha-approval-policy/1",
  request: "hypha-approval-request/1",
  approval: "hypha-approval/1",
} as const;

/**
 * Reads a line: canonical, of this type, with these fields and no others.
 *
 * @param names Names of the fields, without `type`.
 * @returns The fields; or what is wrong, as a text.
 */
export function readLine(line: string, type: keyof typeof lineTypes, names: readonly string[]): LineFields | string {
  if (line.length > lineCharactersMax) return `it has more than ${lineCharactersMax} characters`;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return "it is not JSON";
  }
  if (!isFields(value)) return "it is not a JSON object";
  if (!isCanonical(value, line)) return "it is not canonical JSON";
  if (value["type"] !== lineTypes[type]) return `its type is not ${lineTypes[type]}`;
  return hasExactly(value, [...names, "type"]) ? value : `its fields are not ${names.join(", ")}`;
}

/** Whether a value is an object, and no list. */
export function isFields(value: unknown): value is LineFields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether an object has these fields and no others. */
export function hasExactly(value: LineFields, names: readonly string[]): boolean {
  return Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}

/** Octets of a text in base64; undefined for a text that encoding them again does not give. */
export function readBase64(text: unknown): Uint8Array | undefined {
  if (typeof text !== "string") return undefined;
  const bytes = Buffer.from(text, "base64");
  return bytes.length > 0 && bytes.toString("base64") === text ? new Uint8Array(bytes) : undefined;
}

/** Octets as base64. */
export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** Whether a text is 32 octets in lower-case hexadecimal. */
export function isDigest(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
}

/** SHA-256, lower-case hexadecimal; of a text its UTF-8. */
export function sha256(data: string | Uint8Array): string {
  return hash("sha256", data, "hex");
}
