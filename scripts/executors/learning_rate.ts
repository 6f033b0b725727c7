import type { JobSpec, LearningRateScheduler } from "../../transport/protocols/messages.ts";

/**
 * Returns the factor of the learning rate at a step.
 *
 * Each schedule rises linearly during its warm-up. Then `cosine-with-warmup` falls to zero along half a cosine and
 * `linear-with-warmup` along a line, both until `training_steps`. `wsd` stays constant and decays along half a cosine over its
 * last `decay_steps`. Without `stepsTotal` the start of these steps is unknown, and `wsd` does not decay.
 *
 * @param step The number of inner steps before this one, from 0.
 */
export function learningRateFactor(
  schedule: LearningRateScheduler | null | undefined,
  step: number,
  stepsTotal?: number,
): number {
  if (schedule === null || schedule === undefined) return 1;
  const { warmup_steps: warmup } = schedule;
  if (step < warmup) return step / warmup;
  switch (schedule.type) {
    case "cosine-with-warmup":
      return halfCosine(progress(step - warmup, schedule.training_steps - warmup));
    case "linear-with-warmup":
      return 1 - progress(step - warmup, schedule.training_steps - warmup);
    case "wsd": {
      if (stepsTotal === undefined) return 1;
      const start = Math.max(warmup, stepsTotal - schedule.decay_steps);
      return step < start ? 1 : halfCosine(progress(step - start, schedule.decay_steps));
    }
  }
}

/**
 * Returns the inner steps before a job, so that a schedule does not start again when a member joins or a training resumes.
 *
 * Where the schedule has `training_steps` it is their share of the finished rounds. Otherwise it is the samples of all members in
 * batches: more than one member's steps, which only says that the warm-up is over. `learning_rate.py` does the same.
 *
 * @param training Where the training stands; undefined where the scheduler keeps no model.
 * @param batchSize Samples of an inner step, at least 1.
 */
export function stepsBefore(
  schedule: LearningRateScheduler | null | undefined,
  training: JobSpec["training"],
  batchSize: number,
): number {
  if (training === undefined) return 0;
  const { round, rounds, samples } = training;
  return schedule && "training_steps" in schedule && rounds > 0
    ? Math.floor(schedule.training_steps * round / rounds)
    : Math.floor(samples / batchSize);
}

/** Progress from 0 to 1. */
function progress(done: number, total: number): number {
  return total <= 0 ? 1 : Math.min(1, done / total);
}

function halfCosine(done: number): number {
  return (1 + Math.cos(Math.PI * done)) / 2;
}
