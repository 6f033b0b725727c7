/**
 * The layout of a tensor file: names, shapes and kinds of elements, whatever the order of the data.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { elementBytes, isFloat } from "./element_types.ts";
import { headerMaxBytes, lengthBytes, type TensorEntry } from "./safetensors.ts";

/**
 * The digest of a layout: SHA-256, in hexadecimal, of the JSON `[[name, shape, kind], …]`, in the order of the names' UTF-16 code units.
 * All float types are the kind `float`, because updates may be shorter than parameters; any other type is its own kind.
 */
export function layoutDigest(tensors: readonly Pick<TensorEntry, "name" | "shape" | "dtype">[]): string {
  const named = [...tensors].sort(({ name: a }, { name: b }) => a < b ? -1 : 1);
  const kinds = named.map(({ name, shape, dtype }) => [name, shape, isFloat(dtype) ? "float" : dtype]);
  return createHash("sha256").update(JSON.stringify(kinds)).digest("hex");
}

/** Size of the largest update of a layout, in bytes: the longest header, and floats in F64. */
export function updateBytesMax(tensors: readonly Pick<TensorEntry, "count" | "dtype">[]): number {
  return tensors.reduce(
    (sum, { count, dtype }) => sum + count * elementBytes[isFloat(dtype) ? "F64" : dtype],
    lengthBytes + headerMaxBytes,
  );
}
