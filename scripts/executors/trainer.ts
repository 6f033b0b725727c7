/**
 * One trainer's side of a training with DiLoCo (Douillard et al. 2023): inner steps from the parameters that all share, then
 * the difference they made, then everybody's update.
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

/** What a trainer does, from its job specification. */
interface TrainerOptions {
  readonly optimizer: Adam;
  readonly scheduler?: LearningRateScheduler | null;
}

export interface Trainer {
  /** One inner step on a batch that is not empty. Returns the batch's mean loss before it. */
  train(batch: readonly DigitRow[]): number;
  /**
   * What to send: θ_after − θ_before, the direction of descent. That is the existing executors' sign, the negative of the
   * paper's pseudo-gradient; so whatever travels is added, and nothing is ever subtracted.
   */
  difference(): Result.Result<NamedTensors, TensorMismatch>;
  /** Takes an outer update: θ ← θ_before + update, whatever the inner steps made of θ. */
  receive(update: NamedTensors): Result.Result<void, TensorMismatch>;
}

/** The inner optimizer keeps its state over the rounds, as the paper has it. */
export function makeTrainer(initial: Model, { optimizer, scheduler }: TrainerOptions): Trainer {
  const inner = adam(optimizer);
  let shared = initial;
  let local = initial;
  let steps = 0;
  return {
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
