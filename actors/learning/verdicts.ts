/**
 * Which updates of a round count: those of the round's layout, whose values are finite, and whose length is bounded and not far from that
 * of the others. Pure functions over what was measured.
 *
 * @module
 */

/** What was measured of one update. */
export interface MeasuredUpdate {
  /** The update's path in the work directory. */
  readonly file: string;
  /** The digest of its layout (`layout.ts`). */
  readonly layout: string;
  /** Its length: the root of the sum of squares; not finite where one of its values is not. */
  readonly norm: number;
}

/** Bounds on lengths, as multiples of the round's median. */
export interface NormRules {
  /** A longer update is scaled down to this. */
  readonly clipNormRatio: number;
  /** A longer update is rejected. */
  readonly maxNormRatio: number;
}

/** The defaults: honest trainers of one round differ by less than twice. */
export const normRules: NormRules = { clipNormRatio: 2, maxNormRatio: 10 };
/** With fewer updates that are not zero there is nothing to compare a length with. */
export const comparedMin = 3;

/**
 * The longest update that counts, whatever the others are. With it parameters and velocity stay in the range of F32 for a million rounds, at
 * outer learning rates up to a million: a scheduler that gets others blames the aggregator, not the trainer.
 */
export const normMax = 2 ** 64;

/** Why an update does not count. */
export type RejectionCode = "malformed" | "layout" | "not-finite" | "norm";

/** The verdict on a round: the factor of each update, or the update that is rejected first. */
export type Verdict =
  | { readonly type: "counts"; readonly factors: readonly number[] }
  | { readonly type: "rejects"; readonly file: string; readonly code: RejectionCode; readonly reason: string };

/**
 * Judges the updates of a round.
 *
 * @param layout The layout that updates must have, and `of` what has it. Without one the layout of most updates counts; of two that are as frequent, that
 * of the first update.
 */
export function judgeUpdates(
  updates: readonly MeasuredUpdate[],
  { layout, of = "earlier rounds", rules = normRules }: {
    readonly layout?: string | undefined;
    readonly of?: string;
    readonly rules?: NormRules;
  } = {},
): Verdict {
  const expected = layout ?? mostFrequent(updates.map((update) => update.layout));
  const other = updates.find((update) => update.layout !== expected);
  if (other !== undefined) {
    const whose = layout === undefined ? "most updates" : of;
    const reason = `names, shapes or integer types of its tensors differ from those of ${whose}`;
    return { type: "rejects", file: other.file, code: "layout", reason };
  }
  const endless = updates.find(({ norm }) => !Number.isFinite(norm));
  if (endless !== undefined) {
    return { type: "rejects", file: endless.file, code: "not-finite", reason: "it holds a value that is not finite" };
  }
  const long = updates.find(({ norm }) => norm > normMax);
  if (long !== undefined) {
    return { type: "rejects", file: long.file, code: "norm", reason: `its length is ${long.norm}: over 2^64` };
  }
  // Zeros, as of a first round at learning rate 0, tell nothing about the lengths of the others.
  const compared = updates.map(({ norm }) => norm).filter((norm) => norm > 0);
  if (compared.length < comparedMin) return { type: "counts", factors: updates.map(() => 1) };
  const median = medianOf(compared);
  const longest = updates.reduce((most, update) => update.norm > most.norm ? update : most);
  if (longest.norm > rules.maxNormRatio * median) {
    const ratio = `${(longest.norm / median).toPrecision(3)} times the median`;
    return { type: "rejects", file: longest.file, code: "norm", reason: `its length is ${longest.norm}: ${ratio}` };
  }
  const bound = rules.clipNormRatio * median;
  return { type: "counts", factors: updates.map(({ norm }) => norm > bound ? bound / norm : 1) };
}

function mostFrequent(layouts: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const layout of layouts) counts.set(layout, (counts.get(layout) ?? 0) + 1);
  // A map keeps the order of arrival, so that the first of equals stays.
  return [...counts].reduce<[string, number] | undefined>(
    (best, each) => best === undefined || each[1] > best[1] ? each : best,
    undefined,
  )?.[0];
}

/** The lower median: one long update among two pairs does not move it up. */
function medianOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? 0;
}
