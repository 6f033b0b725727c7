/**
 * The space that the model of a training takes on the disks of its scheduler and its aggregator.
 *
 * @module
 */
import { elementBytes, isFloat } from "../learning/element_types.ts";
import { keptType, type TensorEntry } from "../learning/mod.ts";
import type { RoundRecord } from "./round_record.ts";

/** Files of a round that are no larger than its parameters: parameters, velocity and result. */
const filesOfRound = 3;

/** The size of parameters as they are kept, in bytes, without their header. */
export function parametersBytes(tensors: readonly Pick<TensorEntry, "dtype" | "count">[]): number {
  return tensors.reduce((sum, { dtype, count }) => sum + count * elementBytes[keptType(dtype)], 0);
}

/** What a training with parameters of this size may take: the rounds that are kept, the one in the making, and two results. */
export function trainingBytes(parameters: number, keepRounds: number): number {
  return ((keepRounds + 1) * 2 + 2) * parameters;
}

/** What the round after this one takes before an older one is removed. */
export function nextRoundBytes({ parameters }: Pick<RoundRecord, "parameters">): number {
  return filesOfRound * parameters.sizeBytes;
}

/**
 * What our aggregator writes in a round before it removes anything: an update of each trainer and the result in F32, the velocity before
 * and after in F64. An estimate: executors choose the float type of updates, and another aggregator keeps what it likes.
 */
export function aggregationBytes(tensors: readonly Pick<TensorEntry, "dtype" | "count">[], trainers: number): number {
  return tensors.reduce((sum, { dtype, count }) => {
    const [update, state] = isFloat(dtype)
      ? [elementBytes.F32, elementBytes.F64]
      : [elementBytes[dtype], elementBytes[dtype]];
    return sum + count * ((trainers + 1) * update + 2 * state);
  }, 0);
}
