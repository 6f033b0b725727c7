/**
 * Whom a training's round waits for. Pure functions over the training's state.
 *
 * @module
 */
import type { Peer } from "../../transport/protocols/messages.ts";
import type { Trainer, Training } from "./training.ts";

/** Running trainers that sent no message for longer than `silenceMaxMs`. */
export function silentTrainers(training: Training, now: number, silenceMaxMs: number): readonly Trainer[] {
  return Object.values(training.trainers)
    .filter(({ state, waiting, lastMessageAt }) =>
      state === "running" && !waiting && now - lastMessageAt > silenceMaxMs
    );
}

/** Whom a round waits for, and since when, in milliseconds since the epoch. */
export interface RoundWait {
  readonly peers: readonly Peer[];
  readonly since: number;
}

/**
 * Whom a round waits for: the trainers that have not sent their updates, since the round began; once all say that they have, those whose
 * updates the aggregator misses, else the aggregator. Undefined before all have begun.
 */
export function roundWait({ trainers, aggregator, changedAt }: Training): RoundWait | undefined {
  const running = Object.values(trainers).filter(({ state, isCounted }) => isCounted && state !== "done");
  if (aggregator === undefined || running.length === 0 || running.some(({ state }) => state === "leased")) {
    return undefined;
  }
  const behind = running.filter(({ waiting }) => !waiting);
  if (behind.length > 0) return { peers: behind.map(({ peer }) => peer), since: changedAt };
  const missing = aggregator.missing.filter((peer) => trainers[peer] !== undefined);
  return {
    peers: missing.length > 0 ? missing : [aggregator.peer],
    since: Math.max(changedAt, ...running.map(({ lastMessageAt }) => lastMessageAt)),
  };
}
