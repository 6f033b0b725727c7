/**
 * Canonical JSON (RFC 8785) of what audit records hold: one text for one value.
 *
 * Numbers are safe integers: a reader in another language needs no rule for printing fractions.
 *
 * @module
 */

/** A value of a record. */
export type AuditValue = string | number | boolean | null | readonly AuditValue[] | AuditFields;
/** Fields of a record, by name. */
export interface AuditFields {
  readonly [name: string]: AuditValue;
}

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
  if (typeof data === "string") return data.isWellFormed() ? data : data.toWellFormed();
  if (typeof data === "number") return Number.isSafeInteger(data) ? data + 0 : String(data);
  if (data instanceof Date) return Number.isNaN(+data) ? "invalid date" : data.toISOString();
  if (typeof data !== "object" || depth === 0) return String(data).toWellFormed();
  if (Array.isArray(data)) return data.map((each) => toAuditValue(each, depth - 1));
  const fields = Object.create(null) as Record<string, AuditValue>; // `__proto__` is a name as any other
  const named = Object.entries(data).filter(([, value]) => value !== undefined)
    .map(([name, value]) => [indexName.test(name) ? `n${name}` : name.toWellFormed(), value] as const);
  for (const [name, value] of named.toSorted(([left], [right]) => left < right ? -1 : 1)) {
    fields[name] = toAuditValue(value, depth - 1);
  }
  return fields;
}

/** Whether a parsed line is canonical: printed again it is the same text, and its names are sorted. */
export function isCanonical(value: unknown, text: string): boolean {
  return JSON.stringify(value) === text && isSorted(value);
}

function isSorted(value: unknown): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value);
  if (typeof value !== "object" || value === null) return true;
  if (Array.isArray(value)) return value.every(isSorted);
  let before: string | undefined;
  for (const name in value) {
    if (before !== undefined && before >= name) return false;
    before = name;
    const field = (value as Readonly<Record<string, unknown>>)[name];
    if (typeof field !== "string" && !isSorted(field)) return false;
  }
  return true;
}
