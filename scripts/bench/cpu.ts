/**
 * Processor time of small functions, on a machine that does other things too.
 *
 * @module
 */
import process from "node:process";

/** How long to measure. The quick form is for tests: its figures mean nothing. */
export interface CpuOptions {
  readonly quick: boolean;
}

/**
 * Microseconds of processor time of one call: the least of several batches, each long enough for the clock's grain. Several
 * functions are measured in turns, so that a disturbance meets them all.
 */
export function cpuOf(works: readonly (() => void)[], { quick }: CpuOptions): readonly number[] {
  const [batches, batchUs] = quick ? [1, 2_000] : [9, 60_000];
  const calls = works.map((work) => {
    let count = 1;
    while (spend(work, count) < batchUs && count < 50_000_000) count *= 2;
    return count;
  });
  const best = works.map(() => Infinity);
  for (let batch = 0; batch < batches; batch++) {
    for (const [index, work] of works.entries()) {
      best[index] = Math.min(best[index]!, spend(work, calls[index]!) / calls[index]!);
    }
  }
  return best;
}

function spend(work: () => void, count: number): number {
  const before = process.cpuUsage();
  for (let index = 0; index < count; index++) work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
