/**
 * Randomness that a seed decides: the same mutations on both runtimes, and again tomorrow.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type RandomStream, seededRandom, streamOf } from "../../actors/runtime/random.ts";

/** A generator: enough for choosing, not for secrets. */
export interface Random extends Pick<RandomStream, "pick" | "chance" | "bytes"> {
  /** A whole number from 0 on, under `below`. */
  readonly int: (below: number) => number;
}

/** Makes a generator. Every pair of seed and stream gives another series. */
export function makeRandom(seed: number, stream: number): Random {
  const mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35);
  const { whole, pick, chance, bytes } = streamOf(seededRandom(mixed));
  return { int: (below) => whole(0, below), pick, chance, bytes };
}

/** 32 octets that a seed and a name decide: the secret of a key that guards nothing. */
export function secretOf(seed: number, name: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(Buffer.from(`${seed} ${name}`)).digest());
}
