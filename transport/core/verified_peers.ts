/**
 * Which peers count as authors of gossip and publishers of records: those that are established here, or were a short while
 * ago under the same trust.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { Connects, Established, Verifies } from "./parts.ts";
import type { GiveUp } from "./wire.ts";

/** How long a peer that left still counts, in milliseconds, and how many of them are remembered. */
export const recentlyVerifiedMs = 600_000;
export const recentlyVerifiedMax = 4_096;
/** Peers that are dialled at once only to verify them, and questions that wait for one of them; further ones do not count. */
export const verificationsMax = 64;
export const questionsPerPeerMax = 256;
/** How long such a dial may take, in milliseconds. */
const verificationTimeoutMs = 5_000;
/** How long a peer that could not be verified is not dialled again, in milliseconds. */
const retryAfterMs = 10_000;

/** The input of {@linkcode VerifiedPeers}. */
export interface VerifiedPeersInit {
  readonly clock: Pick<Clock, "monotonic">;
  readonly established: Pick<Established, "has">;
  readonly dialler: Connects;
}

interface Verification {
  readonly questions: ((counts: boolean) => void)[];
  giveUp: GiveUp;
}

/** Verifies authors of messages and publishers of records. */
export class VerifiedPeers implements Verifies {
  readonly #init: VerifiedPeersInit;
  readonly #recent = new Map<PeerText, number>();
  readonly #failed = new Map<PeerText, number>();
  readonly #pending = new Map<PeerText, Verification>();

  /** Knows no peer yet. */
  constructor(init: VerifiedPeersInit) {
    this.#init = init;
  }

  /** Verifications under way. */
  get size(): number {
    return this.#pending.size;
  }

  /** Remembers a peer whose connection is established. */
  seen(peer: PeerText): void {
    this.#failed.delete(peer);
    remember(this.#recent, peer, this.#init.clock.monotonic());
  }

  /** Forgets a peer whose connection was ended because its certificate does not count any more. */
  forget(peer: PeerText): void {
    this.#recent.delete(peer);
  }

  /** Trust changed: a peer that is not connected is not evaluated again, so it has to be verified anew. */
  trustChanged(): void {
    this.#recent.clear();
    this.#failed.clear();
  }

  /** Whether the peer counts, as far as is known without a dial. */
  known(peer: PeerText): boolean {
    const { established, clock } = this.#init;
    if (established.has(peer)) return true;
    const at = this.#recent.get(peer);
    return at !== undefined && clock.monotonic() - at < recentlyVerifiedMs;
  }

  verify(peer: PeerText, then: (counts: boolean) => void): void {
    if (this.known(peer)) return then(true);
    const pending = this.#pending.get(peer);
    if (pending !== undefined) {
      if (pending.questions.length >= questionsPerPeerMax) return then(false);
      return void pending.questions.push(then);
    }
    const failedAt = this.#failed.get(peer);
    if (failedAt !== undefined && this.#init.clock.monotonic() - failedAt < retryAfterMs) return then(false);
    if (this.#pending.size >= verificationsMax) return then(false);
    this.#dial(peer, then);
  }

  #dial(peer: PeerText, then: (counts: boolean) => void): void {
    const verification: Verification = { questions: [then], giveUp: () => {} };
    this.#pending.set(peer, verification);
    verification.giveUp = this.#init.dialler.connect(peer, verificationTimeoutMs, (outcome) => {
      this.#pending.delete(peer);
      if (Result.isFailure(outcome)) remember(this.#failed, peer, this.#init.clock.monotonic());
      const counts = Result.isSuccess(outcome) && this.known(peer);
      for (const answer of verification.questions) answer(counts);
    });
  }

  /** Gives every dial up; no pending question counts. */
  stop(): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { giveUp, questions } of pending) {
      giveUp();
      for (const answer of questions) answer(false);
    }
  }
}

/** Puts a peer at the end of a bounded table. */
function remember(table: Map<PeerText, number>, peer: PeerText, at: number): void {
  table.delete(peer);
  table.set(peer, at);
  if (table.size <= recentlyVerifiedMax) return;
  for (const oldest of table.keys()) {
    table.delete(oldest);
    return;
  }
}
