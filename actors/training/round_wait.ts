/**
 * The participants that a training's round waits for. Pure functions over the training's state.
 *
 * @module
 */
import type { Peer } from "../../transport/protocols/messages.ts";
import { participantOf, type Trainer, type Training, withParticipant, withTrainer } from "./training.ts";

/** Running trainers that sent no message for longer than `silenceMaxMs`. */
export function silentTrainers(training: Training, now: number, silenceMaxMs: number): readonly Trainer[] {
  return Object.values(training.trainers)
    .filter(({ state, waiting, lastMessageAt }) =>
      state === "running" && !waiting && now - lastMessageAt > silenceMaxMs
    );
}

/**
 * The participants that a round waits for: the trainers that have not sent their updates; once all say that they have, those whose
 * updates the aggregator misses, else the aggregator. None before all have begun.
 */
export function waitedPeers({ trainers, aggregator }: Training): readonly Peer[] {
  const running = Object.values(trainers).filter(({ state, isCounted }) => isCounted && state !== "done");
  if (aggregator === undefined || running.length === 0 || running.some(({ state }) => state === "leased")) return [];
  const behind = running.filter(({ waiting }) => !waiting);
  if (behind.length > 0) return behind.map(({ peer }) => peer);
  const missing = aggregator.missing.filter((peer) => trainers[peer] !== undefined);
  return missing.length > 0 ? missing : [aggregator.peer];
}

/** Newcomers, which rounds do not wait for: their time goes on while there is an aggregator that may send them results. */
export function waitedNewcomers({ trainers, aggregator }: Training): readonly Trainer[] {
  if (aggregator?.state !== "running") return [];
  return Object.values(trainers).filter(({ isCounted, state }) => !isCounted && state !== "done");
}

/**
 * A result was kept: the running newcomers whose time was over at the result before, which they did not confirm, and the training in
 * which those whose time is over now are marked. One may have taken its parameters a moment before the round that took so long.
 */
export function judgeNewcomers(
  training: Training,
  timeMs: number,
): { readonly lost: readonly Trainer[]; readonly marked: Training } {
  const over = waitedNewcomers(training).filter(({ state, waitedMs }) => state === "running" && waitedMs > timeMs);
  const marked = over.reduce((after, trainer) => withTrainer(after, { ...trainer, isOverdue: true }), training);
  return { lost: over.filter(({ isOverdue }) => isOverdue), marked };
}

/** The training after its round has waited for these participants for a while. */
export function withWaited(training: Training, peers: readonly Peer[], ms: number): Training {
  return peers.reduce((after, peer) => {
    const waitedMs = (participantOf(after, peer)?.waitedMs ?? 0) + ms;
    return withParticipant(after, peer, { waitedMs });
  }, training);
}
