/**
 * The state of a log at its newest checkpoint, on disk: a start reads the records behind it alone.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { sameBytes } from "../../pki/bytes.ts";
import type { TreeHead } from "./checkpoint.ts";
import { edgeLength, hashBytes, TreeEdge } from "./merkle_tree.ts";
import { edgePath } from "./segments.ts";
import type { LogState } from "./walk_log.ts";

/** Writes the state. Not synced: without the file a start reads the whole log. */
export async function writeEdge(dir: string, { edge, ...state }: LogState): Promise<void> {
  const path = edgePath(dir);
  const hashes = edge.hashes.map((each) => each.toString("base64"));
  await writeFile(`${path}.tmp`, JSON.stringify({ ...state, size: edge.size, hashes }), { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

/** Reads the state; undefined where it is missing, damaged, or not that of the newest checkpoint. */
export function readEdge(dir: string, newest: TreeHead): LogState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(edgePath(dir), "utf8"));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { hashes, size, node, last, ts, segment, offset, line } = value as Readonly<Record<string, unknown>>;
  const numbers = [size, segment, offset, line];
  if (!numbers.every((each) => Number.isSafeInteger(each) && (each as number) >= 0) || size !== newest.size) {
    return undefined;
  }
  if (![node, last, ts].every((each) => typeof each === "string") || !Array.isArray(hashes)) return undefined;
  const read = hashes.map((each) => Buffer.from(String(each), "base64"));
  if (read.length !== edgeLength(size as number) || read.some(({ length }) => length !== hashBytes)) return undefined;
  const edge = new TreeEdge(size as number, read);
  if (!sameBytes(edge.root(), newest.root)) return undefined;
  return {
    edge,
    node: node as string,
    last: last as string,
    ts: ts as string,
    segment: segment as number,
    offset: offset as number,
    line: line as number,
  };
}
