/**
 * One running receive of a job: its waiting streams, or its waiting takers, and which pushes are its own.
 *
 * @module
 */
import { Effect } from "effect";
import { type PeerText, type StreamAnswer, type StreamHandle, TransportError } from "../../transport/port.ts";
import type { PushLabel, TrainingKey, Uuid } from "../../transport/protocols/messages.ts";
import type { PushReceiver, ReceiveOptions } from "./network.ts";
import { waitingStreamsMax } from "./network.ts";

/** Has the connections to peers kept, or no longer. */
export type HoldPeers = (how: "hold" | "release", peers: readonly PeerText[]) => void;

/** One running receive: waiting streams, or waiting takers. */
export class Receiver implements PushReceiver {
  peers: readonly PeerText[] | undefined;
  /** Streams that are accepted, or being accepted, and not taken yet. */
  waiting = 0;
  readonly training: TrainingKey | undefined;
  readonly #waitingMax: number;
  readonly #streams: StreamHandle[] = [];
  readonly #takers: ((taken: Effect.Effect<StreamHandle, TransportError>) => void)[] = [];
  /** The job of each sender, by its first push: a later one of another job is not this training's. */
  readonly #jobs = new Map<PeerText, Uuid>();
  /** The peers whose connections are kept. */
  kept: readonly PeerText[];
  #round: number | undefined;
  readonly #hold: HoldPeers;
  #ended: TransportError | undefined;

  constructor({ peers, round, training, waitingMax = waitingStreamsMax }: ReceiveOptions, hold: HoldPeers) {
    this.peers = peers;
    this.kept = peers ?? [];
    this.#hold = hold;
    hold("hold", this.kept);
    this.training = training;
    this.#round = round;
    this.#waitingMax = waitingMax;
  }

  takes(peer: PeerText): boolean {
    return this.waiting < this.#waitingMax && (this.peers === undefined || this.peers.includes(peer));
  }

  /** Why a push with this label is not one of this receive's; undefined where it is. */
  mismatch(peer: PeerText, label: PushLabel): string | undefined {
    const { training } = this;
    if (training === undefined || training.id !== label.training || training.scheduler !== label.scheduler) {
      return "another training";
    }
    if (training.run !== label.run) return `run ${label.run} instead of ${training.run}`;
    const job = this.#jobs.get(peer);
    if (job !== undefined && job !== label.job) return "another job";
    if (this.#round !== undefined && label.round !== this.#round) {
      return `round ${label.round} instead of ${this.#round}`;
    }
    return undefined;
  }

  /** Remembers the job of a sender. */
  pin(peer: PeerText, { job }: PushLabel): void {
    this.#jobs.set(peer, job);
  }

  allow(peers: readonly PeerText[] | undefined, round?: number): void {
    this.peers = peers;
    this.#round = round;
  }

  keep(peers: readonly PeerText[]): void {
    const before = this.kept;
    this.kept = peers;
    this.#hold("hold", peers);
    this.#hold("release", before);
  }

  forget(peer: PeerText): void {
    this.#jobs.delete(peer);
  }

  readonly next: Effect.Effect<StreamHandle, TransportError> = Effect.callback((resume) => {
    const stream = this.#streams.shift();
    if (stream !== undefined) {
      this.waiting -= 1;
      return resume(Effect.succeed(stream));
    }
    if (this.#ended !== undefined) return resume(Effect.fail(this.#ended));
    this.#takers.push(resume);
    return Effect.sync(() => {
      const at = this.#takers.indexOf(resume);
      if (at >= 0) this.#takers.splice(at, 1);
    });
  });

  answered(answer: StreamAnswer): void {
    if (answer.type === "stream.failed") {
      this.waiting -= 1;
      return;
    }
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      this.waiting -= 1;
      return taker(Effect.succeed(answer.stream));
    }
    if (this.#ended === undefined) this.#streams.push(answer.stream);
    else Effect.runFork(answer.stream.abort(this.#ended.detail));
  }

  fail(error: TransportError): void {
    this.#ended ??= error;
    for (const taker of this.#takers.splice(0)) taker(Effect.fail(error));
  }

  close(reason: string): Effect.Effect<void> {
    this.fail(new TransportError({ code: "stopped", detail: reason }));
    return Effect.forEach(this.#streams.splice(0), (stream) => stream.abort(reason), { discard: true });
  }
}

/**
 * Chooses the receiver of a push that names its sender and no training; none where trainings of two schedulers wait for the sender. Receivers of no training come first, because a sender that
 * knows its training says so; then receivers that name the sender before those that accept all peers; among equals, the newest. A
 * worker whose resources suffice for one job sends for the job that it got last, and a scheduler of the existing network that
 * restarts leaves its previous jobs behind until their leases end.
 */
export function chooseBySender(receivers: Iterable<Receiver>, peer: PeerText): Receiver | undefined {
  const free = [...receivers].filter((receiver) => receiver.takes(peer)).toReversed();
  // The sender's worker names no training: which of two schedulers' it belongs to cannot be told.
  const schedulers = new Set(free.flatMap(({ peers, training }) => peers === undefined ? [] : [training?.scheduler]));
  if (schedulers.size > 1 && !schedulers.has(undefined)) return undefined;
  const rank = ({ peers, training }: Receiver) => (training === undefined ? 0 : 2) + (peers === undefined ? 1 : 0);
  return free.reduce<Receiver | undefined>(
    (best, each) => best === undefined || rank(each) < rank(best) ? each : best,
    undefined,
  );
}

/** Chooses the receiver of a push that names its training, or says why there is none. */
export function chooseByLabel(
  receivers: Iterable<Receiver>,
  peer: PeerText,
  label: PushLabel,
): { readonly receiver: Receiver } | { readonly reason: string } {
  const free = [...receivers].filter((receiver) => receiver.takes(peer)).toReversed();
  const receiver = free.find((each) => each.mismatch(peer, label) === undefined);
  if (receiver !== undefined) return { receiver };
  const ofTraining = free.find(({ training }) =>
    training?.id === label.training && training.scheduler === label.scheduler
  );
  return { reason: (ofTraining ?? free[0])?.mismatch(peer, label) ?? "no job here waits for it" };
}
