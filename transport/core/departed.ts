/**
 * Members whose last connection ended a while ago: leases and jobs of theirs may go on until they lapse, so that changed rules are
 * told of these members too.
 *
 * @module
 */
import { type Member, memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";

/** How long a member is remembered, in milliseconds: longer than a lease lives without renewal. */
export const departedMs = 600_000;
/** How many are remembered; beyond that, the one that left first is forgotten. */
export const departedMax = 4_096;

interface Row {
  readonly identity: PeerIdentity;
  readonly at: number;
}

/** The members that left. */
export class Departed {
  readonly #rows = new Map<Member, Row>();
  readonly #monotonic: () => number;

  /** @param monotonic Milliseconds since an arbitrary start; never goes back. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  /** A member's last connection ended. */
  left(identity: PeerIdentity): void {
    const member = memberOf(identity);
    this.#rows.delete(member);
    this.#rows.set(member, { identity, at: this.#monotonic() });
    const oldest = this.#rows.size > departedMax ? this.#rows.keys().next().value : undefined;
    if (oldest !== undefined) this.#rows.delete(oldest);
  }

  /** A member is connected again. */
  returned(identity: PeerIdentity): void {
    this.#rows.delete(memberOf(identity));
  }

  /** Those that are remembered. */
  list(): readonly { readonly identity: PeerIdentity }[] {
    const since = this.#monotonic() - departedMs;
    for (const [member, { at }] of this.#rows) {
      if (at > since) break;
      this.#rows.delete(member);
    }
    return [...this.#rows.values()];
  }
}
