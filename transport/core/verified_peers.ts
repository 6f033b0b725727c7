/**
 * Which peers count as authors of gossip and publishers of records: those that are established here, or were a short while
 * ago under the same trust.
 *
 * @module
 */
import { Result } from "effect";
import { type Member, memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { CloseReason, PeerText } from "../port.ts";
import type { Clock } from "./clock.ts";
import { Groups } from "./groups.ts";
import type { Connects, Established, Verifies } from "./parts.ts";
import type { GiveUp } from "./wire.ts";

/** How long a member that left still counts, in milliseconds, and how many of them are remembered. */
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
  readonly clock: Pick<Clock, "monotonic" | "now">;
  readonly established: Pick<Established, "identitiesOf">;
  readonly dialler: Connects;
}

type Answer = (identities: readonly PeerIdentity[]) => void;

interface Verification {
  readonly questions: Answer[];
  giveUp: GiveUp;
}

/** What a member's newest connection proved, and when. */
interface Seen {
  readonly identity: PeerIdentity;
  readonly at: number;
}

/** Verifies authors of messages and publishers of records. One PeerID may be several members. */
export class VerifiedPeers implements Verifies {
  readonly #init: VerifiedPeersInit;
  /** In the order in which they were seen. */
  readonly #recent = new Map<Member, Seen>();
  readonly #byPeer = new Groups<PeerText, Member>();
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

  /** Remembers a member whose connection is established. */
  seen(identity: PeerIdentity): void {
    this.#failed.delete(identity.peer);
    const member = memberOf(identity);
    this.#forget(member);
    this.#recent.set(member, { identity, at: this.#init.clock.monotonic() });
    this.#byPeer.add(identity.peer, member);
    const [oldest] = this.#recent.size > recentlyVerifiedMax ? this.#recent.keys() : [];
    if (oldest !== undefined) this.#forget(oldest);
  }

  /**
   * A member's connection ended: it counts for a while from now on, unless it was ended because of its certificate.
   *
   * @param proven What the newest trust proved of it, as far as it was evaluated with that.
   */
  left(identity: PeerIdentity, reason: CloseReason, proven: PeerIdentity | undefined): void {
    if ("refusal" in reason) this.forget(identity);
    else if (proven !== undefined) this.seen(proven);
  }

  /** Forgets a member whose connection was ended because its certificate does not count any more. */
  forget(identity: PeerIdentity): void {
    this.#forget(memberOf(identity));
  }

  #forget(member: Member): void {
    const known = this.#recent.get(member);
    if (known === undefined) return;
    this.#recent.delete(member);
    this.#byPeer.remove(known.identity.peer, member);
  }

  /** Trust changed: a member that is not connected is not evaluated again, so it has to be verified anew. */
  trustChanged(): void {
    for (const member of [...this.#recent.keys()]) this.#forget(member);
    this.#failed.clear();
  }

  known(peer: PeerText): readonly PeerIdentity[] {
    const { established, clock } = this.#init;
    const open = established.identitiesOf(peer);
    const since = clock.monotonic() - recentlyVerifiedMs;
    const left = (this.#byPeer.get(peer) ?? []).flatMap((member) => this.#recent.get(member) ?? [])
      .filter(({ identity, at }) =>
        at > since && identity.notAfter.getTime() >= clock.now() && !open.includes(identity)
      );
    return [...open, ...left.map(({ identity }) => identity)];
  }

  verify(peer: PeerText, then: Answer): void {
    const known = this.known(peer);
    if (known.length > 0) return then(known);
    const pending = this.#pending.get(peer);
    if (pending !== undefined) {
      if (pending.questions.length >= questionsPerPeerMax) return then([]);
      return void pending.questions.push(then);
    }
    const failedAt = this.#failed.get(peer);
    if (failedAt !== undefined && this.#init.clock.monotonic() - failedAt < retryAfterMs) return then([]);
    if (this.#pending.size >= verificationsMax) return then([]);
    this.#dial(peer, then);
  }

  #dial(peer: PeerText, then: Answer): void {
    const verification: Verification = { questions: [then], giveUp: () => {} };
    this.#pending.set(peer, verification);
    verification.giveUp = this.#init.dialler.connect(peer, verificationTimeoutMs, (outcome) => {
      this.#pending.delete(peer);
      if (Result.isFailure(outcome)) remember(this.#failed, peer, this.#init.clock.monotonic());
      const identities = Result.isSuccess(outcome) ? this.known(peer) : [];
      for (const answer of verification.questions) answer(identities);
    });
  }

  /** Gives every dial up; no pending question counts. */
  stop(): void {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { giveUp, questions } of pending) {
      giveUp();
      for (const answer of questions) answer([]);
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
