/**
 * One trainer in a training with DiLoCo (Douillard et al. 2023). It does inner steps from the shared parameters, sends the
 * difference, and takes the outer update of the round.
 *
 * @module
 */
import * as Result from "effect/Result";
import type { Adam, LearningRateScheduler } from "../../transport/protocols/messages.ts";
import type { DigitRow } from "./digits.ts";
import { learningRateFactor } from "./learning_rate.ts";
import { applyUpdate, gradientOf, type Model } from "./model.ts";
import { adam } from "./optimizer.ts";
import { type NamedTensors, subtractTensors, type TensorMismatch } from "../../actors/learning/tensors.ts";

/** The options of a trainer in its job specification. */
interface TrainerOptions {
  readonly optimizer: Adam;
  readonly scheduler?: LearningRateScheduler | null;
  /** Inner steps of the training before this job; none where undefined. */
  readonly stepsBefore?: number;
}

export interface Trainer {
  /** The parameters that all trainers share: those after the last outer update. */
  shared(): NamedTensors;
  /** Does one inner step on a batch, which must not be empty. Returns the mean loss of the batch before the step. */
  train(batch: readonly DigitRow[]): number;
  /**
   * Returns the update to send: θ_after − θ_before, the direction of descent. The existing executors use this sign, which is the
   * negative of the paper's pseudo-gradient. Receivers therefore add every update.
   */
  difference(): Result.Result<NamedTensors, TensorMismatch>;
  /** Takes an outer update: θ ← θ_before + update. This drops the result of the inner steps. */
  receive(update: NamedTensors): Result.Result<void, TensorMismatch>;
}

/** Makes a trainer. Its inner optimizer keeps its state across rounds, as in the paper. */
export function makeTrainer(initial: Model, { optimizer, scheduler, stepsBefore = 0 }: TrainerOptions): Trainer {
  const inner = adam(optimizer);
  let shared = initial;
  let local = initial;
  let steps = stepsBefore;
  return {
    shared: () => shared.parameters,
    train(batch) {
      const { loss, gradients } = gradientOf(local, batch);
      const learningRate = optimizer["learning-rate"] * learningRateFactor(scheduler, steps++);
      local = { ...local, parameters: inner.step(local.parameters, gradients, learningRate) };
      return loss;
    },
    difference: () => subtractTensors(local.parameters, shared.parameters),
    receive: (update) =>
      Result.map(applyUpdate(shared, update), (next) => {
        shared = next;
        local = next;
      }),
  };
}
