/**
 * Whole GPUs for amounts of GPU memory: a job gets as many GPUs as its GB need, and no GPU serves two jobs.
 *
 * @module
 */
import type { Commitments } from "./commitments.ts";

/** GB of memory, by index of `[[cell.gpu]]`. */
export type GpuMemories = ReadonlyMap<number, number>;

/** The GPUs that are neither leased nor, with an offer that reserves, promised. */
export function freeGpus({ offers, leases }: Commitments, all: GpuMemories): GpuMemories {
  const promised = Object.values(offers).filter(({ reserves }) => reserves);
  return withoutGpus(all, [...promised, ...Object.values(leases)].flatMap(({ gpus }) => gpus));
}

/** The GPUs that are not leased. */
export function unleasedGpus({ leases }: Commitments, all: GpuMemories): GpuMemories {
  return withoutGpus(all, Object.values(leases).flatMap(({ gpus }) => gpus));
}

/** The GPUs but those. */
export function withoutGpus(all: GpuMemories, taken: readonly number[]): GpuMemories {
  return new Map([...all].filter(([index]) => !taken.includes(index)));
}

/**
 * Chooses whole GPUs of together at least `gb`: the smallest one that has as much, else the largest ones first.
 *
 * @returns Their indices, none for 0 GB; undefined where the free ones have less.
 */
export function chooseGpus(free: GpuMemories, gb: number): readonly number[] | undefined {
  if (!(gb > 0)) return [];
  const ordered = [...free].sort(([left, leftGb], [right, rightGb]) => leftGb - rightGb || left - right);
  const [smallest] = ordered.find(([, memory]) => memory >= gb) ?? [];
  if (smallest !== undefined) return [smallest];
  const [index, memory] = ordered.at(-1) ?? [];
  if (index === undefined || memory === undefined) return undefined;
  const others = chooseGpus(withoutGpus(free, [index]), gb - memory);
  return others === undefined ? undefined : [index, ...others];
}

/** GB that these GPUs have together. */
export function gpuMemory(all: GpuMemories, gpus: readonly number[]): number {
  return gpus.reduce((sum, index) => sum + (all.get(index) ?? 0), 0);
}
