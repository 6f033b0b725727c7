/**
 * Who counts as an author: peers that are established here, or were a short while ago under the same trust.
 *
 * @module
 */
import type { Connections } from "./connections.ts";
import type { Dialler } from "./dialing.ts";
import type { PeerText } from "../port.ts";

/** How long a peer that left still counts, in milliseconds, and how many of them are remembered. */
export const recentlyVerifiedMs = 600_000;
export const recentlyVerifiedMax = 4_096;
/** Peers that are being dialled at once only to verify them; further ones do not count. */
export const verificationsMax = 64;
/** How long such a dial may take, in milliseconds. */
const verificationTimeoutMs = 5_000;
/** How long a peer that could not be verified is not tried again, in milliseconds. */
const retryAfterMs = 10_000;

/** Verifies authors of messages and publishers of records. */
export class VerifiedPeers {
  readonly #connections: Connections;
  readonly #dialler: Dialler;
  readonly #now: () => number;
  readonly #recent = new Map<PeerText, number>();
  readonly #failed = new Map<PeerText, number>();
  readonly #pending = new Map<PeerText, Promise<boolean>>();

  constructor(connections: Connections, dialler: Dialler, now: () => number) {
    this.#connections = connections;
    this.#dialler = dialler;
    this.#now = now;
  }

  /** Remembers a peer whose connection is established. */
  seen(peer: PeerText): void {
    this.#failed.delete(peer);
    remember(this.#recent, peer, this.#now());
  }

  /** Trust changed: whoever is not connected, and so not checked again, has to be verified anew. */
  trustChanged(): void {
    this.#recent.clear();
    this.#failed.clear();
  }

  /** Whether the peer counts, as far as is known without asking anybody. */
  known(peer: PeerText): boolean {
    if (this.#connections.identityOf(peer) !== undefined) return true;
    const at = this.#recent.get(peer);
    return at !== undefined && this.#now() - at < recentlyVerifiedMs;
  }

  /** Whether the peer counts; one that is unknown here is dialled, which sends it through the gate. */
  verify(peer: PeerText): Promise<boolean> {
    if (this.known(peer)) return Promise.resolve(true);
    const pending = this.#pending.get(peer);
    if (pending !== undefined) return pending;
    const failedAt = this.#failed.get(peer);
    if (failedAt !== undefined && this.#now() - failedAt < retryAfterMs) return Promise.resolve(false);
    if (this.#pending.size >= verificationsMax) return Promise.resolve(false);
    const verification = this.#dialler.dial({ peer }, AbortSignal.timeout(verificationTimeoutMs)).then(
      () => this.known(peer),
      () => {
        remember(this.#failed, peer, this.#now());
        return false;
      },
    ).finally(() => this.#pending.delete(peer));
    this.#pending.set(peer, verification);
    return verification;
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
