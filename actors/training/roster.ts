/**
 * The trainers that the aggregator of a training knows, and the messages about them that are still due. Pure functions over the
 * training's state.
 *
 * @module
 */
import type { Peer } from "../../transport/protocols/messages.ts";
import { counted, type Roster, type Trainer, type Training } from "./training.ts";

/** The trainers that the aggregator has to wait for now, and those that it has to send results to. */
export function rosterOf({ trainers }: Training): Roster {
  const all = Object.values(trainers);
  return { updates: all.filter(({ isCounted }) => isCounted).map(({ peer }) => peer), results: Object.keys(trainers) };
}

/** Whether the newest job of the aggregator names others than the training has now, so that it has to be dispatched again. */
export function isAggregatorBehind(training: Training): boolean {
  const { aggregator } = training;
  if (aggregator?.state !== "running") return false;
  const roster = rosterOf(training);
  return !isSame(aggregator.sent.updates, roster.updates) || !isSame(aggregator.sent.results, roster.results);
}

function isSame(one: readonly Peer[], other: readonly Peer[]): boolean {
  return one.length === other.length && one.every((peer) => other.includes(peer));
}

/** The training after the aggregator acknowledged a job: newcomers in it may get their own. Where no trainer is counted, they are. */
export function withAcknowledged(training: Training, dispatch: number): Training {
  const { aggregator } = training;
  if (aggregator === undefined || aggregator.dispatch !== dispatch) return training;
  const acknowledged = { ...training, aggregator: { ...aggregator, knows: aggregator.sent, refusals: 0 } };
  if (Object.values(training.trainers).some(({ isCounted }) => isCounted)) return acknowledged;
  const trainers = Object.fromEntries(
    Object.entries(training.trainers).map(([peer, trainer]) => [
      peer,
      aggregator.sent.results.includes(peer) ? { ...trainer, ...counted } : trainer,
    ]),
  );
  return { ...acknowledged, trainers };
}

/** Trainers that have no job yet, and that the aggregator will send results to. */
export function enteredTrainers({ trainers, aggregator }: Training): readonly Trainer[] {
  const known = aggregator?.knows.results ?? [];
  return Object.values(trainers).filter(({ peer, state, told }) =>
    state === "leased" && told === undefined && known.includes(peer)
  );
}

/** Trainers that did not say that they have the newest kept result: an aggregator that takes over sends it to them. */
export function lateTrainers({ trainers, aggregator }: Training, keptRound: number): readonly Peer[] {
  if (aggregator?.state !== "leased") return [];
  const late = Object.values(trainers).filter(({ state, pace }) => state === "running" && pace.roundsDone < keptRound);
  return late.map(({ peer }) => peer);
}

/** Trainers whose workers have to get a message that another member aggregates. */
export function untoldTrainers({ trainers, aggregator }: Training): readonly Trainer[] {
  if (aggregator?.state !== "running") return [];
  return Object.values(trainers).filter(({ state, told }) => state === "running" && told !== aggregator.jobId);
}

/**
 * The training without its aggregator, where the model is kept: goes on after the newest kept round. What was reported and not kept is
 * done again, and the trainers still have their updates of it.
 */
export function withoutAggregator(training: Training, keptRound: number): Training {
  const isUndone = training.roundsDone > keptRound;
  const trainers = Object.fromEntries(
    Object.entries(training.trainers).map(([peer, trainer]) => [
      peer,
      isUndone && trainer.isCounted && trainer.state === "running" ? { ...trainer, waiting: true } : trainer,
    ]),
  );
  return { ...training, trainers, aggregator: undefined, roundsDone: keptRound };
}
