/**
 * The aggregator's arithmetic: the mean of the trainers' differences and Nesterov's step on it.
 *
 * @module
 */

/** Outer optimizer, from the aggregate job's specification. */
export interface OuterOptions {
  readonly learningRate: number;
  readonly momentum: number;
}

/** 2^−149 is the smallest F32: every finite F32 is a multiple of it. */
const unitExponent = 149;

/**
 * Computes the mean of numbers in the range of F32. The sum is exact before the division, so the order of the numbers does
 * not change the result.
 *
 * Additions in double precision are usually exact. The function checks each one; where one rounds, it adds whole numbers
 * instead.
 */
export function exactMean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    const next = sum + value;
    // The rounding error of the addition (Knuth's two-sum): zero where it was exact.
    const back = next - sum;
    if ((sum - (next - back)) + (value - back) !== 0) return wholeSum(values) / values.length;
    sum = next;
  }
  return sum / values.length;
}

/** With fewer updates nothing can be dropped at both ends. */
export const trimmedMin = 3;

/** How many values a trimmed mean of `count` drops at each end. */
export function trimmedAtEach(count: number, trim: number): number {
  if (count < trimmedMin) return 0;
  // The product rounds: 0.29 · 100 is below 29, but 29 / 100 is 0.29.
  const nearest = Math.round(count * trim);
  return Math.max(1, nearest / count > trim ? nearest - 1 : nearest);
}

/**
 * Computes the mean without the `dropped` largest and smallest values. The order of the numbers does not change the result.
 *
 * @param values Sorted in place.
 */
export function trimmedMean(values: Float64Array, dropped: number): number {
  return exactMean(values.sort().subarray(dropped, values.length - dropped));
}

function wholeSum(values: ArrayLike<number>): number {
  let sum = 0n;
  for (let i = 0; i < values.length; i++) sum += toUnits(values[i] as number);
  // A bigint becomes the nearest double; the power of two only moves its exponent.
  return Number(sum) * 2 ** -unitExponent;
}

function toUnits(value: number): bigint {
  return BigInt(Math.fround(value) * 2 ** unitExponent);
}

/**
 * Applies one step of Nesterov's momentum to a mean difference, in place: v ← μ·v + Δ, update = η·(μ·v + Δ).
 *
 * @param velocity Changed to the new velocity.
 * @param mean Changed to the update. The caller adds it to the parameters.
 */
export function nesterovStep(
  velocity: Float64Array,
  mean: Float64Array,
  { learningRate, momentum }: OuterOptions,
): void {
  for (let i = 0; i < mean.length; i++) {
    const difference = mean[i] as number;
    const next = momentum * (velocity[i] as number) + difference;
    velocity[i] = next;
    mean[i] = learningRate * (momentum * next + difference);
  }
}
