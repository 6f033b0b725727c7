/**
 * Evaluates mutations with our verifier and with OpenSSL, and counts the differences.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { explanationOf } from "./explained.ts";
import { evaluate } from "./evaluate.ts";
import { mutate, type Mutation } from "./mutate.ts";
import { openOracle, type Oracle } from "./oracle.ts";
import { makeWorlds, type World } from "./worlds.ts";

/** Mutations evaluated before OpenSSL is asked. */
const batchSize = 2_000;
/** A refused case that costs OpenSSL a separate process is asked once in this many. */
const refusedAskedEvery = 50;
/** A mutation that we accept and OpenSSL refuses. */
interface ExtraAccept {
  readonly index: number;
  readonly world: string;
  readonly target: string;
  readonly kind: string;
  readonly openssl: string;
}

/** The result of a run. */
export interface FuzzReport {
  readonly runtime: "node" | "deno";
  readonly seed: number;
  readonly count: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly accepted: number;
  /** By code. */
  readonly refused: Readonly<Record<string, number>>;
  /** How many OpenSSL was asked about: all that we accept, most that we refuse. */
  readonly asked: number;
  readonly agreed: number;
  /** Refused here, accepted there. */
  readonly stricter: Readonly<Record<string, number>>;
  /** Extra accepts by the row that explains them. */
  readonly explained: Readonly<Record<string, number>>;
  readonly unexplained: readonly ExtraAccept[];
  readonly crashes: readonly { readonly index: number; readonly error: string }[];
  /** Longest time for one verdict of ours, ms. */
  readonly slowestMs: number;
  /** Hash over all of our verdicts: the same on every runtime. */
  readonly verdicts: string;
  readonly seconds: number;
}

/** How to run. */
interface FuzzOptions {
  readonly seed: number;
  readonly count: number;
  readonly onProgress?: (done: number) => void;
}

/** Runs it. */
export async function fuzz({ seed, count, onProgress }: FuzzOptions): Promise<FuzzReport> {
  const started = performance.now();
  const worlds = makeWorlds(seed);
  const oracle = await openOracle();
  const tally = new Tally();
  try {
    let asking: Promise<void> = Promise.resolve();
    for (let from = 0; from < count; from += batchSize) {
      const batch = evaluateBatch(worlds, { seed, from, to: Math.min(count, from + batchSize) }, tally);
      // OpenSSL evaluates one batch while our verifier evaluates the next.
      await asking;
      asking = askBatch(oracle, batch, tally);
      onProgress?.(from + batch.length);
    }
    await asking;
  } finally {
    await oracle.close();
  }
  const runtime = "Deno" in globalThis ? "deno" : "node";
  return { runtime, seed, count, ...tally.report(), seconds: Math.round((performance.now() - started) / 100) / 10 };
}

interface Evaluated {
  readonly mutation: Mutation;
  readonly verdict: string;
}

function evaluateBatch(
  worlds: readonly World[],
  { seed, from, to }: { readonly seed: number; readonly from: number; readonly to: number },
  tally: Tally,
): readonly Evaluated[] {
  const evaluated: Evaluated[] = [];
  for (let index = from; index < to; index++) {
    const mutation = mutate(worlds, seed, index);
    const started = performance.now();
    let verdict: string;
    try {
      verdict = evaluate(mutation);
    } catch (error) {
      verdict = "crash";
      tally.crashes.push({ index, error: error instanceof Error ? error.stack ?? error.message : String(error) });
    }
    tally.take(mutation, verdict, performance.now() - started);
    evaluated.push({ mutation, verdict });
  }
  return evaluated;
}

async function askBatch(oracle: Oracle, batch: readonly Evaluated[], tally: Tally): Promise<void> {
  const asked = batch.filter(({ mutation: { target, index, chain }, verdict }) =>
    chain.length > 0 && (verdict === "accepted" || target === "leaf" || index % refusedAskedEvery === 0)
  );
  const verdicts = await oracle.accepts(asked.map(({ mutation }) => mutation));
  for (const [place, { mutation, verdict }] of asked.entries()) {
    const ours = verdict === "accepted";
    const theirs = verdicts[place]!;
    tally.asked += 1;
    if (ours === theirs) tally.agreed += 1;
    else if (theirs) add(tally.stricter, verdict);
    else tally.extra(mutation, await oracle.explain(mutation));
  }
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1;
}

class Tally {
  readonly crashes: { index: number; error: string }[] = [];
  readonly stricter: Record<string, number> = {};
  asked = 0;
  agreed = 0;
  readonly #kinds: Record<string, number> = {};
  readonly #refused: Record<string, number> = {};
  readonly #explained: Record<string, number> = {};
  readonly #unexplained: ExtraAccept[] = [];
  readonly #hash = createHash("sha256");
  #accepted = 0;
  #slowestMs = 0;

  take({ target, kind }: Mutation, verdict: string, ms: number): void {
    for (const each of kind.split("+")) add(this.#kinds, `${target} ${each}`);
    if (verdict === "accepted") this.#accepted += 1;
    else add(this.#refused, verdict);
    this.#hash.update(`${verdict}\n`);
    this.#slowestMs = Math.max(this.#slowestMs, ms);
  }

  extra(mutation: Mutation, openssl: string): void {
    const rows = explanationOf(mutation, openssl);
    for (const id of new Set(rows?.map(({ id }) => id))) add(this.#explained, id);
    if (rows !== undefined) return;
    const { index, world, target, kind } = mutation;
    this.#unexplained.push({ index, world, target, kind, openssl });
  }

  report() {
    const sorted = (counts: Record<string, number>) => Object.fromEntries(Object.entries(counts).sort());
    return {
      kinds: sorted(this.#kinds),
      accepted: this.#accepted,
      refused: sorted(this.#refused),
      asked: this.asked,
      agreed: this.agreed,
      stricter: sorted(this.stricter),
      explained: sorted(this.#explained),
      unexplained: this.#unexplained,
      crashes: this.crashes,
      slowestMs: Math.round(this.#slowestMs * 10) / 10,
      verdicts: this.#hash.digest("hex"),
    };
  }
}
