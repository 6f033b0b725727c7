/**
 * The randomness of a simulated run: one seed, split by name, so that one more draw here reshuffles nothing there.
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

/** The draws of `name` in the run of `seed`: the same for ever, on every runtime. */
export function randomOf(seed: number | string, name: string): RandomStream {
  const next = sfc32(...mix(`${seed}/${name}`));
  const whole = (from: number, to: number) => from + Math.floor(next() * (to - from));
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => whole(0, 256));
  return {
    next,
    whole,
    bytes,
    pick: (from) => from[whole(0, from.length)] as (typeof from)[number],
    chance: (probability) => next() < probability,
    shuffle(list) {
      const shuffled = [...list];
      for (let last = shuffled.length - 1; last > 0; last--) {
        const other = whole(0, last + 1);
        const swapped = shuffled.splice(other, 1, ...shuffled.slice(last, last + 1));
        shuffled.splice(last, 1, ...swapped);
      }
      return shuffled;
    },
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
