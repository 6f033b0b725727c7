/**
 * Proofs that a log continues an earlier state of it (RFC 6962 §2.1.2): the first lines are the same.
 *
 * @module
 */
import { sameBytes } from "../../pki/bytes.ts";
import { hashBytes, nodeHash, splitOf } from "./merkle_tree.ts";

/** Hashes of a proof: two for each bit of the largest size. */
export const consistencyHashesMax = 128;

/** A state of a log. */
export interface SizedRoot {
  readonly size: number;
  readonly root: Uint8Array;
}

/**
 * The subtrees whose roots make the proof from `old` to `size` lines, as ranges of lines, in their order.
 *
 * @param old At least 1, at most `size`.
 */
export function consistencyRanges(old: number, size: number): readonly (readonly [start: number, end: number])[] {
  const ranges: (readonly [number, number])[] = [];
  let [start, end] = [0, size];
  let isOldRoot = true; // the verifier has it: of a range that begins with the first line
  while (end - start !== old - start) {
    const middle = start + splitOf(end - start);
    if (old <= middle) {
      ranges.push([middle, end]);
      end = middle;
    } else {
      ranges.push([start, middle]);
      start = middle;
      isOldRoot = false;
    }
  }
  if (!isOldRoot) ranges.push([start, end]);
  return ranges.reverse();
}

/**
 * Whether a proof shows that the newer state continues the older one.
 *
 * An empty log is continued by every log, with an empty proof.
 */
export function isConsistent(old: SizedRoot, newer: SizedRoot, path: readonly Uint8Array[]): boolean {
  if (old.size > newer.size) return false;
  if (old.size === 0) return path.length === 0;
  const ranges = consistencyRanges(old.size, newer.size);
  const isWhole = [old.root, newer.root, ...path].every(({ length }) => length === hashBytes);
  if (!isWhole || path.length !== ranges.length) return false;
  // The proof begins with the old log's last part, unless the old log is a whole subtree: the verifier has its root.
  const hasOldRoot = ranges[0]?.[1] !== old.size;
  let [oldRoot, newRoot] = hasOldRoot ? [old.root, old.root] : [path[0]!, path[0]!];
  for (let index = hasOldRoot ? 0 : 1; index < path.length; index++) {
    const other = path[index]!;
    if (ranges[index]![0] < old.size) {
      oldRoot = nodeHash(other, oldRoot);
      newRoot = nodeHash(other, newRoot);
    } else newRoot = nodeHash(newRoot, other);
  }
  return sameBytes(oldRoot, old.root) && sameBytes(newRoot, newer.root);
}
