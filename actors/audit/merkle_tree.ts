/**
 * Merkle trees as certificate transparency has them (RFC 6962 §2.1): a root over all lines of a log, and short proofs that a line is in
 * it, or that a later log continues an earlier one.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";

/** Bytes of a hash. */
export const hashBytes = 32;

/** Hash of the empty tree. */
const emptyRoot = (): Buffer => hash("sha256", "", "buffer");

/** Hash of a line. */
export function leafHash(line: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(line.length + 1);
  input[0] = 0;
  input.set(line, 1);
  return hash("sha256", input, "buffer");
}

// Used again for each node: hashing is synchronous.
const pair = Buffer.alloc(1 + 2 * hashBytes);

/** Hash of two subtrees. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  pair[0] = 1;
  pair.set(left, 1);
  pair.set(right, 1 + hashBytes);
  return hash("sha256", pair, "buffer");
}

/** The right edge of a growing tree: a hash for each bit that is set in its size. */
export class TreeEdge {
  #size: number;
  readonly #hashes: Buffer[];

  /** @param hashes From the largest subtree to the smallest; as many as `size` has bits. */
  constructor(size: number = 0, hashes: readonly Buffer[] = []) {
    this.#size = size;
    this.#hashes = [...hashes];
  }

  get size(): number {
    return this.#size;
  }

  get hashes(): readonly Buffer[] {
    return this.#hashes;
  }

  /** Adds the hash of the next line. */
  append(leaf: Buffer): void {
    let node = leaf;
    // Sizes pass 2 ** 31 sooner than a log's seq does: no bit operators.
    for (let size = this.#size; size % 2 === 1; size = Math.floor(size / 2)) node = nodeHash(this.#hashes.pop()!, node);
    this.#hashes.push(node);
    this.#size += 1;
  }

  /** Root of the tree as it is now. */
  root(): Buffer {
    return rootOfEdge(this.#hashes);
  }
}

/** Root of the tree with this right edge. */
export function rootOfEdge(hashes: readonly Buffer[]): Buffer {
  let root = hashes.at(-1);
  for (let index = hashes.length - 2; index >= 0; index--) root = nodeHash(hashes[index]!, root!);
  return root ?? emptyRoot();
}

/** How many hashes the edge of a tree has. */
export function edgeLength(size: number): number {
  let bits = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) bits += rest % 2;
  return bits;
}

/** Root of a range of leaves, which lie one behind the other. */
function rangeRoot(leaves: Buffer, start: number, end: number): Buffer {
  const edge = new TreeEdge();
  for (let index = start; index < end; index++) {
    edge.append(leaves.subarray(index * hashBytes, (index + 1) * hashBytes));
  }
  return edge.root();
}

/** The largest power of two below `size`, of 2 or more. */
export function splitOf(size: number): number {
  let split = 1;
  while (split * 2 < size) split *= 2;
  return split;
}

/**
 * The hashes that lead from a leaf to the root of the first `size` leaves (RFC 6962 §2.1.1).
 *
 * @param leaves Leaf hashes, one behind the other.
 */
export function inclusionPath(leaves: Buffer, index: number, size: number): readonly Buffer[] {
  const path: Buffer[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    path.push(index < middle ? rangeRoot(leaves, middle, end) : rangeRoot(leaves, start, middle));
    if (index < middle) end = middle;
    else start = middle;
  }
  return path.reverse();
}

/** The root that a leaf and its path lead to; undefined where the path does not fit. */
export function rootOfInclusion(
  leaf: Buffer,
  { index, size, path }: { readonly index: number; readonly size: number; readonly path: readonly Uint8Array[] },
): Buffer | undefined {
  if (index < 0 || index >= size) return undefined;
  const turns: ("left" | "right")[] = [];
  let start = 0;
  let end = size;
  while (end - start > 1) {
    const middle = start + splitOf(end - start);
    turns.push(index < middle ? "right" : "left");
    if (index < middle) end = middle;
    else start = middle;
  }
  if (turns.length !== path.length) return undefined;
  let root = leaf;
  for (const [level, turn] of turns.reverse().entries()) {
    const other = path[level]!;
    root = turn === "right" ? nodeHash(root, other) : nodeHash(other, root);
  }
  return root;
}
