/**
 * Whom a training's round waits for. Pure functions over the training's state.
 *
 * @module
 */
import type { Peer } from "../../transport/protocols/messages.ts";
import { participantOf, type Trainer, type Training, withParticipant } from "./training.ts";

/** Running trainers that sent no message for longer than `silenceMaxMs`. */
export function silentTrainers(training: Training, now: number, silenceMaxMs: number): readonly Trainer[] {
  return Object.values(training.trainers)
    .filter(({ state, waiting, lastMessageAt }) =>
      state === "running" && !waiting && now - lastMessageAt > silenceMaxMs
    );
}

/**
 * Whom a round waits for: the trainers that have not sent their updates; once all say that they have, those whose updates the
 * aggregator misses, else the aggregator. None before all have begun.
 */
export function waitedPeers({ trainers, aggregator }: Training): readonly Peer[] {
  const running = Object.values(trainers).filter(({ state, isCounted }) => isCounted && state !== "done");
  if (aggregator === undefined || running.length === 0 || running.some(({ state }) => state === "leased")) return [];
  const behind = running.filter(({ waiting }) => !waiting);
  if (behind.length > 0) return behind.map(({ peer }) => peer);
  const missing = aggregator.missing.filter((peer) => trainers[peer] !== undefined);
  return missing.length > 0 ? missing : [aggregator.peer];
}

/** The training after its round has waited for these participants for a while. */
export function withWaited(training: Training, peers: readonly Peer[], ms: number): Training {
  return peers.reduce((after, peer) => {
    const waitedMs = (participantOf(after, peer)?.waitedMs ?? 0) + ms;
    return withParticipant(after, peer, { waitedMs });
  }, training);
}
