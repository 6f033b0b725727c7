/**
 * What of a simulated disk survives a loss of power: bytes whose file was synced, under names whose folder was synced.
 *
 * Of everything else an arbitrary part survives. This is harsher than most file systems, which keep the order of renames.
 *
 * @module
 */
import { posix } from "node:path";
import type { RandomStream } from "../runtime/random.ts";

/** The content of a file; a change of it is another object. */
interface Content {
  readonly bytes: Uint8Array;
}

/** The state of the medium under a disk's files. */
export class DurableFiles<Stored extends Content> {
  /** Names on the medium. */
  #names = new Map<string, Stored>();
  /** Bytes at the beginning of a content that are on the medium; none where absent. */
  readonly #synced = new WeakMap<Stored, number>();

  /** Puts a file on the medium with its name. */
  keep(path: string, file: Stored): void {
    this.syncContent(file);
    this.#names.set(path, file);
  }

  /** Takes a name from the medium. */
  forget(path: string): void {
    this.#names.delete(path);
  }

  /** A content that begins as `before` did. */
  follow(before: Stored, after: Stored): void {
    this.#synced.set(after, Math.min(this.#synced.get(before) ?? 0, after.bytes.length));
  }

  /** A file was synced. */
  syncContent(file: Stored): void {
    this.#synced.set(file, file.bytes.length);
  }

  /** A file whose name and bytes are all on the medium. */
  whole(path: string): Stored | undefined {
    const file = this.#names.get(path);
    return file !== undefined && (this.#synced.get(file) ?? 0) >= file.bytes.length ? file : undefined;
  }

  /** A folder was synced: its names are those of `files`. */
  syncFolder(folder: string, files: ReadonlyMap<string, Stored>): void {
    const isIn = (path: string) => posix.dirname(path) === folder;
    for (const path of this.#names.keys()) if (isIn(path) && !files.has(path)) this.#names.delete(path);
    for (const [path, file] of files) if (isIn(path)) this.#names.set(path, file);
  }

  /**
   * The power is lost.
   *
   * @param files What the node saw before.
   * @param cut A content that ends earlier.
   * @returns What it sees afterwards, all of it on the medium.
   */
  lose(
    files: ReadonlyMap<string, Stored>,
    cut: (file: Stored, length: number) => Stored,
    random: RandomStream,
  ): Map<string, Stored> {
    const left = new Map<string, Stored>();
    for (const path of new Set([...files.keys(), ...this.#names.keys()])) {
      const [seen, kept] = [files.get(path), this.#names.get(path)];
      const file = seen === kept || random.chance(0.5) ? seen : kept;
      if (file === undefined) continue;
      const [synced, { length }] = [this.#synced.get(file) ?? 0, file.bytes];
      left.set(path, synced >= length ? file : cut(file, random.whole(synced, length + 1)));
    }
    this.#names = new Map(left);
    for (const file of left.values()) this.syncContent(file);
    return left;
  }
}
