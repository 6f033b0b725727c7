/**
 * Randomness that a seed decides: the same mutations on both runtimes, and again tomorrow.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

/** A generator (mulberry32): enough for choosing, not for secrets. */
export interface Random {
  /** A whole number from 0 on, under `below`. */
  readonly int: (below: number) => number;
  readonly pick: <A>(list: readonly A[]) => A;
  readonly chance: (probability: number) => boolean;
  readonly bytes: (count: number) => Uint8Array;
}

/** Makes a generator. Every pair of seed and stream gives another series. */
export function makeRandom(seed: number, stream: number): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35);
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  const int = (below: number) => Math.floor(next() * below);
  return {
    int,
    pick: (list) => list[int(list.length)]!,
    chance: (probability) => next() < probability,
    bytes: (count) => Uint8Array.from({ length: count }, () => int(256)),
  };
}

/** 32 octets that a seed and a name decide: the secret of a key that guards nothing. */
export function secretOf(seed: number, name: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(`${seed} ${name}`)).digest());
}
