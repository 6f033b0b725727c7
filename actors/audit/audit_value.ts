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
 * Turns any data into a value of a record: dates become RFC 3339 text; fractions and large numbers become text; fields that are undefined
 * are left out. Field names come out sorted by UTF-16 units, so that `JSON.stringify` gives the canonical text.
 */
export function toAuditValue(data: unknown, depth: number = depthMax): AuditValue {
  if (data === null || data === undefined) return null;
  if (typeof data === "boolean") return data;
  if (typeof data === "number") return Number.isSafeInteger(data) ? data + 0 : String(data);
  if (data instanceof Date) return Number.isNaN(+data) ? "invalid date" : data.toISOString();
  if (typeof data !== "object") return String(data).toWellFormed();
  // Not `String()`: it runs the object's own `toString`, which may not be there, and all levels of a list.
  if (depth === 0) return Object.prototype.toString.call(data);
  if (Array.isArray(data)) return data.map((each) => toAuditValue(each, depth - 1));
  const fields = Object.create(null) as Record<string, AuditValue>; // `__proto__` is a name as any other
  const named = Object.entries(data).filter(([, value]) => value !== undefined)
    .map(([name, value]) => [indexName.test(name) ? `n${name}` : name.toWellFormed(), value] as const);
  for (const [name, value] of named.toSorted(([left], [right]) => left < right ? -1 : 1)) {
    fields[name] = toAuditValue(value, depth - 1);
  }
  return fields;
}
