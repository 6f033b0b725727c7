/**
 * Canonical JSON (RFC 8785): one text for one value, so that a hash or a signature over the text is one over the value.
 *
 * Numbers are safe integers: a reader in another language needs no rule for printing fractions.
 *
 * @module
 */

/** A value that has a canonical text. */
export type CanonicalValue = string | number | boolean | null | readonly CanonicalValue[] | CanonicalFields;
/** Fields by name. */
export interface CanonicalFields {
  readonly [name: string]: CanonicalValue;
}

/**
 * The canonical text of a value: names sorted by UTF-16 units, no white space.
 *
 * @throws {TypeError} For a number that is no safe integer, and a text with a lone surrogate.
 */
export function canonicalJson(value: CanonicalValue): string {
  if (typeof value === "string") return canonicalText(value);
  if (typeof value === "number" && (!Number.isSafeInteger(value) || Object.is(value, -0))) {
    throw new TypeError(`Cannot write ${value} as canonical JSON: it is not a safe integer`);
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const fields = Object.entries(value).toSorted(([left], [right]) => left < right ? -1 : 1);
  return `{${fields.map(([name, field]) => `${canonicalText(name)}:${canonicalJson(field)}`).join(",")}}`;
}

function canonicalText(text: string): string {
  if (!text.isWellFormed()) throw new TypeError("Cannot write text as canonical JSON: it has a lone surrogate");
  return JSON.stringify(text);
}

const isList = (value: readonly CanonicalValue[] | CanonicalFields): value is readonly CanonicalValue[] =>
  Array.isArray(value);

/** Lists and objects in each other. Records of the audit log have the most: nine. */
export const canonicalDepthMax = 64;

/** Whether a parsed line is canonical: printed again it is the same text, its names are sorted, and it is not nested too deeply. */
export function isCanonical(value: unknown, text: string): boolean {
  // JSON.stringify calls itself for each level: the depth is checked before.
  return isSorted(value, canonicalDepthMax) && JSON.stringify(value) === text;
}

function isSorted(value: unknown, depth: number): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) return value.every((each) => isSorted(each, depth - 1));
  let before: string | undefined;
  for (const name in value) {
    if (before !== undefined && before >= name) return false;
    before = name;
    const field = (value as Readonly<Record<string, unknown>>)[name];
    if (typeof field !== "string" && !isSorted(field, depth - 1)) return false;
  }
  return true;
}
