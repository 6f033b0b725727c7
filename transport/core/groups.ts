/**
 * Items by key, of which no group is empty.
 *
 * @module
 */

/**
 * Items grouped by key, in the order in which each was added. A group is an array: nearly all have one item, for which a `Set`
 * takes 200 bytes more.
 */
export class Groups<Key, Item> {
  readonly #groups = new Map<Key, Item[]>();

  /** Whether a key has an item. */
  has(key: Key): boolean {
    return this.#groups.has(key);
  }

  /** The items of a key; undefined where it has none. */
  get(key: Key): readonly Item[] | undefined {
    return this.#groups.get(key);
  }

  /** Keys that have an item. */
  keys(): IterableIterator<Key> {
    return this.#groups.keys();
  }

  /** The items of each key. */
  values(): IterableIterator<readonly Item[]> {
    return this.#groups.values();
  }

  /** Adds an item under a key. */
  add(key: Key, item: Item): void {
    const known = this.#groups.get(key);
    if (known === undefined) this.#groups.set(key, [item]);
    else known.push(item);
  }

  /**
   * Removes an item.
   *
   * @returns Whether its key has no item now.
   */
  remove(key: Key, item: Item): boolean {
    const known = this.#groups.get(key);
    if (known === undefined) return true;
    const at = known.indexOf(item);
    if (at >= 0) known.splice(at, 1);
    if (known.length > 0) return false;
    this.#groups.delete(key);
    return true;
  }
}
