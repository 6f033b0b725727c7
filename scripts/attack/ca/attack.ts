/**
 * The type of an attack on a CA.
 *
 * @module
 */
import type { CaWorld } from "./world.ts";

/** What an attack got. */
export interface Loot {
  /** How often each code came; `closed` where the connection ended without an answer. */
  readonly codes: Map<string, number>;
  /** Certificates that the CA issued rightly while the attack ran. */
  issued: number;
  /** What must not have happened. */
  readonly problems: string[];
}

/** One attack. */
export interface CaAttack {
  readonly id: string;
  /** Attempts. */
  readonly count: { readonly full: number; readonly quick: number };
  /** Codes that may come of an attempt. Another one fails the attack. */
  readonly expected: readonly string[];
  /** An alarm that has to be in the log. */
  readonly alarm?: string;
  run(world: CaWorld, count: number, loot: Loot): Promise<void>;
}

/** Counts the code of an attempt. */
export async function note(loot: Loot, attempt: Promise<{ readonly code: string }>): Promise<string> {
  const code = await attempt.then((reply) => reply.code, () => "closed");
  loot.codes.set(code, (loot.codes.get(code) ?? 0) + 1);
  return code;
}

/** Attempts at once. */
const parallel = 8;

/** Runs attempts, some at once. */
export async function inParallel(count: number, attempt: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < count; index = next++) await attempt(index);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, worker));
}
