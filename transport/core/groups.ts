/**
 * Sets by key, of which none is empty.
 *
 * @module
 */

/** Items grouped by key, in the order in which each was added. */
export class Groups<Key, Item> {
  readonly #groups = new Map<Key, Set<Item>>();

  /** Whether a key has an item. */
  has(key: Key): boolean {
    return this.#groups.has(key);
  }

  /** The items of a key; undefined where it has none. */
  get(key: Key): ReadonlySet<Item> | undefined {
    return this.#groups.get(key);
  }

  /** Keys that have an item. */
  keys(): IterableIterator<Key> {
    return this.#groups.keys();
  }

  /** The items of each key. */
  values(): IterableIterator<ReadonlySet<Item>> {
    return this.#groups.values();
  }

  /** Adds an item under a key. */
  add(key: Key, item: Item): void {
    const known = this.#groups.get(key);
    if (known === undefined) this.#groups.set(key, new Set([item]));
    else known.add(item);
  }

  /**
   * Removes an item.
   *
   * @returns Whether its key has no item now.
   */
  remove(key: Key, item: Item): boolean {
    const known = this.#groups.get(key);
    known?.delete(item);
    if (known !== undefined && known.size > 0) return false;
    this.#groups.delete(key);
    return true;
  }
}
