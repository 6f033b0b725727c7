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
export function reportDone({ context: { ports, training, accuracy } }: Args): void {
  const rounds = training.roundsDone;
  const measured = accuracy === undefined ? "" : `, accuracy ${(accuracy * 100).toFixed(1)} %`;
  ports.report({
    level: "info",
    event: "training.done",
    message: `Training done after ${rounds} rounds${measured}`,
    fields: { rounds, accuracy: accuracy ?? null, trainers: trainersOf(training).length },
  });
}
