/**
 * Values of audit records: any data, cut down to what canonical JSON holds.
 *
 * @module
 */
import type { CanonicalFields, CanonicalValue } from "../../pki/canonical_json.ts";

/** A value of a record. */
export type AuditValue = CanonicalValue;
/** Fields of a record, by name. */
export type AuditFields = CanonicalFields;

/** Levels of `detail`; deeper values are cut. */
export const depthMax = 8;

/** A name that an engine would move to the front of its object. */
const indexName = /^\d+$/;

/**
 * The canonical text (RFC 8785) of any data, an {@linkcode AuditValue} after it is parsed: dates become RFC 3339 text; fractions and large
 * numbers become text; fields that are undefined are left out.
 */
export function auditText(data: unknown, depth: number = depthMax): string {
  if (typeof data === "string") return textOf(data);
  if (data === null || data === undefined) return "null";
  if (typeof data === "boolean") return String(data);
  if (typeof data === "number") return Number.isSafeInteger(data) ? String(data) : `"${data}"`;
  if (data instanceof Date) return Number.isNaN(+data) ? '"invalid date"' : `"${data.toISOString()}"`;
  if (typeof data !== "object") return textOf(String(data));
  // Not `String()`: it runs the object's own `toString`, which may not be there, and all levels of a list.
  if (depth === 0) return textOf(Object.prototype.toString.call(data));
  if (Array.isArray(data)) return `[${Array.from(data, (each) => auditText(each, depth - 1)).join(",")}]`;
  return fieldsText(data as Readonly<Record<string, unknown>>, depth);
}

const textOf = (text: string): string => JSON.stringify(text.toWellFormed());

/** Names sorted by UTF-16 units. An object is made only where a name changes: a busy gateway composes some hundred records a second. */
function fieldsText(data: Readonly<Record<string, unknown>>, depth: number): string {
  const names = Object.keys(data);
  const fields = names.some((name) => recordedName(name) !== name) ? withRecordedNames(data) : data;
  let text = "";
  for (const name of (fields === data ? names : Object.keys(fields)).sort()) {
    const value = fields[name];
    if (value !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${auditText(value, depth - 1)}`;
  }
  return `{${text}}`;
}

const recordedName = (name: string): string => indexName.test(name) ? `n${name}` : name.toWellFormed();

/** A name keeps its value where another one becomes the same. */
function withRecordedNames(data: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const fields = Object.create(null) as Record<string, unknown>; // `__proto__` is a name as any other
  for (const [name, value] of Object.entries(data).filter(([, value]) => value !== undefined)) {
    const recorded = recordedName(name);
    if (recorded === name || data[recorded] === undefined) fields[recorded] = value;
  }
  return fields;
}
