/**
 * What messages are in JSON, for documents: made by the schemas that read them.
 *
 * @module
 */
import type { Schema } from "./schema.ts";

/** A name or a literal, or what the value is made of. */
export type Shape =
  | string
  | { readonly fields: readonly ShapeField[] }
  | { readonly list: Shape; readonly count?: number | undefined }
  | { readonly map: Shape }
  | { readonly variants: readonly Shape[] };

/** A key of an object. */
export interface ShapeField {
  readonly key: string;
  readonly shape: Shape;
  /** Whether the value may be null, or the key missing. */
  readonly absent?: "null" | "left-out" | undefined;
}

/** The keys of a struct. */
export function shapeFields(fields: readonly (readonly [string, Schema<unknown>])[]): readonly ShapeField[] {
  return fields.map(([key, { shape = "value", absent }]) => ({ key, shape, absent }));
}

/** Longest line, and most literals that are listed; more are counted. */
const lineMax = 110, literalsMax = 8;

/**
 * A shape as text: `{ key: type, other?: type | null }`, lists as `[type, …]`, dictionaries as `{ [name]: type }`.
 *
 * @param names Shapes that are printed by their name.
 */
export function shapeText(shape: Shape, names: ReadonlyMap<Shape, string>, indent = ""): string {
  if (typeof shape === "string") return shape;
  const inner = (of: Shape, deeper = indent) => names.get(of) ?? shapeText(of, names, deeper);
  if ("list" in shape) {
    const item = inner(shape.list);
    return shape.count === undefined ? `[${item}, …]` : `[${Array(shape.count).fill(item).join(", ")}]`;
  }
  if ("map" in shape) return `{ [name]: ${inner(shape.map)} }`;
  if ("variants" in shape) {
    const { variants } = shape;
    if (variants.length === 1) return inner(variants[0] as Shape);
    if (variants.length > literalsMax) return `text, one of ${variants.length}`;
    const parts = variants.map((variant) => inner(variant, `${indent}    `));
    const line = parts.join(" | ");
    return fits(line, indent) ? line : parts.map((part) => `\n${indent}  | ${part}`).join("");
  }
  const fields = shape.fields.map(({ key, shape: value, absent }) =>
    `${/^\w+$/.test(key) ? key : JSON.stringify(key)}${absent === "left-out" ? "?" : ""}: ` +
    `${inner(value, `${indent}  `)}${absent === "null" ? " | null" : ""}`
  );
  if (fields.length === 0) return "{}";
  const line = `{ ${fields.join(", ")} }`;
  return fits(line, indent) ? line : `{\n${fields.map((field) => `${indent}  ${field},\n`).join("")}${indent}}`;
}

const fits = (line: string, indent: string) => !line.includes("\n") && line.length + indent.length <= lineMax;
