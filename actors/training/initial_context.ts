/**
 * The context of a training that begins.
 *
 * @module
 */
import { unrememberedRun } from "./run_number.ts";
import { firstSlice } from "./slices.ts";
import { emptyTraining } from "./training.ts";
import type { TrainingContext, TrainingInput } from "./training_setup.ts";

/** Nothing is known yet but the input. */
export function initialContext(input: TrainingInput): TrainingContext {
  return {
    ...input,
    dataset: undefined,
    slices: firstSlice(1),
    training: emptyTraining,
    run: input.config.stateDir === undefined ? { id: input.id, run: unrememberedRun(input.ports.now()) } : undefined,
    isRestart: false,
    first: "trainers",
    turnEndsAt: 0,
    waitEndsAt: 0,
    excluded: {},
    barred: [],
    losses: {},
    unreliable: [],
    evaluation: "none",
    roundsEvaluated: 0,
    accuracy: undefined,
    model: undefined,
    isUnopened: false,
    samples: 0,
    lookups: 0,
    seeks: 0,
    dataGoneAt: undefined,
    dataWait: { round: 0, ms: 0 },
    dispatches: 0,
    retiredAt: undefined,
    outcome: { type: "finished" },
  };
}
