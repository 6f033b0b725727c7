/**
 * Arithmetic on resources: fit, sum, difference, and their weight in comparisons of prices.
 *
 * @module
 */
import type { Resources } from "../../transport/protocols/messages.ts";

/** Zero in every dimension. */
export const noResources: Resources = { gpu: 0, cpu: 0, storage: 0, memory: 0 };

/** Weights of a core and of a GB of GPU memory, memory and storage in comparisons of prices (`docs/wire.md`, "Allocation"). */
const weights: Resources = { cpu: 1, gpu: 25, memory: 0.1, storage: 0.01 };

/** Floating-point sums of the same few numbers in different orders differ by less than this. */
const tolerance = 1e-9;

/** The sum, dimension by dimension. */
export function addResources(left: Resources, right: Resources): Resources {
  return {
    gpu: left.gpu + right.gpu,
    cpu: left.cpu + right.cpu,
    storage: left.storage + right.storage,
    memory: left.memory + right.memory,
  };
}

/** The difference, dimension by dimension; may be below zero. */
export function subtractResources(left: Resources, right: Resources): Resources {
  return {
    gpu: left.gpu - right.gpu,
    cpu: left.cpu - right.cpu,
    storage: left.storage - right.storage,
    memory: left.memory - right.memory,
  };
}

/** Whether `wanted` is inside `available` in every dimension. Amounts that are negative or not finite never fit. */
export function fitsResources(wanted: Resources, available: Resources): boolean {
  const dimensions = ["gpu", "cpu", "storage", "memory"] as const;
  return dimensions.every((dimension) =>
    Number.isFinite(wanted[dimension]) && wanted[dimension] >= 0 &&
    wanted[dimension] <= available[dimension] + tolerance
  );
}

/** Weighted units: a core is 1, a GB of GPU memory 25, of memory 0.1, of storage 0.01. */
export function weighResources(resources: Resources): number {
  return resources.cpu * weights.cpu + resources.gpu * weights.gpu + resources.memory * weights.memory +
    resources.storage * weights.storage;
}

/** Price per weighted unit; infinite for an offer of nothing, so that it comes last. */
export function pricePerUnit(price: number, resources: Resources): number {
  const units = weighResources(resources);
  return units > 0 ? price / units : Number.POSITIVE_INFINITY;
}
