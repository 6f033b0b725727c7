/**
 * Draws that a seed decides: those of a simulated run, of initial weights and of the order of batches. A run's seed is
 * split by name, so that one more draw in one place changes no draw of another.
 *
 * @module
 */

/** Draws of one name. */
export interface RandomStream {
  /** Evenly spread in [0, 1). */
  next(): number;
  /** A whole number from `from` on, below `to`. */
  whole(from: number, to: number): number;
  /** One of them; there must be one. */
  pick<A>(from: readonly A[]): A;
  /** Whether something of this probability happens. */
  chance(probability: number): boolean;
  /** The same elements in another order. */
  shuffle<A>(list: readonly A[]): readonly A[];
  /** `count` octets. */
  bytes(count: number): Uint8Array;
  /** A UUID, version 4, hyphenated lower case. */
  uuid(): string;
}

/** The draws of `name` in the run of `seed`: the same for ever, on every runtime. Never for secrets. */
export function randomOf(seed: number | string, name: string): RandomStream {
  return streamOf(sfc32(...mix(`${seed}/${name}`)));
}

/** All draws from a source that is evenly spread in [0, 1). */
export function streamOf(next: () => number): RandomStream {
  const whole = (from: number, to: number) => from + Math.floor(next() * (to - from));
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => whole(0, 256));
  return {
    next,
    whole,
    bytes,
    pick: (from) => from[whole(0, from.length)] as (typeof from)[number],
    chance: (probability) => next() < probability,
    shuffle: (list) => shuffled(list, next),
    uuid() {
      const word = () => Math.floor(next() * 4_294_967_296);
      const [a, b, c, d] = [word(), word(), word(), word()];
      const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
      const third = hex((b & 0xfff) | 0x4000, 4);
      const fourth = hex((c >>> 16 & 0x3fff) | 0x8000, 4);
      return `${hex(a, 8)}-${hex(b >>> 16, 4)}-${third}-${fourth}-${hex(c & 0xffff, 4)}${hex(d, 8)}`;
    },
  };
}

/** The items in a drawn order (Fisher–Yates); the list given stays as it is. */
export function shuffled<A>(items: readonly A[], random: () => number): A[] {
  const copy = [...items];
  for (let index = copy.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [copy[index], copy[other]] = [copy[other] as A, copy[index] as A];
  }
  return copy;
}

/**
 * Draws evenly from [0, 1), the same on every runtime for the same seed (mulberry32). Never for secrets.
 *
 * Weights of models and captured mutations depend on this series, traces of simulations on that of
 * {@linkcode randomOf}: neither may change.
 */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A seed from any text (FNV-1a, 32 bits). */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash >>> 0;
}

/** Four words from a text, each depending on all of it (FNV-1a with four starting points and a final mix). */
function mix(text: string): [number, number, number, number] {
  const words: [number, number, number, number] = [0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35];
  for (let at = 0; at < text.length; at++) {
    for (let word = 0; word < 4; word++) {
      words[word] = Math.imul((words[word] as number) ^ text.charCodeAt(at), 0x01000193 + 2 * word) >>> 0;
    }
  }
  for (let word = 0; word < 4; word++) {
    let value = words[word] as number;
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
    words[word] = (value ^ (value >>> 16)) >>> 0;
  }
  return words;
}

/** Small fast counter generator, 32 bits (Doty-Humphrey, PractRand). Its first draws are thrown away. */
function sfc32(a: number, b: number, c: number, counter: number): () => number {
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 4294967296;
  };
  for (let round = 0; round < 12; round++) next();
  return next;
}
