/**
 * Random numbers that depend on a seed alone, for initial weights and the order of batches.
 *
 * @module
 */

/** Draws uniformly from [0, 1), equally on every runtime for a seed (mulberry32). Do not use it for secrets. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Makes a seed of a text (FNV-1a, 32 bits). */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash >>> 0;
}

/** Returns the items in a random order (Fisher–Yates). Does not change `items`. */
export function shuffled<A>(items: readonly A[], random: () => number): A[] {
  const copy = [...items];
  for (let index = copy.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [copy[index], copy[other]] = [copy[other] as A, copy[index] as A];
  }
  return copy;
}
