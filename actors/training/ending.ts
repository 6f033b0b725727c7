/**
 * What a scheduler says about the end of its training.
 *
 * @module
 */
import { sendingMs, tailMs, type TrainingContext } from "./training_setup.ts";
import { trainersOf } from "./training.ts";

type Args = { readonly context: TrainingContext };

/** The last round is counted: tells what is waited for, and for how long. */
export function reportTail({ context: { ports, training } }: Args): void {
  const { aggregator, trainers, roundsDone } = training;
  const missing = Object.values(trainers).filter(({ state }) => state !== "done").map(({ peer }) => peer);
  const waitMs = aggregator?.isForeign === true ? tailMs : sendingMs + tailMs;
  ports.report({
    level: "info",
    event: "training.ending",
    message: `Round ${roundsDone} was the last: waits up to ${
      waitMs / 1_000
    } s for its result to reach ${missing.length} trainers`,
    fields: { round: roundsDone, aggregator: aggregator?.peer ?? null, missing, waitMs },
  });
}

/** The wait for the last result is over: names the trainers that did not confirm it. */
export function reportUnconfirmed({ context: { ports, training } }: Args): void {
  const missing = Object.values(training.trainers).filter(({ state }) => state !== "done").map(({ peer }) => peer);
  ports.report({
    level: "warn",
    event: "training.unconfirmed",
    message: `Ends without hearing whether ${missing.length} trainers have the last result`,
    fields: { round: training.roundsDone, missing },
  });
}

/** Reports the end of the training. */
export function reportDone({ context: { ports, training, model, accuracy, roundsEvaluated } }: Args): void {
  const rounds = training.roundsDone;
  const measured = accuracy === undefined
    ? ""
    : `, accuracy ${(accuracy * 100).toFixed(1)} % after round ${roundsEvaluated}`;
  // They were let go where the last round was measured for long. One member of a round is its aggregator.
  const trainers = trainersOf(training).length || Math.max(0, (model?.checkpoint.record.members.length ?? 0) - 1);
  ports.report({
    level: "info",
    event: "training.done",
    message: `Training done after ${rounds} rounds${measured}`,
    fields: {
      rounds,
      accuracy: accuracy ?? null,
      accuracyRound: accuracy === undefined ? null : roundsEvaluated,
      trainers,
    },
  });
}
