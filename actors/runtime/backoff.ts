/**
 * The wait before another attempt.
 *
 * @module
 */

/** Shape of a backoff. */
export interface Backoff {
  /** Wait after the first failure, in milliseconds, before jitter. */
  readonly firstMs: number;
  /** No wait is longer than this, in milliseconds. */
  readonly maxMs: number;
}

/** Redialling a gateway: soon at first, since the usual reason is a restart; never more than half a minute apart. */
export const redialBackoff: Backoff = { firstMs: 250, maxMs: 30_000 };

/** Doublings after which every wait is the longest one; keeps the power finite. */
const doublingsMax = 30;

/**
 * Exponential backoff with jitter over the upper half, so that nodes that lost the same gateway don't come back in step.
 *
 * @param failures Failures so far, 1 or more.
 * @param random Evenly spread in [0, 1).
 * @returns Milliseconds, at least half of the step and at most `maxMs`.
 */
export function backoffMs(failures: number, random: number, backoff: Backoff = redialBackoff): number {
  const doublings = Math.min(Math.max(0, failures - 1), doublingsMax);
  const stepMs = Math.min(backoff.maxMs, backoff.firstMs * 2 ** doublings);
  return Math.round(stepMs * (0.5 + random / 2));
}
