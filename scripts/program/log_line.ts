/**
 * One line for each event: JSON for programs, text for people. A peer's data cannot forge a line, hide one or make one long:
 * the formatter escapes control and format characters and bounds every part.
 *
 * @module
 */
import type { Report } from "../../actors/runtime/ports.ts";

/** How lines are written. */
export type LogFormat = "text" | "json";

/** A report, with when and by which node. */
export interface LogEntry extends Report {
  /** RFC 3339 text in UTC, with milliseconds. */
  readonly time: string;
  /** The node's certificate name, or its program's before the certificate was read. */
  readonly node: string;
}

/** Limits of one line. A line has at most about 16 kB; a failed job's reason alone may have 4 kB. */
export const lineLimits = {
  messageCharacters: 4_096,
  valueCharacters: 4_096,
  nameCharacters: 64,
  fields: 40,
  entries: 32,
  depth: 4,
  lineCharacters: 16_384,
} as const;

/** Names that a field may not take: the line has them already. */
const reserved = new Set(["time", "level", "node", "event", "message", "cut"]);
/** Fields that stay on a line that would be too long, in characters of JSON: 40 of them fit. */
const shortCharacters = 256;
/** The longest escape of one character: `\u007f`. */
const escapedCharacters = 6;

/**
 * Control characters (C0, DEL, C1), format characters (bidirectional overrides, zero widths) and the two Unicode line
 * ends. They could end a line, colour a terminal or change the order of the text.
 */
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Escapes characters that are unsafe on a terminal or in a file of lines, as `\u{…}`-free JSON escapes. */
export function escapeUnsafe(text: string): string {
  return text.replace(unsafe, (character) => {
    const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

/** JSON for people and programs, on several lines. */
export function shownJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2).split("\n").map(escapeUnsafe).join("\n");
}

const bound = (text: string, max: number): string => text.length > max ? `${text.slice(0, max)}…` : text;

/** One line, without its end. */
export function formatLine(entry: LogEntry, format: LogFormat, colour = false): string {
  const fields = plainFields(entry.fields ?? {});
  return format === "json" ? jsonLine(entry, fields) : textLine(entry, fields, colour);
}

function jsonLine(entry: LogEntry, fields: Readonly<Record<string, unknown>>): string {
  const { time, level, node, event } = entry;
  const message = bound(entry.message, lineLimits.messageCharacters);
  const line = jsonText({ time, level, node, event, message, ...fields });
  if (line.length <= lineLimits.lineCharacters) return line;
  const short = Object.entries(fields).filter(([, value]) => jsonText(value).length <= shortCharacters);
  const isLong = jsonText(message).length > 2 * lineLimits.messageCharacters;
  const shown = isLong ? bound(message, lineLimits.messageCharacters / escapedCharacters) : message;
  return jsonText({ time, level, node, event, message: shown, ...Object.fromEntries(short), cut: true });
}

/** The value as JSON on one line, as it is written: escapes count. */
const jsonText = (value: unknown): string => escapeUnsafe(JSON.stringify(value) ?? "");

const colours = { debug: 90, info: 36, warn: 33, error: 31 } as const;

function textLine(entry: LogEntry, fields: Readonly<Record<string, unknown>>, colour: boolean): string {
  const level = entry.level.toUpperCase().padEnd(5);
  const painted = colour ? `\x1b[${colours[entry.level]}m${level}\x1b[0m` : level;
  const message = escapeUnsafe(bound(entry.message, lineLimits.messageCharacters));
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${escapeUnsafe(name)}=${escapeUnsafe(textValue(value))}`);
  const rest = bound([escapeUnsafe(entry.event), message, ...pairs].join("  "), lineLimits.lineCharacters);
  return `${entry.time} ${painted} ${escapeUnsafe(entry.node)}  ${rest}`;
}

/** Bare where that is unambiguous, else as JSON. */
function textValue(value: unknown): string {
  if (typeof value === "string" && /^[^\s"=\\{[]+$/.test(value)) return value;
  return JSON.stringify(value) ?? "null";
}

function plainFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields).slice(0, lineLimits.fields)) {
    const bounded = bound(name, lineLimits.nameCharacters);
    plain[reserved.has(bounded) ? `${bounded}_` : bounded] = plainValue(value, 0);
  }
  return plain;
}

/** Formats a value as bounded JSON. It accepts every value that a machine puts into a field. */
function plainValue(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "string":
      return bound(value, lineLimits.valueCharacters);
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "boolean":
    case "undefined":
      return value;
    case "object":
      return value === null ? null : plainObject(value, depth);
    default:
      return bound(String(value), lineLimits.valueCharacters);
  }
}

function plainObject(value: object, depth: number): unknown {
  if (value instanceof Error) return bound(value.message, lineLimits.valueCharacters);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (value instanceof Uint8Array) return `${value.byteLength} bytes`;
  if (depth >= lineLimits.depth) return "…";
  if (Array.isArray(value)) {
    const entries = value.slice(0, lineLimits.entries).map((entry) => plainValue(entry, depth + 1));
    return value.length > lineLimits.entries ? [...entries, `… ${value.length - lineLimits.entries} more`] : entries;
  }
  const pairs: [string, unknown][] = value instanceof Map
    ? [...value].map(([name, inner]) => [String(name), inner])
    : Object.entries(value);
  return Object.fromEntries(
    pairs.slice(0, lineLimits.entries)
      .map(([name, inner]) => [bound(name, lineLimits.nameCharacters), plainValue(inner, depth + 1)]),
  );
}
