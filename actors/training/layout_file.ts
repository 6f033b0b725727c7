/**
 * `layout.json`: what a training began with. The parameters are kept in F32; this file holds the types and the metadata with
 * which the model is given out.
 *
 * @module
 */
import { join } from "node:path";
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { LoadError } from "../files/load_error.ts";
import { readWhole } from "../files/read_whole.ts";
import { type FileNotWritten, writeWhole } from "../files/write_whole.ts";
import { type DType, type Metadata, metadataOf, type TensorFile } from "../learning/mod.ts";

/** The types of a model's tensors, by name, and the metadata of its file. */
export interface ModelLayout {
  readonly types: ReadonlyMap<string, DType>;
  readonly metadata: Metadata | undefined;
}

/** That of a training whose file is missing or damaged: the parameters' own types count. */
export const noLayout: ModelLayout = { types: new Map(), metadata: undefined };

/** A header of safetensors has at most 1 MiB, and each entry is shorter here. */
const layoutBytesMax = 2 * 1_048_576;
const layoutPath = (folder: string): string => join(folder, "layout.json");

/** Writes the layout of the weights that a training begins with. */
export function writeLayout(
  folder: string,
  { tensors, metadata }: Pick<TensorFile<never>, "tensors" | "metadata">,
): Effect.Effect<void, FileNotWritten, FileSystem | Path> {
  const types = Object.fromEntries(tensors.map(({ name, dtype }) => [name, dtype]));
  const content = `${JSON.stringify({ version: 1, types, metadata })}\n`;
  return writeWhole([{ path: layoutPath(folder), content, mode: 0o600 }], "replace");
}

/** Reads the layout; {@linkcode noLayout} where the file is damaged. */
export function readLayoutFile(folder: string): Effect.Effect<ModelLayout, LoadError, FileSystem> {
  const options = { path: layoutPath(folder), what: "layout", bytesMax: layoutBytesMax, key: "state_dir" };
  return Effect.map(readWhole(options), ({ text }) => {
    try {
      const { types, metadata } = JSON.parse(text) as {
        readonly types: Record<string, DType>;
        readonly metadata?: unknown;
      };
      return { types: new Map(Object.entries(types)), metadata: metadataOf(metadata) };
    } catch {
      return noLayout;
    }
  });
}
