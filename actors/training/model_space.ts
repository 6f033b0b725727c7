/**
 * The space that the model of a training takes on its scheduler's disk.
 *
 * @module
 */
import { elementBytes } from "../learning/element_types.ts";
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
