/**
 * Members: what a role's books remember of a peer.
 *
 * A PeerID may hold several certificates at once: a renewal with the same key, another role, another trust domain. An honest
 * renewal is the same member; another role is another one. Serial and dates are not part of it: they are for the log and for
 * revocation.
 *
 * @module
 */
import type { PeerIdentity } from "./path.ts";

/** A member, as text that is equal for equal members: PeerID, trust domain, role, and SPIFFE name or subject and issuer. */
export type Member = string & { readonly member: unique symbol };

/** What of an identity makes the member. */
export type MemberFacts = Pick<PeerIdentity, "peer" | "domain" | "role" | "names" | "subject" | "issuer">;

/**
 * The member that an identity belongs to.
 *
 * @example A renewal with the same key is the same member
 * ```ts
 * import * as assert from "uvu/assert";
 * import { memberOf } from "hypha-runtime/pki";
 *
 * const facts = { peer: "12D3KooW…", domain: undefined, role: "worker", names: [], subject: "CN=w", issuer: "CN=ca" } as const;
 * assert.is(memberOf(facts), memberOf({ ...facts }));
 * assert.is.not(memberOf(facts), memberOf({ ...facts, role: "scheduler" }));
 * ```
 */
export function memberOf({ peer, domain, role, names, subject, issuer }: MemberFacts): Member {
  const spiffe = role === undefined ? undefined : names.find((name) => name.startsWith("URI:spiffe://"));
  const named = spiffe === undefined ? [subject, issuer] : [spiffe];
  return JSON.stringify([peer, domain ?? "", role ?? "", ...named]) as Member;
}
