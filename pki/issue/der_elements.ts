/**
 * Takes apart DER of the operator's own files (issuer certificate, request) just far enough to issue under it. What peers
 * send goes through the parser beside this folder.
 *
 * @module
 */

/** One element: its identifier octet, its content, and itself whole. */
export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly whole: Uint8Array;
}

/** Most elements that one value is taken into; certificates and requests have fewer than 20. */
export const elementsMax = 256;

/**
 * Splits bytes into the elements that stand in them side by side.
 *
 * @throws {RangeError} When a length points outside, is indefinite or not minimal, or there are too many elements.
 */
export function elementsOf(bytes: Uint8Array): Element[] {
  const elements: Element[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (elements.length === elementsMax) throw new RangeError(`more than ${elementsMax} elements`);
    const element = elementAt(bytes, at);
    elements.push(element);
    at += element.whole.length;
  }
  return elements;
}

/** The elements inside the one element that `der` is; it must have the tag `tag`. */
export function childrenOf(der: Uint8Array, tag: number): Element[] {
  const [only, ...more] = elementsOf(der);
  if (only === undefined || more.length > 0) throw new RangeError("one element expected");
  if (only.tag !== tag) throw new RangeError(`tag ${only.tag} where ${tag} is expected`);
  return elementsOf(only.content);
}

function elementAt(bytes: Uint8Array, at: number): Element {
  const first = bytes[at + 1];
  if (first === undefined) throw new RangeError("the end comes inside an element");
  const count = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || count > 4) throw new RangeError("indefinite or oversized length");
  let length = count === 0 ? first : 0;
  for (let i = 0; i < count; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  const start = at + 2 + count;
  if (count > 0 && length < (count === 1 ? 0x80 : 256 ** (count - 1))) throw new RangeError("length is not minimal");
  if (start + length > bytes.length) throw new RangeError("the end comes inside an element");
  const end = start + length;
  return { tag: bytes[at]!, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) };
}
