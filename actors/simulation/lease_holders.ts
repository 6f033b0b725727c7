/**
 * The holder of each lease of a run: the PeerID in the worker's log, and the member when its book was first checked.
 *
 * @module
 */
import type { Member } from "../../pki/member.ts";
import type { Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { GivenLease } from "../worker/commitments.ts";

/** Holders of the leases of all workers. */
export class LeaseHolders {
  readonly #peers = new Map<string, Peer>();
  readonly #members = new Map<string, Member>();

  /** A worker's log reports a lease. */
  granted(worker: string, lease: Uuid, peer: Peer): void {
    this.#peers.set(`${worker}/${lease}`, peer);
  }

  /** The first of a worker's leases that has another holder than it had. */
  changed(worker: string, leases: readonly GivenLease[]): Uuid | undefined {
    return leases.find(({ id, peer, holder }) => {
      const key = `${worker}/${id}`;
      const member = this.#members.get(key) ?? holder;
      this.#members.set(key, member);
      return member !== holder || (this.#peers.get(key) ?? peer) !== peer;
    })?.id;
  }
}
