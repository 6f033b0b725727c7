/**
 * Proves to witnesses that a log continues an earlier state of it. Of all records but those at the ends of the proof it knows only the
 * hash of each block of 1,024: 64 bytes of memory for a block. The first proof after a start reads the whole log, in slices.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { Data } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { consistencyRanges, type SizedRoot } from "./consistency.ts";
import { rootOfEdge, TreeEdge } from "./merkle_tree.ts";
import { firstPlace, type LeafPlace, readLeaves } from "./read_leaves.ts";
import { shellWord } from "../files/shell_word.ts";

/** Records of a block: a power of two. */
export const blockRecords = 1_024;

interface Block {
  readonly root: Buffer;
  readonly place: LeafPlace;
}

/** The files of a log do not give the root that its checkpoint has: they were changed behind the node's back. */
export class NotProvable extends Data.TaggedError("NotProvable")<{ readonly dir: string; readonly size: number }> {
  override get message(): string {
    return `Cannot prove audit log ${this.dir}: its files do not give the root of its checkpoint of ${this.size} records. ` +
      `Verify it: hypha-certutil audit verify ${shellWord(this.dir)}`;
  }
}

/** Makes proofs about one log. One at a time: the caller waits. */
export class LogProver {
  readonly #dir: string;
  #blocks: Block[] = [];
  /** Where the first record behind the blocks lies. */
  #end: LeafPlace = firstPlace;
  /** Size of a checkpoint that the files contradict. */
  #unprovable: number | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /**
   * The proof from `old` to `size` records (RFC 6962 §2.1.2). Both are at most the newest checkpoint's size.
   *
   * Rejects with {@linkcode NotProvable}, or the system's error.
   */
  async prove(
    { old, size }: { readonly old: number; readonly size: number },
    newest: SizedRoot,
  ): Promise<readonly Buffer[]> {
    await this.#follow(newest);
    if (old === 0) return [];
    const leaves = this.#leaves(newest.size);
    const path: Buffer[] = [];
    for (const [start, end] of consistencyRanges(old, size)) path.push(await this.#rootOf(start, end, leaves));
    return path;
  }

  async #follow(newest: SizedRoot): Promise<void> {
    if (this.#unprovable === newest.size) throw new NotProvable({ dir: this.#dir, size: newest.size });
    try {
      return await this.#extend(newest);
    } catch {
      // What is remembered may be of files that are no longer there.
      this.#blocks = [];
      this.#end = firstPlace;
    }
    try {
      await this.#extend(newest);
    } catch (error) {
      if (error instanceof NotProvable) this.#unprovable = newest.size; // a large log is not read again for each request
      throw error;
    }
  }

  /** Adds the blocks up to the newest checkpoint, and compares their root with its own. */
  async #extend(newest: SizedRoot): Promise<void> {
    const known = this.#blocks.length;
    const count = (Math.floor(newest.size / blockRecords) - known) * blockRecords;
    let [edge, place] = [new TreeEdge(), this.#end];
    const end = await readLeaves(this.#dir, { from: this.#end, count }, (leaf, at) => {
      if (edge.size === 0) place = at;
      edge.append(leaf);
      if (edge.size < blockRecords) return;
      this.#blocks.push({ root: edge.root(), place });
      edge = new TreeEdge();
    });
    this.#end = end;
    const leaves = this.#leaves(newest.size);
    const root = await this.#rootOf(0, newest.size, leaves);
    if (!sameBytes(root, newest.root)) throw new NotProvable({ dir: this.#dir, size: newest.size });
  }

  #leaves(size: number): BlockLeaves {
    return new BlockLeaves(this.#dir, [...this.#blocks.map(({ place }) => place), this.#end], size);
  }

  /** Root of a range that is a subtree of the log's tree. */
  async #rootOf(start: number, end: number, leaves: BlockLeaves): Promise<Buffer> {
    if (start % blockRecords !== 0) return rootOfEdge(edgeOf(await leaves.range(start, end)).hashes);
    const [first, behind] = [start / blockRecords, Math.floor(end / blockRecords)];
    const edge = new TreeEdge();
    for (let index = first; index < behind; index++) edge.append(this.#blocks[index]!.root);
    const rest = await leaves.range(Math.max(start, behind * blockRecords), end);
    return rootOfEdge([...edge.hashes, ...edgeOf(rest).hashes]);
  }
}

function edgeOf(leaves: readonly Buffer[]): TreeEdge {
  const edge = new TreeEdge();
  for (const leaf of leaves) edge.append(leaf);
  return edge;
}

/** The leaf hashes of blocks, read when they are needed: a proof needs those of two blocks. */
class BlockLeaves {
  readonly #dir: string;
  readonly #places: readonly LeafPlace[];
  readonly #size: number;
  readonly #read = new Map<number, readonly Buffer[]>();

  constructor(dir: string, places: readonly LeafPlace[], size: number) {
    this.#dir = dir;
    this.#places = places;
    this.#size = size;
  }

  /** The hashes of a range within one block. */
  async range(start: number, end: number): Promise<readonly Buffer[]> {
    if (start === end) return [];
    const block = Math.floor(start / blockRecords);
    const first = block * blockRecords;
    let leaves = this.#read.get(block);
    if (leaves === undefined) {
      const found: Buffer[] = [];
      const count = Math.min(blockRecords, this.#size - first);
      await readLeaves(this.#dir, { from: this.#places[block]!, count }, (leaf) => found.push(leaf));
      leaves = found;
      this.#read.set(block, leaves);
    }
    return leaves.slice(start - first, end - first);
  }
}
